# Sourced by demo.sh and run.sh: makes .venv with relay in it, and installs what the machine lacks, saying how far it is.
# $extras: which extras of pyproject.toml, such as [test].
work="" step="" is_whole=""

tidy() {
    [ -z "$work" ] || rm -rf "$work"
    work=""
}

# Ctrl-C. What apt has begun to unpack is ended first: half of a package is in the way of the next start.
stop() {
    trap '' INT TERM HUP
    if [ -n "$step" ]; then
        if [ -n "$is_whole" ]; then
            printf '\nStopping, once apt has ended what it has begun ...'
        else
            kill -TERM "$step" "-$step" 2>/dev/null || :
        fi
        wait "$step" 2>/dev/null || :
        kill -KILL "-$step" 2>/dev/null || :
    fi
    tidy
    printf '\nStopped. What is installed stays: the next start goes on from there.\n'
    trap - EXIT
    exit 130
}
trap tidy EXIT
trap stop INT TERM HUP

# Runs a command; its output goes to a file, of which the last line shows how far it is.
run() {
    [ -n "$work" ] || work=$(mktemp -d)
    began=$(date +%s) said=0
    : >"$work/log"
    # A session of its own: Ctrl-C is for us to handle.
    TMPDIR="$work" setsid "$@" >"$work/log" 2>&1 </dev/null &
    step=$!
    while kill -0 "$step" 2>/dev/null; do
        seconds=$(($(date +%s || echo "$began") - began))
        if [ -t 1 ]; then
            printf '\r\033[K%5d s  %s' "$seconds" "$(tail -n 1 "$work/log" | tr -d '\r' | cut -c 1-68)"
        elif [ "$seconds" -ge "$((said + 5))" ]; then
            said=$seconds
            printf '%5d s  %s\n' "$seconds" "$(tail -n 1 "$work/log" | cut -c 1-68)"
        fi
        # Ctrl-C ends this one too, perhaps before it is heard here.
        sleep 0.2 || :
    done
    code=0
    wait "$step" || code=$?
    step=""
    [ ! -t 1 ] || printf '\r\033[K'
    if [ "$code" -ne 0 ]; then
        tail -n 12 "$work/log" >&2
        echo "That failed: what it said last stands above. The first start needs a network." >&2
        exit 1
    fi
}

missing=""
command -v python3 >/dev/null || missing=" python3"
python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
PATH="$PATH:/usr/sbin" command -v mariadbd >/dev/null || missing="$missing mariadb-server-core"
# mariadb-install-db asks my_print_defaults, which comes with the client.
command -v my_print_defaults >/dev/null || missing="$missing mariadb-client-core"
# The verifiers for PHP and Node are tried where these are; who is not root does without.
if [ "$extras" = "[test]" ] && [ "$(id -u)" -eq 0 ]; then
    command -v php >/dev/null || missing="$missing php-cli"
    command -v node >/dev/null || missing="$missing nodejs"
    # The page is tried in a real browser.
    command -v chromium >/dev/null || missing="$missing chromium"
    command -v chromedriver >/dev/null || missing="$missing chromium-driver"
fi
if [ -n "$missing" ]; then
    if [ "$(id -u)" -ne 0 ]; then
        echo "This machine lacks:$missing. Run this as root, or: apt install$missing" >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    echo "1. apt looks for what this machine lacks:$missing"
    run apt-get update -q
    # shellcheck disable=SC2086 # a list of packages
    run apt-get install -y -q --no-install-recommends --download-only $missing
    echo "   apt unpacks them"
    is_whole=yes
    # shellcheck disable=SC2086
    run apt-get install -y -q --no-install-recommends $missing
    is_whole=""
fi
if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "relay needs Python 3.11 or later; this is $(python3 --version). Debian 12 and later have it." >&2
    exit 1
fi
# A folder that was copied or moved keeps a .venv that does not work, and a start that was ended half of one.
if [ -e .venv/making ] || ! .venv/bin/python -c '' 2>/dev/null; then
    echo "2. Python makes .venv, a folder for relay and its packages"
    run python3 -m venv --clear .venv
    : >.venv/making
fi
# What is installed already for this pyproject.toml, in this folder, needs no network the next time.
made="$PWD $(cksum <pyproject.toml)"
if [ "$(cat ".venv/made$extras" 2>/dev/null)" != "$made" ]; then
    echo "3. pip installs relay$extras and the Python packages that it needs into .venv"
    run .venv/bin/python -m pip install --disable-pip-version-check --no-color --progress-bar off --editable ".$extras"
    echo "$made" >".venv/made$extras"
fi
# The alerts are tried with Prometheus' own tool. Its package would start a server: only the tool is taken out of it.
if [ "$extras" = "[test]" ] && [ "$(id -u)" -eq 0 ] && ! command -v promtool >/dev/null && [ ! -e .venv/bin/promtool ]; then
    echo "4. apt fetches Prometheus, and promtool of it is put into .venv"
    run sh -c 'cd "$TMPDIR" && { apt-get download -q prometheus || { apt-get update -q && apt-get download -q prometheus; }; } &&
        dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool'
    mv "$work/usr/bin/promtool" .venv/bin/promtool
fi
rm -f .venv/making
tidy
trap - EXIT INT TERM HUP
