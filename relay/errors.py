"""Every error that relay raises on purpose.

RelayError                  one sentence for a person, and a hint: what to do next
├── UsageError              the command line asks for something that does not exist (exit 2)
├── ConfigError             the config file is wrong: all its mistakes at once (exit 2)
├── CredentialError         a secret cannot be read (exit 2)
├── MoodleError             Moodle's database
│   ├── MoodleUnreachable   not there now; trying again can help (exit 3)
│   │   └── MoodleTooSlow   it ended a statement that took longer than it may
│   └── MoodleRefused       it answers, and says no: password, grant, schema, prefix (exit 3)
│       └── MoodleUnasked   its password cannot be read here (exit 3)
└── OutboxError             the outbox
    ├── OutboxUnavailable   locked, full, read-only or gone (exit 3)
    │   ├── OutboxMissing   nobody has made it yet (exit 3)
    │   ├── OutboxFenced    another relay has taken over what this one was about to write
    │   └── OutboxOvertaken another process has written the same meanwhile: read again
    ├── OutboxRefused       it never takes what is to be written: too large, or no value of its column (exit 3)
    ├── OutboxCorrupt       its file is damaged (exit 3)
    └── OutboxInUse         another relay runs on it (exit 3)
"""

from __future__ import annotations


class RelayError(Exception):
    """One sentence saying what is wrong and where; `hint` says what to do about it.

    Neither may ever hold a secret or personal data: both are shown to people and written to logs.
    """

    #: The exit code of a command that ends with this error (contract, section 5).
    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(RelayError):
    """The command line cannot be carried out as it stands."""

    exit_code = 2


class ConfigError(RelayError):
    """The config file is wrong; `mistakes` holds one line for each mistake, with its path and line."""

    exit_code = 2

    def __init__(self, message: str, *, mistakes: tuple[str, ...] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.mistakes = mistakes


class CredentialError(RelayError):
    """A secret that the config refers to cannot be read; `file`: the one that it should be in, '' for none."""

    exit_code = 2

    def __init__(self, message: str, *, hint: str = "", file: str = "") -> None:
        super().__init__(message, hint=hint)
        self.file = file


class MoodleError(RelayError):
    """Moodle's database cannot be read."""

    exit_code = 3


class MoodleUnreachable(MoodleError):
    """No answer from Moodle's database; the same may work later."""


class MoodleTooSlow(MoodleUnreachable):
    """Moodle's database ended a statement that took longer than relay allows it: in smaller pieces it may go."""


class MoodleRefused(MoodleError):
    """Moodle's database answers and refuses: the password, a grant, the schema or the prefix is wrong."""

    def __init__(self, message: str, *, hint: str = "", is_about_account: bool = False) -> None:
        super().__init__(message, hint=hint)
        #: The account is not there, or lacks a right.
        self.is_about_account = is_about_account


class MoodleUnasked(MoodleRefused):
    """Moodle's database was not asked, as its password cannot be read here: the service may well read it."""


class OutboxError(RelayError):
    """The outbox cannot be used."""

    exit_code = 3


class OutboxUnavailable(OutboxError):
    """The outbox is locked, full, read-only or gone; the same may work later."""


class OutboxMissing(OutboxUnavailable):
    """There is no outbox yet where the config names one."""


class OutboxFenced(OutboxUnavailable):
    """Another relay has taken over, as this one's lease on a shared outbox has ended: nothing was written."""


class OutboxOvertaken(OutboxUnavailable):
    """Another process has written the same meanwhile, and nothing was written: read again what it was made of."""


class OutboxRefused(OutboxError):
    """The outbox answers, and never takes what is to be written: nothing of it was. Trying again does not help."""


class OutboxCorrupt(OutboxError):
    """The outbox's file is damaged or is no outbox; it is left as it is."""


class OutboxInUse(OutboxError):
    """Another relay runs on this outbox."""
