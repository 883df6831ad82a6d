#!/bin/sh
# Runs the tests on all cores, on a machine where nothing is installed too. What follows goes to pytest. With --full alone
# the fault suite runs for hours; tests/fresh.sh and tests/mutation.sh come behind it.
set -eu
cd "$(dirname "$0")/.."
extras='[test]'
. tests/setup.sh
# Each process of relay would read its modules anew, and each dot of the progress would wait for a line to be full.
unset PYTHONDONTWRITEBYTECODE
export PYTHONUNBUFFERED=1
# Some tests wait more than they work: with more processes than cores, others go on meanwhile. The tests of a module are for
# one process: some share a fixture, or accounts of its database server.
processes=$(($(nproc) + 3))
echo "The tests begin, in $processes processes; each reads all of them first ..."
.venv/bin/python -m pytest -n "$processes" --dist loadfile --no-loadscope-reorder "$@"
if [ "$*" = --full ]; then
    tests/fresh.sh
    tests/mutation.sh
fi
