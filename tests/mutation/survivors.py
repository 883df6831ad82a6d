"""Compares the changes of relay's code that no test has seen with survivors.toml: a change that is not listed fails.

mutmut has made each change, one at a time, and run the tests that reach its function. tests/mutation.sh runs both.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

MUTMUT = (str(Path(sys.executable).with_name("mutmut")),)
LISTED = Path(__file__).with_name("survivors.toml")
#: What no test has seen; what runs for too long was seen.
UNSEEN = ("survived", "no tests", "suspicious")

#: A changed line of a function: where, what it was, and what it became.
Change = tuple[str, str, str]


def ask(*words: str) -> str:
    return subprocess.run([*MUTMUT, *words], check=True, capture_output=True, text=True).stdout


def results() -> dict[str, str]:
    """Return what became of each change, by mutmut's name of it."""
    found = ask("results", "--all", "true").splitlines()
    return {name: status for name, _, status in (line.strip().rpartition(": ") for line in found)}


def change(name: str) -> Change:
    """Return a change as it is listed: mutmut's own numbers move with each edit."""
    where = name.partition("__mutmut_")[0].replace("ǁ", ".").replace(".x_", ".").replace(".x.", ".")
    lines = [line for line in ask("show", name).splitlines() if not line.startswith(("---", "+++"))]
    was, becomes = (" ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+")
    return where, was, becomes


def listed() -> dict[Change, str]:
    """Return the reason of each change that is listed."""
    found = tomllib.loads(LISTED.read_text(encoding="utf-8"))["survivor"]
    return {(one["where"], one["was"], one["becomes"]): one["reason"] for one in found}


def main() -> int:
    every = results()
    if not every or "not checked" in every.values():
        print("mutmut has not come to its end.", file=sys.stderr)
        return 2
    reasons = listed()
    unseen = {change(name): name for name, status in every.items() if status in UNSEEN}
    for one in reasons.keys() - unseen.keys():
        print(f"Listed, and seen by a test now (take it off the list): {' | '.join(one)}")
    new = sorted(unseen.keys() - reasons.keys())
    for where, was, becomes in new:
        print(f'\nNo test sees this change, and it is not listed:\n\n[[survivor]]\nwhere = "{where}"')
        print(f"was = '''{was}'''\nbecomes = '''{becomes}'''\nreason = \"\"")
    counts = ", ".join(f"{count} {status}" for status, count in sorted(Counter(every.values()).items()))
    print(f"\n{len(every)} changes: {counts}. {len(new)} of them are not listed in {LISTED.name}.")
    return 1 if new else 0


if __name__ == "__main__":
    sys.exit(main())
