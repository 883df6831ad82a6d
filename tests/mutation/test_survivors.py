"""What the comparison of the changes that no test sees with the list of them says, given what mutmut answers."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
import survivors

if TYPE_CHECKING:
    from pathlib import Path

NAME = "relay.delivery.dispatch.xǁDispatchǁsettle__mutmut_7"
DIFF = "--- a.py\n+++ b.py\n@@ -1 +1 @@\n def settle(self):\n-    wait(1)\n+    wait(2)\n"
LISTED = """
[[survivor]]
where = "relay.delivery.dispatch.Dispatch.settle"
was = '''wait(1)'''
becomes = '''wait(2)'''
reason = "The same."
"""


@pytest.mark.parametrize(
    ("results", "listed", "expected"),
    [
        ("", LISTED, 2),
        (f"    {NAME}: not checked\n", LISTED, 2),
        (f"    {NAME}: killed\n    {NAME}1: not checked\n", LISTED, 2),
        (f"    {NAME}: survived\n", LISTED.replace("wait(2)", "wait(3)"), 1),
        (f"    {NAME}: no tests\n", LISTED.replace("wait(2)", "wait(3)"), 1),
        (f"    {NAME}: survived\n", LISTED, 0),
        (f"    {NAME}: killed\n", LISTED, 0),
        (f"    {NAME}: timeout\n", LISTED, 0),
    ],
)
def test_the_exit_code_says_whether_every_change_was_seen_or_is_listed(
    results: str, listed: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutmut = tmp_path / "mutmut.py"
    mutmut.write_text(
        f"import sys\nprint({{'results': {results!r}, 'show': {DIFF!r}}}[sys.argv[1]], end='')\n", encoding="utf-8"
    )
    monkeypatch.setattr(survivors, "MUTMUT", (sys.executable, str(mutmut)))
    listing = tmp_path / "survivors.toml"
    listing.write_text(listed)
    monkeypatch.setattr(survivors, "LISTED", listing)
    assert survivors.main() == expected
