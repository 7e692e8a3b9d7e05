#!/usr/bin/env bash
# Whether deny.toml admits the dependencies: their licences, their origin, none twice. Known vulnerabilities too where the
# list of them can be had. The last line is `N passed, N failed`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools=$(tests/tool.sh cargo-deny 0.20.2)
PATH=$tools:$PATH

passed=0 failed=0
check() {
    if cargo deny --locked --log-level warn check --hide-inclusion-graph "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

for what in licenses bans sources; do check "$what"; done
list=https://github.com/RustSec/advisory-db
if GIT_TERMINAL_PROMPT=0 timeout 30 git ls-remote --exit-code "$list" HEAD >/dev/null 2>&1; then
    check advisories
else
    echo "note    $list cannot be reached: known vulnerabilities are not looked for"
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
