#!/usr/bin/env bash
# Prints the folder of a tool of cargo's (tests/tool.sh NAME VERSION), which it installs in `.tools` beside this file where
# it is not there yet. Unoptimised: it is built more slowly than it ever runs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
name=$1 version=$2

tools=$PWD/.tools/$name-$version
if [ ! -x "$tools/bin/$name" ]; then
    export CARGO_TARGET_DIR=$tools/build
    cargo install --quiet --locked --debug --root "$tools" --version "=$version" "$name" >&2
    rm -rf "$tools/build"
fi
echo "$tools/bin"
