#!/bin/sh
# Runs each shell command of the README on a fresh Debian, from nothing to the first delivered event, an upgrade from a day-old
# relay, and nothing again: for a quarter of an hour, as root, with systemd as the first process of a root in a folder.
#     tests/fresh.sh                on Debian 12 and 13
#     tests/fresh.sh bookworm       on one of them
# $FRESH: a folder that keeps what debootstrap has fetched; else a temporary one.
set -eu
cd "$(dirname "$0")/.."
if [ "$(id -u)" -ne 0 ]; then
    echo "tests/fresh.sh: skipped, as it needs root." >&2
    exit 0
fi
missing=""
command -v debootstrap >/dev/null || missing="debootstrap"
command -v systemd-nspawn >/dev/null || missing="$missing systemd-container"
command -v git >/dev/null || missing="$missing git"
if [ -n "$missing" ]; then
    apt-get update -qq
    # shellcheck disable=SC2086 # a list of packages
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
folder=${FRESH:-}
if [ -z "$folder" ]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
fi
[ $# -gt 0 ] || set -- bookworm trixie
python3 tests/fresh/drive.py "$folder" "$@"
