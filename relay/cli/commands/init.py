"""`relay init`: a config with its secrets, each answer tried at once; or a change of one that is there."""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from relay.cli.asking import HOST, PORT, Answers, Question, agrees, say
from relay.cli.command import Command, Exit
from relay.cli.commands import check, grants
from relay.cli.configured import config_path
from relay.config.credentials import service_group, service_of, site_of
from relay.config.draft import KEYS, OUTBOX_PASSWORD, PASSWORD, PLAIN, SYSTEM, TLS, TOKEN, Draft
from relay.errors import CredentialError, MoodleError, MoodleRefused, RelayError, UsageError
from relay.operations import install
from relay.operations.check.result import Verdict, fail
from relay.rules import signing
from relay.service import admin
from relay.service.daemon import Signals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.config import Config
    from relay.operations.check.result import Check

EXAMPLES = """examples:
  relay init
      asks, and writes the config; Enter takes what stands in brackets
  relay init --backend-url https://new.example.edu
      changes that, and keeps everything else
  relay init --moodle-url https://moodle.college.example \\
    --database-name moodle --backend-url https://backend.college.example \\
    --backend-token-file token > grants.sql
      from a script. Exit code 1: run grants.sql in the database, then
      `relay init` again

A secret comes from a file, or is typed unseen. It is kept in a file of its
own beside the config, which root writes and relay reads. One that is there
is replaced only where an option, or an answer, gives another.
"""
#: Where the service keeps its outbox (relay.tmpfiles.conf).
STATE = Path("/var/lib/relay")
PLACE = Path("/etc/relay/config.yaml")
UNITS = (install.ADMINISTRATORS_UNITS, install.UNITS, Path("/usr/lib/systemd/system"))


def _make_key() -> str:
    return signing.symmetric_texts(secrets.token_bytes(signing.SEED))[0]


