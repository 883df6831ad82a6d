#!/bin/sh
# Measures relay beside other ways to do the same, on a machine where nothing is installed too. See --help.
set -eu
cd "$(dirname "$0")/.."
extras='[test]'
. tests/setup.sh
PATH="$PATH:/usr/sbin"
lacking=''
command -v nginx >/dev/null || lacking="$lacking nginx-light"
# Two servers of section 11, which leaves out what it lacks.
command -v redis-server >/dev/null || lacking="$lacking redis-server"
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || lacking="$lacking postgresql"
if [ -n "$lacking" ] && [ "$(id -u)" -ne 0 ]; then
    echo "This machine lacks:$lacking. Run this as root, or: apt install$lacking" >&2
    command -v nginx >/dev/null || exit 1
elif [ -n "$lacking" ]; then
    apt-get update -qq || :
    # The benchmark runs servers of its own: the packages' services are not started, now or later.
    policy=/usr/sbin/policy-rc.d
    made=''
    if [ ! -e "$policy" ]; then
        made="$policy"
        trap 'rm -f "$made"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    for package in $lacking; do
        echo "Installing $package ..." >&2
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null ||
            [ "$package" != nginx-light ]
        systemctl disable --quiet "${package%-light}" 2>/dev/null || true
    done
    trap - EXIT
    [ -z "$made" ] || rm -f "$made"
fi
PYTHONPATH=tests exec .venv/bin/python tests/benchmark "$@"
