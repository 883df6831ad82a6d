"""The commands, in the order of `relay --help`. A new one is a module with a COMMAND, and its line here."""

from __future__ import annotations

from relay.cli.commands import (
    check,
    demo,
    events,
    explain,
    forget,
    grants,
    import_plugin,
    metrics,
    move_outbox,
    profile,
    purge,
    run,
    seal,
    status,
    sync,
)

COMMANDS = (
    run.COMMAND,
    check.COMMAND,
    status.COMMAND,
    events.COMMAND,
    explain.COMMAND,
    metrics.COMMAND,
    sync.COMMAND,
    profile.COMMAND,
    purge.COMMAND,
    forget.COMMAND,
    move_outbox.COMMAND,
    grants.COMMAND,
    seal.COMMAND,
    import_plugin.COMMAND,
    demo.COMMAND,
)
