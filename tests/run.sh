#!/usr/bin/env bash
# Every check and every test there is. Prints one line a step, the end of a step's log where it fails, and as its last
# line `N passed, N failed`. Needs cargo; what the third-party tests need beside it (Python with venv, Node.js with npm)
# is installed with apt-get where it is missing and that is possible.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

logs=$(mktemp -d)
compiling=
# Whatever ends this ends what it started.
trap '[ -z "$compiling" ] || kill -- "-$compiling" 2>/dev/null; rm -rf "$logs"' EXIT

# step NAME COMMAND...: runs a command with its output in $logs/NAME. Returns the command's status.
step() {
    local name=$1 start=$SECONDS status=0
    shift
    "$@" >"$logs/$name" 2>&1 </dev/null || status=$?
    if [ "$status" -eq 0 ]; then
        echo "ok      $name ($((SECONDS - start)) s)"
    else
        # In one piece: another step may end now.
        echo "FAILED  $name ($((SECONDS - start)) s): $*"$'\n'"$(tail -n 60 "$logs/$name" | sed 's/^/    /')"
    fi
    return "$status"
}

# count PASSED FAILED: in a file, since steps run in subshells too.
count() { echo "$@" >>"$logs/counted"; }

# A step that is one check.
check() {
    step "$@" || count 0 1
}

# A step that counts: sums the numbers of every `N passed` and `N failed` that PATTERN finds in its log.
suite() {
    local pattern=$1 name=$2 status=0 p f
    shift
    step "$@" || status=$?
    p=$(grep -E "$pattern" "$logs/$name" | grep -oE '[0-9]+ passed' | awk '{n += $1} END {print n + 0}' || true)
    f=$(grep -E "$pattern" "$logs/$name" | grep -oE '[0-9]+ failed' | awk '{n += $1} END {print n + 0}' || true)
    # Failed without a failed test: it did not get that far.
    if [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then f=1; fi
    count "$p" "$f"
}

install_missing() {
    local missing=() root=()
    command -v cc >/dev/null || missing+=(gcc libc6-dev)
    command -v c++ >/dev/null || missing+=(g++)
    command -v python3 >/dev/null || missing+=(python3)
    python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
    command -v npm >/dev/null || missing+=(nodejs npm)
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" -ne 0 ]; then root=(sudo -n); fi
    if ! command -v apt-get >/dev/null || ! "${root[@]}" true 2>/dev/null; then
        echo "note    missing and not installable here: ${missing[*]}"
        return 0
    fi
    export DEBIAN_FRONTEND=noninteractive
    step apt-update "${root[@]}" apt-get update -q || true
    step apt-install "${root[@]}" apt-get install -q -y --no-install-recommends "${missing[@]}" || true
}

# has TOOL: whether `cargo TOOL` works, after rustup was asked for it.
has() {
    cargo "$1" --version >/dev/null 2>&1 && return 0
    if command -v rustup >/dev/null && rustup component add "$2" >/dev/null 2>&1; then return 0; fi
    echo "note    cargo $1 is not installed: its check is skipped"
    return 1
}

command -v cargo >/dev/null || { echo "cargo is missing: see https://rustup.rs"; exit 1; }
install_missing

if has fmt rustfmt; then check format cargo fmt --check; fi
can_lint=no
if has clippy clippy; then can_lint=yes; fi

# What only compiles, and checks that: it gets what the others leave of the processors. All features are in what is linted and
# tested, none is in the release build, which the suites over the network use, and in the fuzzers: so each is built once.
compile() {
    if [ "$can_lint" = yes ]; then check lint cargo clippy --locked --all-features --all-targets -- -D warnings; fi
    check docs env RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --locked --all-features --no-deps --document-private-items
    # Where these fail, so do the steps that they are for.
    step tests-build cargo test --locked --all-features --no-run || true
    step fuzzers-build tests/fuzz.sh 0 || true
    suite '^[0-9]+ passed, [0-9]+ failed' dependencies tests/deny.sh
}
# With a process group of its own.
set -m
(
    renice -n 19 "$BASHPID" >/dev/null 2>&1 || true
    compile
) &
compiling=$!
set +m

# Half of their time these wait: for servers and clients that start, for packages, for deadlines.
check build cargo build --locked --release
# Without features too there are none; clippy has seen the rest.
check build-warnings bash -c '! grep -A 10 "^warning" "$0"' "$logs/build"
MCP_MUX_BIN=$(realpath -m "${CARGO_TARGET_DIR:-target}")/release/mcp-mux
export MCP_MUX_BIN
suite '^[0-9]+ passed, [0-9]+ failed' chaos tests/chaos.sh short
suite '^[0-9]+ passed, [0-9]+ failed' third-party tests/third_party/run.sh
suite '^[0-9]+ passed, [0-9]+ failed' conformance tests/conformance/run.sh
suite '^[0-9]+ passed, [0-9]+ failed' eras tests/eras/run.sh

wait "$compiling"
compiling=
suite '^test result:' tests cargo test --locked --all-features --no-fail-fast
suite '^[0-9]+ passed, [0-9]+ failed' fuzzers tests/fuzz.sh

read -r passed failed < <(awk '{p += $1; f += $2} END {print p + 0, f + 0}' "$logs/counted")
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
