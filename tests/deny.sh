#!/usr/bin/env bash
# Whether deny.toml admits the dependencies: their licences, their origin, none twice; and known vulnerabilities where the
# list of them can be had. Installs cargo-deny where it is missing. The last line is `N passed, N failed`, a check being one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
version=0.20.2

if [ "$(cargo deny --version 2>/dev/null)" != "cargo-deny $version" ]; then
    tools=$PWD/tests/.tools/cargo-deny-$version
    PATH=$tools/bin:$PATH
    if [ ! -x "$tools/bin/cargo-deny" ]; then
        # Not optimised, nor fit for a debugger: that would take twice as long, and it has little to do.
        CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR=$tools/build cargo install --quiet --locked --debug --root "$tools" --version "=$version" cargo-deny
        rm -rf "$tools/build"
    fi
fi

passed=0
failed=0
check() {
    local status=0
    cargo deny --locked check "$@" || status=1
    if [ "$status" -eq 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

for what in licenses bans sources; do check "$what"; done
vulnerabilities=https://github.com/RustSec/advisory-db
if GIT_TERMINAL_PROMPT=0 timeout 30 git ls-remote --exit-code "$vulnerabilities" HEAD >/dev/null 2>&1; then
    check advisories
else
    echo "note    $vulnerabilities cannot be reached: known vulnerabilities are not looked for"
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
