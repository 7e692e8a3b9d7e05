#!/bin/sh
# Tests mcp-mux with the MCP clients and servers that others wrote, pinned to exact versions.
#
#     [MCP_MUX_BIN=target/release/mcp-mux] [ROUNDS=200] tests/third_party/run.sh [SUITE…]
#
# What it needs is installed once, into .venv and node_modules beside this file, from whatever registries pip and npm are
# configured for; a browser, curl, openssl and Prometheus as Debian packages, where that can be done. A test whose program is not there is
# skipped. The suites are python, javascript, authentication, isolation-python-sse and isolation-typescript-sse. ROUNDS is
# how often the isolation test repeats. The last line is "N passed, N failed".
set -eu

# Where the caller means it to be, before the change of folder.
binary=${MCP_MUX_BIN:-$(dirname "$0")/../../target/release/mcp-mux}
case $binary in /*) ;; *) binary=$PWD/$binary ;; esac
cd "$(dirname "$0")"
say() { printf '%s\n' "$*"; }
[ -x "$binary" ] || { say "no mcp-mux at $binary: build it (cargo build --release) or set MCP_MUX_BIN"; exit 2; }
export MCP_MUX_BIN="$binary"

# --- Install, if that was not done yet or what is to be installed has changed ---------------------------------------

python_is_there() { python3 -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
npm_is_there() { npm --version >/dev/null 2>&1; }
browser_is_there() { command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null
install() { # install PACKAGE…: if that can be done here
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 0
    say "installing $*"
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; } >/dev/null
}
missing=
python_is_there || missing="$missing python3 python3-venv"
npm_is_there || missing="$missing nodejs npm"
if [ -n "$missing" ]; then install $missing; fi
python_is_there || { say "needs Python 3.11 or later with venv"; exit 2; }
npm_is_there || { say "needs npm (any node: the tests bring their own)"; exit 2; }
# These are for some tests only.
for program in curl openssl; do
    command -v $program >/dev/null || install $program || true
    command -v $program >/dev/null || say "note    there is no $program: the tests with it are skipped"
done
# Its service is not wanted, only the programs.
command -v promtool >/dev/null || { [ -e /run/systemd/system ] || install prometheus; } || true
command -v promtool >/dev/null || say "note    there is no prometheus: the tests with it are skipped"
browser_is_there || install chromium || true
browser_is_there || say "note    there is no chromium: the tests with a browser are skipped"

mkdir -p .state
fresh() { # fresh NAME FILE…: is what was installed for NAME what the files ask for now?
    name=$1; shift
    cat "$@" | cksum | cmp -s - ".state/$name"
}
done_with() { name=$1; shift; cat "$@" | cksum >".state/$name"; }
if ! { fresh python requirements.txt && .venv/bin/python -c 'import mcp, pytest' 2>/dev/null; }; then
    say "installing the Python packages"
    rm -rf .venv
    python3 -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.txt
    done_with python requirements.txt
fi
if ! { fresh npm package.json package-lock.json && node_modules/.bin/node --version >/dev/null 2>&1; }; then
    say "installing the npm packages"
    # No package here needs its install script.
    npm ci --ignore-scripts --loglevel=error >/dev/null
    # Node itself comes as a package for the common platforms; elsewhere the one that is there has to do.
    [ -e node_modules/.bin/node ] || ln -s "$(command -v node)" node_modules/.bin/node
    done_with npm package.json package-lock.json
fi

# --- Run ------------------------------------------------------------------------------------------------------------

results=.state/results
rm -rf "$results"
mkdir -p "$results"
suite() { # suite NAME COMMAND…: its output and its duration go to $results
    name=$1; shift
    start=$(date +%s)
    timeout -k 30 900 "$@" >"$results/$name.log" 2>&1 || true
    echo $(($(date +%s) - start)) >"$results/$name.seconds"
}
pytest() { name=$1; shift; suite "$name" .venv/bin/python -m pytest --junit-xml="$results/$name.xml" "$@"; }
chosen=${*:-python javascript authentication isolation-python-sse isolation-typescript-sse}
wanted() { case " $chosen " in *" $1 "*) ;; *) false ;; esac; }
if wanted python; then pytest python -k 'not six_clients' --ignore=authentication & fi
if wanted javascript; then
    suite javascript node_modules/.bin/node --test --test-concurrency=1 \
        --test-reporter=junit --test-reporter-destination="$results/javascript.xml" js/*.test.mjs &
fi
wait
if wanted isolation-python-sse; then pytest isolation-python-sse -k 'six_clients and python' --ignore=authentication & fi
if wanted isolation-typescript-sse; then
    pytest isolation-typescript-sse -k 'six_clients and typescript' --ignore=authentication &
fi
wait
if wanted authentication; then pytest authentication authentication; fi
exec .venv/bin/python report.py "$results" $chosen
