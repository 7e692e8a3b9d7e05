#!/bin/sh
# Runs the server scenarios of the official conformance suites, of every specification version that they know.
#
#     [MCP_MUX_BIN=target/release/mcp-mux] tests/conformance/run.sh [LEG]...
#
# LEG is `direct legacy`, `direct modern` (our server by itself), `mux SUITE/SERVER` (through mcp-mux) or `stream
# SUITE/SERVER` (likewise, with event streams only), where SUITE and SERVER are `legacy` or `modern`; `direct`, `mux` and
# `stream` mean all of each, and nothing means everything. What passes directly has to pass the same checks through
# mcp-mux. What cannot apply is in not-applicable.json, with the reason. What it needs is installed once, into node_modules
# beside this file. The last line is "N passed, N failed".
set -eu

# Where the caller means it to be, before the change of folder.
binary=${MCP_MUX_BIN:-$(dirname "$0")/../../target/release/mcp-mux}
case $binary in /*) ;; *) binary=$PWD/$binary ;; esac
cd "$(dirname "$0")"
export MCP_MUX_BIN="$binary"
./install.sh
exec node_modules/.bin/node run.mjs "$@"
