"""The commands, in the order of `relay --help`. A new one is a module with a COMMAND, and its line here."""

from __future__ import annotations

from relay.cli.commands import (
    acknowledge,
    check,
    demo,
    events,
    explain,
    forget,
    grants,
    import_plugin,
    keygen,
    metrics,
    move_outbox,
    profile,
    purge,
    receive,
    reconcile,
    run,
    schema,
    seal,
    send_test,
    status,
    sync,
    test_backend,
)

#: By what they are for.
GROUPS = {
    "run": (run.COMMAND, demo.COMMAND),
    "look": (check.COMMAND, status.COMMAND, events.COMMAND, explain.COMMAND, metrics.COMMAND, profile.COMMAND),
    "repair": (
        sync.COMMAND,
        reconcile.COMMAND,
        acknowledge.COMMAND,
        purge.COMMAND,
        forget.COMMAND,
        move_outbox.COMMAND,
    ),
    "set up": (grants.COMMAND, seal.COMMAND, import_plugin.COMMAND),
    "for those who receive": (keygen.COMMAND, schema.COMMAND, send_test.COMMAND, receive.COMMAND, test_backend.COMMAND),
}
COMMANDS = tuple(command for group in GROUPS.values() for command in group)
