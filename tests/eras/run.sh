#!/bin/sh
# Tests every cell of client era and server era with clients and servers of the official SDKs of that era.
#
#     [MCP_MUX_BIN=target/release/mcp-mux] tests/eras/run.sh [CELL]...
#
# CELL is `direct`, `connect`, `odd`, or `CLIENT-client/SERVER-server`, where CLIENT is `legacy` or `modern` and SERVER is
# `legacy`, `modern` or `dual`; nothing means everything. `connect`: clients over stdio that start `mcp-mux connect` as their
# server, in front of servers over HTTP and of mcp-mux. What it needs is installed once: npm packages with the conformance tests,
# Python packages into .venv-legacy and .venv-modern beside this file. The last line is "N passed, N failed".
set -eu

# Where the caller means it to be, before the change of folder.
binary=${MCP_MUX_BIN:-$(dirname "$0")/../../target/release/mcp-mux}
case $binary in /*) ;; *) binary=$PWD/$binary ;; esac
cd "$(dirname "$0")"
export MCP_MUX_BIN="$binary"

../conformance/install.sh
[ -e node_modules ] || ln -s ../conformance/node_modules node_modules
if ! python3 -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "needs Python 3.11 or later with venv"
    exit 2
fi
mkdir -p .state
for era in legacy modern; do
    if cksum <"requirements-$era.txt" | cmp -s - ".state/$era" && ".venv-$era/bin/python" -c 'import mcp' 2>/dev/null; then continue; fi
    echo "installing the Python packages of the $era era"
    rm -rf ".venv-$era"
    python3 -m venv ".venv-$era"
    ".venv-$era/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -r "requirements-$era.txt"
    cksum <"requirements-$era.txt" >".state/$era"
done
exec node_modules/.bin/node run.mjs "$@"
