#!/usr/bin/env bash
# What a process started ahead saves a session: warm.py says what is measured. tests/warm.sh [ROUNDS]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ -z "${MCP_MUX_BIN:-}" ]; then
    cargo build --locked --release
    MCP_MUX_BIN=${CARGO_TARGET_DIR:-target}/release/mcp-mux
fi
MCP_MUX_BIN=$(realpath "$MCP_MUX_BIN")
export MCP_MUX_BIN
exec python3 tests/warm.py "$@"
