#!/bin/sh
# Installs the npm packages of the conformance tests and of the tests of the eras, if that was not done yet or what is to
# be installed has changed.
set -eu
cd "$(dirname "$0")"
if ! npm --version >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing nodejs npm"
        { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends nodejs npm; } >/dev/null
    fi
    npm --version >/dev/null 2>&1 || { echo "needs npm (any node: the tests bring their own)"; exit 2; }
fi
mkdir -p .state
if cat package.json package-lock.json | cksum | cmp -s - .state/npm && node_modules/.bin/node --version >/dev/null 2>&1; then exit 0; fi
echo "installing the npm packages"
# No package here needs its install script.
npm ci --ignore-scripts --loglevel=error >/dev/null
# Node itself comes as a package for the common platforms; elsewhere the one that is there has to do (22 or later).
[ -e node_modules/.bin/node ] || ln -s "$(command -v node)" node_modules/.bin/node
cat package.json package-lock.json | cksum >.state/npm
