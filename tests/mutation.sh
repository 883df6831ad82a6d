#!/bin/sh
# Changes relay's core in small ways, one at a time, and fails where no test sees a change that tests/mutation/survivors.toml
# does not list with a reason. pyproject.toml ([tool.mutmut]) says which modules and tests. What follows goes to mutmut,
# such as --max-children 1. Afterwards `.venv/bin/mutmut show NAME` shows a change.
set -eu
cd "$(dirname "$0")/.."
extras='[test,mutation]'
. tests/setup.sh
rm -rf mutants
# CI: the tests of Hypothesis try the same examples each time.
CI=1 .venv/bin/python tests/mutation/mutate.py "$@"
exec .venv/bin/python tests/mutation/survivors.py
