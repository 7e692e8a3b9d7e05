#!/usr/bin/env bash
# The fuzzers: each target of fuzz/ for so many seconds, two at a time, from its corpus.
#
#     tests/fuzz.sh [SECONDS [TARGET...]]     (default: 10 seconds, all of them)
#
# Needs nightly; cargo-fuzz is installed where it is missing. Without nightly only the corpora are run, by `cargo test`. What
# is found on the way stays in fuzz/found/TARGET, what makes a target fail is in fuzz/artifacts/TARGET. The last line is
# `N passed, N failed`, a target being one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
seconds=${1:-10}
shift || true
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    for source in fuzz/fuzz_targets/*.rs; do targets+=("$(basename "$source" .rs)"); done
fi

if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "note    no nightly toolchain (rustup toolchain install nightly): the fuzzers are not run, only their corpora"
    log=$(cargo test --locked --test fuzz_corpus 2>&1) && status=0 || status=$?
    printf '%s\n' "$log" | tail -n 60
    printf '%s\n' "$log" | sed -nE 's/^test result: .* ([0-9]+) passed; ([0-9]+) failed.*/\1 passed, \2 failed/p'
    exit "$status"
fi
if ! cargo fuzz --version >/dev/null 2>&1; then
    tools=$(tests/tool.sh cargo-fuzz 0.13.2)
    PATH=$tools:$PATH
fi
# No sanitizer: there is no unsafe code here for it to look at, and it takes three times as long.
built=$(realpath -m "${CARGO_TARGET_DIR:-target}")/fuzz
fuzz() { cargo +nightly fuzz "$@"; }
fuzz build --sanitizer none --target-dir "$built"

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
# run TARGET: leaves a file `passed` beside its log if nothing was found.
run() {
    local target=$1 log=$logs/$1
    mkdir -p "fuzz/found/$target"
    if fuzz run --sanitizer none --target-dir "$built" "$target" "fuzz/found/$target" "fuzz/corpus/$target" -- \
        -dict="fuzz/dictionaries/$target.dict" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 \
        -max_len=8192 -print_final_stats=1 >"$log" 2>&1; then
        echo "ok      $target: $(grep -o 'number_of_executed_units: [0-9]*' "$log" | grep -o '[0-9]*$') runs"
        touch "$log.passed"
    else
        echo "FAILED  $target"
        tail -n 40 "$log" | cut -c -400 | sed 's/^/    /'
    fi
}
# Two lines of work; each takes every other target.
work() {
    local at
    for ((at = $1; at < ${#targets[@]}; at += 2)); do run "${targets[$at]}"; done
}
work 0 & work 1 & wait

passed=$(find "$logs" -name '*.passed' | wc -l)
failed=$((${#targets[@]} - passed))
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
