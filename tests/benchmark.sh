#!/bin/sh
# Measures relay beside other ways to do the same, on a machine where nothing is installed too. See --help.
set -eu
cd "$(dirname "$0")/.."
extras='[test]'
. tests/setup.sh
if ! PATH="$PATH:/usr/sbin" command -v nginx >/dev/null; then
    if [ "$(id -u)" -ne 0 ]; then
        echo "This machine lacks: nginx-light. Run this as root, or: apt install nginx-light" >&2
        exit 1
    fi
    echo "Installing nginx-light ..." >&2
    apt-get update -qq
    # The service is not started: the benchmark runs an nginx of its own.
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nginx-light >/dev/null
fi
PYTHONPATH=tests exec .venv/bin/python tests/benchmark "$@"