URL = Question(
    path="moodle.url", option="moodle-url", metavar="URL", words="The Moodle site's own address ($CFG->wwwroot)"
)
DATABASE = (
    Question(
        path=HOST,
        option="database-host",
        metavar="HOST",
        words="Moodle's database server, or the path of its socket",
        default="localhost",
    ),
    Question(path=PORT, option="database-port", metavar="PORT", words="The server's port", default="3306"),
    Question(
        path=TLS,
        option="database-tls",
        metavar="FILE",
        words="TLS to the server: `no`, `system` (the CAs that this machine trusts), or the file of its CA",
        choices=(PLAIN, SYSTEM),
    ),
    Question(path="moodle.database.name", option="database-name", metavar="NAME", words="The database's name"),
    Question(
        path="moodle.database.prefix",
        option="database-prefix",
        metavar="PREFIX",
        words="What its tables' names begin with ($CFG->prefix)",
        default="mdl_",
    ),
    Question(
        path="moodle.database.user",
        option="database-user",
        metavar="USER",
        words="The database user that relay is to have for itself",
        default="relay",
    ),
)
DATABASE_PASSWORD = Question(
    path=PASSWORD,
    option="database-password-file",
    metavar="FILE",
    words="That user's password",
    make=grants.make_password,
)
BACKEND = (
    Question(path="backend.url", option="backend-url", metavar="URL", words="The backend's address"),
    Question(
        path="backend.ca_bundle",
        option="backend-ca",
        metavar="FILE",
        words="A file with the CA of its certificate, where the system does not know it",
        is_optional=True,
    ),
    Question(
        path="backend.tenant_id",
        option="tenant",
        metavar="TENANT",
        words="The tenant that the events are of",
        default="default",
    ),
)
BACKEND_TOKEN = Question(
    path=TOKEN, option="backend-token-file", metavar="FILE", words="The token that the backend knows relay by"
)
SIGNING_KEY = Question(
    path=KEYS,
    option="signing-key-file",
    metavar="FILE",
    words="The signing key, if the backend's developers gave you one",
    make=_make_key,
)
OUTBOX = Question(
    path="outbox.url",
    option="outbox",
    metavar="URL",
    words="Where events are kept (sqlite:///PATH)",
    default="sqlite:///var/lib/relay/outbox.db" if STATE.is_dir() else "sqlite:///outbox.db",
    is_optional=True,
)
OUTBOX_SECRET = Question(
    path=OUTBOX_PASSWORD,
    option="outbox-password-file",
    metavar="FILE",
    words="The password of the outbox's user",
    make=grants.make_password,
)
QUESTIONS = (URL, *DATABASE, DATABASE_PASSWORD, *BACKEND, BACKEND_TOKEN, SIGNING_KEY, OUTBOX, OUTBOX_SECRET)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: one for each question."""
    for question in QUESTIONS:
        is_name = question.words.startswith(("Moodle", "TLS"))
        words = question.words if is_name else f"{question.words[:1].lower()}{question.words[1:]}"
        default = f" (a new config: {question.default})" if question.default else ""
        made = " (a new config: one is made)" if question.make else ""
        parser.add_argument(f"--{question.option}", metavar=question.metavar, help=f"{words}{default}{made}")
    parser.add_argument(
        "--relay-host",
        metavar="HOST",
        help="for the SQL: the host that the database's server sees relay come from (default: localhost, or this "
        "machine's address)",
    )


def handle(arguments: argparse.Namespace) -> int:
    """Ask, try, write, and check what was written."""
    draft = Draft(_place(arguments))
    is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    answers = Answers(draft, arguments, is_terminal=is_terminal)
    is_given = any(getattr(arguments, question.option.replace("-", "_")) is not None for question in QUESTIONS)
    answers.asks_all = is_terminal and not is_given
    say(f"relay: {draft.source} {'is there: what is not answered anew stays' if draft.was_there else 'will be made'}.")
    try:
        refused = _gather(draft, answers, arguments)
    except (KeyboardInterrupt, EOFError):
        say("", "relay: broken off; nothing was written.")
        return 130
    signals = Signals()
    with signals.installed():
        # A signal waits until all is written.
        for path in draft.save():
            say(f"relay: {path} is written.")
    if signals.stop.is_set():
        return 130
    if KEYS in answers.made:
        say(f"relay: the signing key in {draft.place(KEYS)} is new: give it to the backend's developers, safely.")
    if refused is not None:
        is_new = PASSWORD in answers.made
        news = ["relay: its account is not in the database yet: the SQL makes it."]
        say(*(news if is_new else [f"relay: {refused}", f"  {refused.hint}"]))
        _print_sql(draft.config(), arguments)
        raise RelayError(
            "The account in the database is not ready yet.",
            hint="Run the SQL as the database's administrator, then `relay init` again.",
        )
    if OUTBOX_PASSWORD in answers.made:
        say("relay: `relay grants --outbox` prints the SQL of the outbox's schema and its user, with the new password.")
    with contextlib.redirect_stdout(sys.stderr):
        code = check.handle(argparse.Namespace(config=draft.source, json=False, config_only=False))
    _say_next(draft, code)
    return code


def _place(arguments: argparse.Namespace) -> Path:
    try:
        return config_path(arguments)
    except UsageError:
        return PLACE if os.geteuid() == 0 else Path("config.yaml")


def _gather(draft: Draft, answers: Answers, arguments: argparse.Namespace) -> MoodleRefused | None:
    """Take all answers; return why the database refuses its user, where nobody was there to mend that."""
    answers.take([URL, *DATABASE])
    answers.take_secret(DATABASE_PASSWORD)
    if answers.is_terminal:
        _settle_database(draft, answers, arguments)
    answers.take(BACKEND)
    answers.take_secret(BACKEND_TOKEN)
    answers.take_secret(SIGNING_KEY)
    if answers.is_terminal:
        _settle_backend(draft, answers)
    site = site_of(draft.source.parent)
    answers.take([replace(OUTBOX, default=f"sqlite://{STATE}/{site}/outbox.db") if site else OUTBOX])
    if draft.get(OUTBOX.path).startswith("mysql:"):
        answers.take_secret(OUTBOX_SECRET)
    if answers.missing:
        raise UsageError(
            f"Without a terminal, options must answer: {', '.join(f'--{one}' for one in answers.missing)}.",
            hint="Nothing was written. See `relay init --help`.",
        )
    if answers.is_terminal:
        return None
    error = _try_database(draft)
    return error if isinstance(error, MoodleRefused) and error.is_about_account else None


def _try_database(draft: Draft) -> MoodleError | CredentialError | Sequence[Check]:
    """Return why the database cannot be read, else what is odd about the site's address."""
    made = draft.config()
    try:
        if made.moodle.database.password is not None:
            # One that only the service can read is no reason to make another account.
            made.moodle.database.password.reveal()
        return admin.try_database(made)
    except (MoodleError, CredentialError) as error:
        return error


