"""`relay completion`: what lets a shell complete relay's commands and options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.cli import shells
from relay.cli.command import Command, Exit

if TYPE_CHECKING:
    import argparse

EXAMPLES = """examples:
  relay completion bash > /usr/share/bash-completion/completions/relay
  relay completion zsh > /usr/local/share/zsh/site-functions/_relay
  relay completion fish > ~/.config/fish/completions/relay.fish
  eval "$(relay completion bash)"             for this shell alone
Make it anew after an upgrade.
"""
SHELLS = {"bash": shells.bash, "zsh": shells.zsh, "fish": shells.fish}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("shell", choices=sorted(SHELLS), help="which shell it is for")


def handle(arguments: argparse.Namespace) -> int:
    """Print the completion."""
    print(SHELLS[arguments.shell](), end="")
    return Exit.WELL


COMMAND = Command(
    name="completion",
    summary="print the completion for bash, zsh or fish",
    examples=EXAMPLES,
    add_arguments=add_arguments,
    handle=handle,
)
