#!/usr/bin/env bash
# The fuzzers: each target of fuzz/ for so many seconds, two at a time, from its corpus.
#
#     tests/fuzz.sh [SECONDS [TARGET...]]     (default: 10 seconds, all of them; 0 seconds: they are only built)
#
# Any toolchain does; a C++ compiler has to be there for libFuzzer. More than a minute each is taken for a long run, for which
# everything is optimised. What is found on the way is kept in fuzz/found/TARGET; what makes a target fail is in
# fuzz/artifacts/TARGET, and the end of its output here. The last line is `N passed, N failed`, a target being one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
seconds=${1:-10}
shift || true
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    for source in fuzz/fuzz_targets/*.rs; do targets+=("$(basename "$source" .rs)"); done
fi
if ! command -v "${CXX:-c++}" >/dev/null; then
    echo "note    no C++ compiler: the fuzzers are not run (cargo test runs their corpora)"
    echo "0 passed, 0 failed"
    exit
fi

# With the dependencies that the program has, to which cargo adds what only the fuzzers have.
if [ ! fuzz/Cargo.lock -nt Cargo.lock ]; then cp Cargo.lock fuzz/Cargo.lock; fi

# As cargo-fuzz builds them, but for a sanitizer, of which a program without unsafe code has no use.
profile=dev folder=debug
# A short run looks at the same inputs each time, as far as it gets: it is there to notice what a change breaks. 0 is any.
seed=1
if [ "$seconds" -gt 60 ]; then profile=release folder=release seed=0; fi
host=$(rustc -vV | sed -n 's/^host: //p')
export CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-target}")/fuzz
coverage=-Cllvm-args=-sanitizer-coverage
RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module $coverage-level=4 $coverage-inline-8bit-counters $coverage-pc-table \
    $coverage-trace-compares" cargo build --manifest-path fuzz/Cargo.toml --profile "$profile" --target "$host"

if [ "$seconds" -eq 0 ]; then
    echo "0 passed, 0 failed"
    exit
fi

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
# run TARGET: leaves a file beside its log if nothing was found.
run() {
    local target=$1 log=$logs/$1
    mkdir -p "fuzz/found/$target" "fuzz/artifacts/$target"
    if "$CARGO_TARGET_DIR/$host/$folder/$target" -artifact_prefix="fuzz/artifacts/$target/" -max_total_time="$seconds" -seed="$seed" \
        -dict="fuzz/dictionaries/$target.dict" -timeout=20 -rss_limit_mb=4096 -max_len=8192 \
        "fuzz/found/$target" "fuzz/corpus/$target" >"$log" 2>&1; then
        echo "ok      $target: $(sed -n 's/^Done \([0-9]* runs\).*/\1/p' "$log")"
        touch "$log.passed"
    else
        echo "FAILED  $target"
        # What was wrong, where, and with which input: the trace between them says little, and is left out.
        grep -n -A 3 -E "panicked at|ERROR: libFuzzer" "$log" | cut -c -600 | head -n 16 | sed 's/^/    /'
        grep -E "^(Base64|artifact_prefix|SUMMARY)" "$log" | tail -n 3 | cut -c -12000 | sed 's/^/    /'
    fi
}
# Each of the two takes every other target.
work() {
    local at
    for ((at = $1; at < ${#targets[@]}; at += 2)); do run "${targets[$at]}"; done
}
work 0 &
work 1 &
wait

passed=$(find "$logs" -name '*.passed' | wc -l)
failed=$((${#targets[@]} - passed))
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
