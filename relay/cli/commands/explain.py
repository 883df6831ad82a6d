"""`relay explain`: the story of one event, and what to do next."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from relay.cli.command import Command, Exit
from relay.cli.configured import load_to_look
from relay.cli.printing import fitted, print_json
from relay.events.catalogue import KINDS, by_subject
from relay.operations import named
from relay.operations.story import WHEN, as_json, show
from relay.service import looking

if TYPE_CHECKING:
    import argparse

    from relay.operations.story import Story

#: The last of what can be asked for by the id of a row.
SUBJECT = tuple(by_subject(KINDS.values()))[-1]
EXAMPLES = f"""examples:
{f"  relay explain {SUBJECT}:4711":<44}by the id in Moodle's table
  relay explain user:42                     everything about a user
  relay explain user:ada@college.example    the same, by e-mail or username
  relay explain grade:ada@college.example@C1
                                            grades in a course, by the short
                                            name of the course or its id
  relay explain log:1234567                 what became of a row of the log
  relay explain log:1234567 --json          the same, for a program
  relay explain 6f1c0b52-5f0e-4b1e-9d53-0a2b3c4d5e6f
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("what", metavar="WHAT", help=named.FORMS)
    parser.add_argument(
        "--json", action="store_true", help="one JSON object, its times in UTC; a list where a name means several"
    )


def handle(arguments: argparse.Namespace) -> int:
    """Print the story, or the stories of all that a name means."""
    stories = looking.explain(load_to_look(arguments), arguments.what)
    if arguments.json:
        made = [{"what": name, **as_json(story)} for name, story in stories]
        print_json(json.dumps(made[0] if len(made) == 1 else made, ensure_ascii=False, indent=2))
    else:
        several = len(stories) > 1
        heads = [f"== {name}\n" if several or name != arguments.what else "" for name, _ in stories]
        print("\n\n".join(head + _fitted(story) for head, (_, story) in zip(heads, stories, strict=True)))
    return Exit.UNDELIVERED if all(story.is_unknown for _, story in stories) else Exit.WELL


def _fitted(story: Story) -> str:
    told = len(story.lines)
    lines = [fitted(line, sys.stdout, " " * WHEN if place < told else "") for place, line in enumerate(show(story))]
    return "\n".join(lines)


COMMAND = Command(
    name="explain",
    summary="the whole story of an event, and what to do next",
    examples=EXAMPLES,
    add_arguments=add_arguments,
    handle=handle,
)
