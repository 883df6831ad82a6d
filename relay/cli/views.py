"""What commands found, as lines of text."""

from __future__ import annotations

from typing import Any

from relay import times


def status_lines(found: dict[str, Any]) -> list[str]:
    """Return what `status.gather` found, as a table and lines below it."""
    columns = list(found["by_status"])
    widths = [max(len(name), 8) for name in columns]
    lines = [
        "  ".join(["event type".ljust(20), *(name.rjust(width) for name, width in zip(columns, widths, strict=True))])
    ]
    for name, states in [*found["by_type"].items(), ("all", found["by_status"])]:
        numbers = [str(states.get(column, 0)).rjust(width) for column, width in zip(columns, widths, strict=True)]
        lines.append("  ".join([name.ljust(20), *numbers]))
    age = found["oldest_undelivered_age_s"]
    lines += ["", f"undelivered  {found['undelivered']}" + ("" if age is None else f", the oldest for {_age(age)}")]
    lines += _circuit_lines(found["circuit"])
    end = "Moodle's database cannot be asked" if found["lag"] is None else f"the log ends at {found['log_end']}"
    lines.append(f"cursor       {found['cursor']} ({end}; {found['open_gap_ids']} lower ids may still turn up)")
    lines += [f"relay        {one['name']}{', reads the log' if one['leads'] else ''}" for one in found["relays"]]
    sums = found["conservation"]
    lines.append(
        f"accounts     seen {sums['seen']} = captured {sums['captured']} + skipped {sums['skipped']} + ignored "
        f"{sums['ignored']}: {_holds(sums['seen_holds'])}"
    )
    lines.append(
        f"             captured {sums['captured']} + synced {sums['synced']} = success {sums['success']} + pending "
        f"{sums['pending']} + failed {sums['failed']} + failed_all_retries {sums['failed_all_retries']} + purged "
        f"{sums['purged']}: {_holds(sums['captured_holds'])}"
    )
    return lines


def _circuit_lines(circuit: dict[str, Any]) -> list[str]:
    lines = []
    for name, one in [("", circuit["whole"]), *circuit["paths"].items()]:
        if one is not None:
            since = times.show(one["opened_at"])
            lines.append(f"circuit      open{' for ' + name if name else ''} since {since}: {one['reason']}")
    return lines or ["circuit      closed"]


def _holds(value: bool) -> str:  # noqa: FBT001 -- a word for a truth
    return "holds" if value else "DOES NOT HOLD"


def _age(seconds: int) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def profile_lines(found: Any, indent: int = 0) -> list[str]:
    """Return a JSON document as an indented outline."""
    blank = "  " * indent
    if isinstance(found, dict):
        lines = []
        for name, value in found.items():
            if isinstance(value, dict | list) and value:
                lines += [f"{blank}{name}:", *profile_lines(value, indent + 1)]
            else:
                lines.append(f"{blank}{name}: {_plain(value)}")
        return lines
    if isinstance(found, list):
        return [line for value in found for line in [f"{blank}-", *profile_lines(value, indent + 1)]]
    return [f"{blank}{_plain(found)}"]


def _plain(value: Any) -> str:
    """Return a value without what a terminal would act upon."""
    text = {None: "", True: "yes", False: "no"}.get(value, str(value)) if not isinstance(value, dict | list) else "none"
    return "".join(character if character.isprintable() else "?" for character in text)
