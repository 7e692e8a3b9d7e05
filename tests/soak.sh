#!/usr/bin/env bash
# The soak: tests/soak.sh [MINUTES] (10 by default); see chaos/soak.py.
exec "$(dirname "${BASH_SOURCE[0]}")/chaos.sh" soak "$@"
