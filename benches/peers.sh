#!/usr/bin/env bash
# Measures mcp-mux against what else puts a stdio MCP server on the network, at these versions, and prints the tables that
# benches/RESULTS.md has. Needs cargo, node with npm, and python3 with venv. What is passed on: see
# `cargo bench --bench end_to_end -- peers --help`. Note that supergateway listens on all interfaces while it is measured.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

supergateway=4.0.0
mcp_proxy_npm=6.7.19
mcp_proxy_pypi=0.13.0

for program in node npm python3; do
    command -v "$program" >/dev/null || { echo "needs $program" >&2; exit 2; }
done
installed=$PWD/target/peers
wanted="$supergateway $mcp_proxy_npm $mcp_proxy_pypi"
if [ "$(cat "$installed/versions" 2>/dev/null || true)" != "$wanted" ]; then
    echo "installing into target/peers" >&2
    rm -rf "$installed"
    mkdir -p "$installed"
    # No package here needs its install script.
    npm install --prefix "$installed/npm" --ignore-scripts --no-audit --no-fund --loglevel=error \
        "supergateway@$supergateway" "mcp-proxy@$mcp_proxy_npm" >&2
    python3 -m venv "$installed/pypi"
    "$installed/pypi/bin/python" -m pip install --quiet --disable-pip-version-check "mcp-proxy==$mcp_proxy_pypi"
    echo "$wanted" >"$installed/versions"
fi
cargo bench --locked --bench end_to_end -- peers --installed "$installed" "$@"
