#!/bin/sh
# Runs the tests on all cores, on a machine where nothing is installed too. What follows goes to pytest.
set -eu
cd "$(dirname "$0")/.."
extras='[test]'
. tests/setup.sh
exec .venv/bin/python -m pytest -n auto --dist loadfile "$@"