def _settle_database(draft: Draft, answers: Answers, arguments: argparse.Namespace) -> None:
    """Try the database until it can be read, or the person leaves it as it is."""
    while isinstance(found := _try_database(draft), RelayError):
        is_about_account = isinstance(found, MoodleRefused) and found.is_about_account
        if is_about_account and PASSWORD in answers.made:
            say("", "relay's account is not in the database yet. This SQL makes it:", "")
        else:
            _complain(found)
        if is_about_account:
            _print_sql(draft.config(), arguments)
            input("Run this as the database's administrator, then press Enter: ")
            found = _try_database(draft)
            if not isinstance(found, RelayError):
                break
            _complain(found)
        if not agrees("Change the answers about the database?"):
            return
        answers.ask_again(DATABASE, [DATABASE_PASSWORD])
    say("ok    database: it answers, and what relay reads can be read")
    for one in found:
        _show(one)
        answers.ask_again([URL], [])


def _settle_backend(draft: Draft, answers: Answers) -> None:
    """Try the backend until it knows us, or the person leaves it as it is."""
    while True:
        has_failed = False
        for one in admin.try_backend(draft.config()):
            _show(one)
            has_failed |= one.verdict is Verdict.FAIL
        if not has_failed or not agrees("Change the answers about the backend?"):
            return
        answers.ask_again(BACKEND, [BACKEND_TOKEN])


def _show(one: Check) -> None:
    with contextlib.redirect_stdout(sys.stderr):
        check.show(one)


def _complain(error: RelayError) -> None:
    _show(fail("database", str(error), error.hint))


def _print_sql(made: Config, arguments: argparse.Namespace) -> None:
    """Print the SQL that makes the database's user, with its password."""
    grants.show(
        made.moodle.database, made.events, made.web, host=arguments.relay_host, option="--relay-host", is_brief=True
    )


def _say_next(draft: Draft, code: int) -> None:
    """Say which command is next."""
    name = sys.argv[0] if Path(sys.argv[0]).name == "relay" else "relay"
    command = f"{name} --config {draft.source}"
    if code != Exit.WELL:
        say(
            "",
            "Mend what has failed, then run this again: it tries anew, and keeps what is there.",
            f"  {command} init",
        )
        return
    if service_group() is not None:
        command = f"runuser -u relay -- {command}"
    has_unit = any((folder / "relay.service").exists() for folder in UNITS)
    say("", "All is well. Look at what would be sent, then start it:", f"  {command} run --dry-run --from beginning")
    service = service_of(draft.source.parent).removesuffix(".service")
    say(f"  systemctl enable --now {service}" if has_unit else f"  {command} run")


COMMAND = Command(
    name="init",
    summary="ask what relay must know, try it, and write the config",
    examples=EXAMPLES,
    add_arguments=add_arguments,
    handle=handle,
)
