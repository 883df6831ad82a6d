#!/bin/sh
# Runs the tests, on a machine where nothing is installed too. What follows goes to pytest.
set -eu
cd "$(dirname "$0")/.."
. tests/setup.sh '[test]'
exec .venv/bin/python -m pytest "$@"
