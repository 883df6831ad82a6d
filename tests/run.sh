#!/bin/sh
# Runs the tests on all cores, on a machine where nothing is installed too. What follows goes to pytest. With --full alone
# the fault suite runs for hours, and tests/fresh.sh and tests/mutation.sh come behind it.
set -eu
cd "$(dirname "$0")/.."
extras='[test]'
. tests/setup.sh
if [ "$*" = --full ]; then
    .venv/bin/python -m pytest -n auto --dist loadfile --full
    tests/fresh.sh
    exec tests/mutation.sh
fi
exec .venv/bin/python -m pytest -n auto --dist loadfile "$@"
