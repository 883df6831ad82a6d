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
# What pytest makes of a test's text is kept. The first time it takes twice as long as all the reading: each half is done by
# one process, not all of it by each.
if [ -z "$(find tests -name 'test_*-pytest-*.pyc' | head -n 1)" ]; then
    echo "The tests are read for the first time ..."
    half=$(($(find tests -name 'test_*.py' | wc -l) / 2 + 1))
    find tests -name 'test_*.py' | sort | xargs -P 2 -n "$half" .venv/bin/python -m pytest --collect-only -q >/dev/null || :
fi
echo "The tests begin, in $processes processes; each reads all of them first ..."
.venv/bin/python -m pytest -n "$processes" --dist loadfile --no-loadscope-reorder "$@"
if [ "$*" = --full ]; then
    tests/fresh.sh
    tests/mutation.sh
fi
