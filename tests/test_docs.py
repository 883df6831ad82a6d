"""The README is complete: every command, option, config key and log slug is in it, and nothing that is not there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import relay
from relay import config
from relay.cli import commands
from relay.cli.parser import parsers
from relay.config import document
from relay.events import document as events
from relay.events.catalogue import KINDS
from relay.events.kind import EventKind

ROOT = Path(relay.__file__).parent
README = (ROOT.parent / "README.md").read_text()
EXAMPLE = (ROOT.parent / "config.example.yaml").read_text()
SLUG = re.compile(
    r'"((?:reconcile|relay|event|events|delivery|circuit|moodle|outbox|capture|lead|log_store|log|gap|config|clock|purge'
    r'|metrics|grade|web)\.[a-z_]+)"'
)


def slugs() -> set[str]:
    """Return what the code logs: the first argument of each call of a log's method, and slugs chosen before one."""
    texts = (path.read_text() for path in ROOT.rglob("*.py") if "demo" not in path.parts)
    found = {slug for text in texts for slug in SLUG.findall(text)}
    return found - {
        "config.yaml",
        "outbox.db",
        "moodle.database",
        "relay.service",
        "relay.conf",
        *(path for path, _ in document.rows()),
    }


@pytest.mark.parametrize("slug", sorted(slugs()))
def test_every_log_slug_is_in_the_readme(slug: str) -> None:
    assert f"`{slug}`" in README


def test_the_readme_names_no_slug_that_is_not_logged() -> None:
    table = README.split("| slug | level | says |")[1].split("\n\n")[0]
    named = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", table)) - {"retry.max_attempts"}
    assert named == slugs()


def test_the_example_is_what_the_keys_make() -> None:
    assert document.example() == EXAMPLE, "run tests/write_docs.py"


def test_the_readme_has_what_the_keys_make() -> None:
    assert document.in_readme(README) == README, "run tests/write_docs.py"


def test_the_readme_has_what_the_kinds_of_event_make() -> None:
    assert events.in_readme(README, KINDS.values()) == README, "run tests/write_docs.py"


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_every_event_is_in_the_readme_with_each_of_its_fields(kind: EventKind) -> None:
    section = README.split(f"**`{kind.name}`**")[1]
    fields = [(field.name, field.type) for field in kind.fields]
    if kind.is_default:
        table = section.split("| --- | --- | --- |\n")[1].split("\n\n")[0]
        rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()]
        assert [(row[0].strip("` "), row[1]) for row in rows] == fields
        assert all(len(row) == 3 and all(row) for row in rows)
    else:
        shown = section.split(" Fields:")[1].split("\n- ")[0].split("\n\n")[0]
        items = [item.partition(": ") for item in " ".join(shown.split()).split(" · ")]
        assert [item[0] for item in items] == [f"`{name}` {type_.replace(' or null', '?')}" for name, type_ in fields]
        bare = [item[0].split()[0] for item in items if not item[2]]
        tables = README.split(events.FURTHER)[0]
        assert [name for name in bare if f"| {name} | " not in tables] == [], (
            "the tables above do not say what it means"
        )


@pytest.mark.parametrize(("path", "one"), [*document.rows()])
def test_every_key_is_in_the_readme_and_the_example_says_what_it_means(path: str, one: document.Declared) -> None:
    listed = README.split(document.BEGIN)[1].split(document.END)[0]
    top, _, switch = path.partition(".")
    name, _, last = switch.partition(".")
    if (top, last) == ("events", "enabled"):
        assert "`events.TYPE.enabled`" in listed
        assert (f"`{name}`" in listed) == KINDS[name].is_default
        assert f"**`{name}`**" in README
    else:
        assert f"`{path}`" in listed
    assert document._meanings(one)
    assert all(document._meanings(one))


@pytest.mark.parametrize("name", commands.NAMES)
def test_every_command_is_in_the_readme_and_has_examples(name: str) -> None:
    assert f"| `relay {name}" in README
    command = parsers({name})[1][name]
    assert "examples:" in str(command.epilog)
    for action in command._actions:
        for option in action.option_strings:
            if option.startswith("--") and option not in ("--help", "--debug", "--config", "--seconds"):
                assert option in README, option


def test_the_config_on_the_first_screen_is_whole(tmp_path: Path) -> None:
    text = README.split("```yaml\n")[1].split("```")[0]
    for name, value in (("database-password", "p"), ("backend-token", "t"), ("signing-key", "whsec_bWFkZSB1cA==")):
        (tmp_path / name).write_text(value)
    found = config.parse(text.replace("/etc/relay/", f"{tmp_path}/"), path=tmp_path / "config.yaml")
    assert found.backend.url == "https://backend.college.example"


def test_the_two_commands_are_there() -> None:
    for command in re.findall(r"^    (tests/\w+\.sh)$", README, re.MULTILINE):
        assert (ROOT.parent / command).stat().st_mode & 0o111
    assert len(re.findall(r"^    tests/\w+\.sh$", README, re.MULTILINE)) == 2


def test_the_floors_of_dependencies_are_what_the_core_tests_are_run_with() -> None:
    floors = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["project"]["dependencies"]
    pinned = (ROOT.parent / "tests" / "lowest.txt").read_text().splitlines()
    lowest = {line.replace("==", ">=") for line in pinned if not line.startswith("#")}
    assert {floor.split(",")[0] for floor in floors} == lowest


def test_every_help_fits_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    top, each = parsers(commands.NAMES)
    wide = [line for one in (top, *each.values()) for line in one.format_help().splitlines() if len(line) > 80]
    assert wide == []


def anchor(heading: str) -> str:
    """Return what a link to a heading ends with, as GitHub and GitLab make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize(
    "name", ["README.md", "README.ar.md", "CHANGELOG.md", "tests/README.md", "tests/faults/README.md"]
)
def test_every_link_within_the_project_leads_somewhere(name: str) -> None:
    page = ROOT.parent / name
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        path, _, part = target.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), target
        headings = re.findall(r"^#+ (.*)$", there.read_text(), re.MULTILINE)
        assert not part or part in map(anchor, headings), target


def test_the_contents_list_every_section_in_its_order() -> None:
    before, after = README.split("\n## Contents\n")
    listed = re.findall(r"^- \[(.*)\]\(#(.*)\): ", after.split("\n## ")[0], re.MULTILINE)
    sections = re.findall(r"^## (.*)$", after, re.MULTILINE)
    assert listed == [(one, anchor(one)) for one in sections]
    assert before.count("\n") < 85, "the first two screens are enough to start"


def commands_of(text: str) -> list[str]:
    """Return the lines of a document's shell blocks, and its indented commands."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [*re.findall(r"^    (tests/\w+\.sh)$", text, re.MULTILINE), *"".join(blocks).splitlines()]


def test_the_arabic_quick_start_has_the_same_commands_in_the_same_order() -> None:
    arabic = (ROOT.parent / "README.ar.md").read_text()
    english = iter(commands_of(README))
    wanted = commands_of(arabic)
    assert len(wanted) >= 10
    assert [line for line in wanted if line not in english] == []
    named = set(re.findall(r"`relay ([a-z-]+)`", arabic))
    assert named <= set(commands.NAMES)
    assert {"init", "check", "status", "explain"} <= named
