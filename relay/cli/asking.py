"""The questions of `relay init`: each is answered by an option, on the terminal, or by what the config has already."""

from __future__ import annotations

import getpass
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from relay.cli.printing import fitted
from relay.config.checks import is_loopback
from relay.config.draft import KEYS, OUTBOX_PASSWORD, PLAIN, SYSTEM, TLS, secret_in
from relay.errors import CredentialError, UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable

    from relay.config.draft import Draft

HOST, SOCKET, PORT = "moodle.database.host", "moodle.database.unix_socket", "moodle.database.port"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What init asks."""

    #: The key of the config.
    path: str
    #: The option that answers it.
    option: str
    metavar: str
    #: What is asked, for a person.
    words: str
    #: The answer where there is no other, for a new config alone; '' for none.
    default: str = ""
    #: It needs no answer.
    is_optional: bool = False
    #: Answers that are words, where others are files.
    choices: tuple[str, ...] = ()
    #: Makes the answer where there is none; None where it can't be made. Of a secret alone.
    make: Callable[[], str] | None = None


class Answers:
    """Puts answers into a draft."""

    def __init__(self, draft: Draft, arguments: argparse.Namespace, *, is_terminal: bool) -> None:
        self._draft = draft
        self._arguments = arguments
        self.is_terminal = is_terminal
        #: No option was given: each question is asked, with what the config has as its answer for Enter.
        self.asks_all = False
        #: The options of the questions that nobody has answered.
        self.missing: list[str] = []
        #: The keys of the secrets that were made.
        self.made: list[str] = []

    def take(self, questions: Iterable[Question]) -> None:
        """Take the answers to some questions. Raises UsageError where an option's is wrong."""
        for question in questions:
            if question.path == PORT and self._draft.get(SOCKET):
                continue
            given, known = self._given(question), self._known(question)
            if given is not None:
                self._put_given(question, _found_from_here(question, given))
            elif self.is_terminal and self._is_asked(question):
                self._ask(question)
            elif known:
                self._put(question, known)
            elif not question.is_optional:
                self.missing.append(question.option)

    def take_secret(self, question: Question) -> None:
        """Take a secret, from a file or the terminal, else make it. Raises UsageError where the file's is wrong."""
        draft, path = self._draft, question.path
        given = self._given(question)
        if given is not None:
            self._put_given(question, self._read(question, given))
        elif self.is_terminal and (self.asks_all or not (draft.has(path) or question.make)):
            self._ask_secret(question)
        elif draft.has(path):
            return
        elif question.make is None:
            self.missing.append(question.option)
        elif draft.names(path) or draft.is_new:
            self._make(question)

    def ask_again(self, questions: Iterable[Question], secrets: Iterable[Question]) -> None:
        """Ask questions on the terminal, whatever answers there are."""
        for question in questions:
            if question.path != PORT or not self._draft.get(SOCKET):
                self._ask(question)
        for question in secrets:
            self._ask_secret(question)

    def _is_asked(self, question: Question) -> bool:
        """Say whether a question is asked of a person before anything has failed."""
        if question.path == TLS and self._known(question) == PLAIN and self._is_here():
            return False  # what stays on this machine needs none
        return self.asks_all or not (self._known(question) or question.is_optional)

    def _is_here(self) -> bool:
        return bool(self._draft.get(SOCKET)) or is_loopback(self._draft.get(HOST) or self._draft.default(HOST))

    def _given(self, question: Question) -> str | None:
        found: str | None = getattr(self._arguments, question.option.replace("-", "_"))
        return found

    def _known(self, question: Question) -> str:
        draft = self._draft
        if question.path == TLS:
            return draft.tls() or (PLAIN if self._is_here() else SYSTEM)
        socket = draft.get(SOCKET) if question.path == HOST else ""
        default = question.default if draft.is_new else draft.default(question.path)
        return socket or draft.get(question.path) or default

    def _ask(self, question: Question) -> None:
        known = self._known(question)
        while True:
            given = input(f"{question.words}{f' [{known}]' if known else ''}: ").strip()
            text = _found_from_here(question, given) if given else known
            try:
                if text:
                    self._put(question, text)
            except ValueError as error:
                say(f"  That will not do: {error}.")
            else:
                if text or question.is_optional:
                    return

    def _ask_secret(self, question: Question) -> None:
        draft, path = self._draft, question.path
        can_make = question.make is not None and (draft.names(path) or path in (KEYS, OUTBOX_PASSWORD))
        enter = " (Enter keeps the one that is there)" if draft.has(path) else " (Enter: a new one)" * can_make
        while True:
            text = getpass.getpass(f"{question.words}{enter}: ").strip()
            try:
                if text:
                    draft.set_secret(path, text)
                elif not draft.has(path) and can_make:
                    self._make(question)
            except ValueError as error:
                say(f"  That will not do: {error}.")
            else:
                if draft.has(path) or question.make is not None:
                    return

    def _make(self, question: Question) -> None:
        if question.make is not None:
            self._draft.set_secret(question.path, question.make())
            self.made.append(question.path)

    def _put_given(self, question: Question, text: str) -> None:
        try:
            self._put(question, text)
        except ValueError as error:
            # A secret is never shown: its option names a file.
            shown = self._given(question)
            raise UsageError(f"--{question.option} {shown}: {error}.", hint="See `relay init --help`.") from None

    def _put(self, question: Question, text: str) -> None:
        """Put an answer into the draft. Raises ValueError with the end of a sentence."""
        draft = self._draft
        if question.path == TLS:
            draft.set_tls(text)
        elif question.option.endswith("-file"):
            draft.set_secret(question.path, text)
        elif question.path == HOST and text.startswith("/"):
            draft.set(SOCKET, text)
        else:
            if question.path == HOST and draft.get(SOCKET):
                draft.set(SOCKET, None)
            draft.set(question.path, text)

    def _read(self, question: Question, given: str) -> str:
        try:
            return secret_in(Path(given))
        except CredentialError as error:
            raise UsageError(
                f"--{question.option}: {error}.", hint="It takes a file that holds the secret, on one line."
            ) from None


def _found_from_here(question: Question, given: str) -> str:
    """Return an answer; a file is named from this folder, and in the config from that of the config."""
    return str(Path(given).absolute()) if question.metavar == "FILE" and given not in question.choices else given


def say(*lines: str) -> None:
    """Say something to the person: standard output is for the SQL alone."""
    print("\n".join(fitted(line, sys.stderr) for line in lines), file=sys.stderr, flush=True)


def agrees(question: str) -> bool:
    """Ask a question on the terminal whose answer is yes, unless it begins with n."""
    return not input(f"{question} [Y/n]: ").strip().lower().startswith("n")
