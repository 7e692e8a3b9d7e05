#!/usr/bin/env bash
# mcp-mux between clients and servers that misbehave: chaos/driver.py says how, and what has to hold all the same.
#
#     tests/chaos.sh [MINUTES]     every scenario, again and again with another seed each time (default: 5 minutes)
#     tests/chaos.sh short         a few of them with a fixed seed, as part of the test command
#     tests/chaos.sh soak [MINUTES] [more of soak.py]
#
# MCP_MUX_BIN names the program; without it, it is built. SEED is the first seed. The last line is `N passed, N failed`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ -z "${MCP_MUX_BIN:-}" ]; then
    cargo build --locked --release
    MCP_MUX_BIN=${CARGO_TARGET_DIR:-target}/release/mcp-mux
fi
MCP_MUX_BIN=$(realpath "$MCP_MUX_BIN")
export MCP_MUX_BIN

case ${1:-5} in
    short) exec python3 tests/chaos/driver.py --seed "${SEED:-1}" short ;;
    soak) shift; exec python3 tests/chaos/soak.py "$@" ;;
    *) exec python3 tests/chaos/driver.py --seed "${SEED:-$(date +%s)}" long "${1:-5}" ;;
esac
