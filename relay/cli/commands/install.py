"""`relay install`: the service's units, the command on PATH, completion, man page; the account and its folders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from relay.cli import shells
from relay.cli.command import Command, Exit
from relay.config import document
from relay.operations import install

if TYPE_CHECKING:
    import argparse

EXAMPLES = """examples:
  /opt/relay/bin/relay install    as root, after `pip install` and upgrades
  relay install --dry-run         prints each file, and changes nothing

Everything goes below /usr/local; `relay uninstall` removes it. What you
change of a unit with `systemctl edit` stays.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--dry-run", action="store_true", help="print the files; write nothing")


def wanted() -> list[install.Target]:
    """Return what is installed for the `relay` of this process. Raises UsageError where a service could not run it."""
    texts = {
        "share/bash-completion/completions/relay": shells.bash(),
        "share/zsh/site-functions/_relay": shells.zsh(),
        "share/fish/vendor_completions.d/relay.fish": shells.fish(),
        "share/man/man1/relay.1": shells.man(),
        "share/doc/relay/config.example.yaml": document.example(),
    }
    return install.targets(install.program(), {Path(path): text for path, text in texts.items()})


def handle(arguments: argparse.Namespace) -> int:
    """Install, or show what would be."""
    found = wanted()
    if arguments.dry_run:
        for one in found:
            print(f"=== {one.path} -> {one.text}" if one.is_link else f"=== {one.path}\n{one.text}")
        return Exit.WELL
    for line in install.install(found):
        print(f"relay: {line}")
    print("relay: installed. Next: `relay init`; after an upgrade: `systemctl restart relay`.")
    return Exit.WELL


COMMAND = Command(
    name="install",
    summary="install the service, completion and the man page",
    examples=EXAMPLES,
    add_arguments=add_arguments,
    handle=handle,
)
