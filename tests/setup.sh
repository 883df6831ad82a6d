# Sourced by demo.sh and run.sh: makes .venv with relay in it, and installs what the machine lacks.
# $extras: which extras of pyproject.toml, such as [test].
missing=""
command -v python3 >/dev/null || missing="python3"
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
        echo "This machine lacks: $missing. Run this as root, or: apt install $missing" >&2
        exit 1
    fi
    echo "Installing $missing ..."
    apt-get update -qq
    # shellcheck disable=SC2086 # a list of packages
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "relay needs Python 3.11 or later; this is $(python3 --version). Debian 12 and later have it." >&2
    exit 1
fi
# A folder that was copied or moved keeps a .venv that does not work.
.venv/bin/python -c '' 2>/dev/null || { echo "Making .venv ..."; python3 -m venv --clear .venv; }
# What is installed already for this pyproject.toml, in this folder, needs no network the next time.
made="$PWD $(cksum <pyproject.toml)"
if [ "$(cat ".venv/made$extras" 2>/dev/null)" != "$made" ]; then
    echo "Installing relay$extras with the Python packages that it needs into .venv ..."
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".$extras"
    echo "$made" >".venv/made$extras"
fi
