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
    # The benchmark runs an nginx of its own: the package's service is not started, now or later.
    policy=/usr/sbin/policy-rc.d
    made=''
    if [ ! -e "$policy" ]; then
        made="$policy"
        trap 'rm -f "$made"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nginx-light >/dev/null
    systemctl disable --quiet nginx 2>/dev/null || true
    trap - EXIT
    [ -z "$made" ] || rm -f "$made"
fi
PYTHONPATH=tests exec .venv/bin/python tests/benchmark "$@"
