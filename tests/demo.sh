#!/bin/sh
# Shows relay at work on a throwaway Moodle database, on a machine where nothing is installed too.
set -eu
cd "$(dirname "$0")/.."
extras=''
. tests/setup.sh
exec .venv/bin/relay demo "$@"
