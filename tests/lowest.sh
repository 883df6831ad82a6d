#!/bin/sh
# Runs the core tests with the oldest dependencies that pyproject.toml allows, in a .venv-lowest of its own. What follows
# goes to pytest. It needs MariaDB's server, which tests/run.sh installs, and Python 3.11: some of these have no later one.
set -eu
cd "$(dirname "$0")/.."
if ! python=$(command -v python3.11); then
    echo "tests/lowest.sh: skipped, as there is no python3.11 here." >&2
    exit 0
fi
.venv-lowest/bin/python -c '' 2>/dev/null || "$python" -m venv --clear .venv-lowest
.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check --constraint tests/lowest.txt --editable . \
    pytest hypothesis standardwebhooks
# Of each dependency what it does for relay: YAML and secrets, signatures, requests over TLS, both kinds of outbox, the
# log, reading Moodle, and the daemon with its retries.
exec .venv-lowest/bin/python -m pytest -p no:cacheprovider -q \
    tests/rules tests/config tests/delivery/test_sender.py tests/service/test_logs.py tests/capture/test_session.py \
    tests/outbox/test_shared.py::test_once_captures_and_delivers \
    tests/service/test_daemon.py::test_a_signal_under_load_ends_well_and_loses_and_doubles_nothing \
    tests/service/test_daemon.py::test_a_database_that_goes_away_is_said_once_and_waited_for "$@"
