"""Prometheus' own tool: judges figures and rules as the servers of those who run relay do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

#: Where tests/setup.sh puts it, where the machine has none.
OWN = Path(sys.prefix) / "bin" / "promtool"


def path() -> str | None:
    """Return where it is; None where a person has none. Fails in CI then."""
    found = shutil.which("promtool") or (str(OWN) if OWN.exists() else None)
    if found is None and os.environ.get("CI"):
        pytest.fail("promtool is missing: tests/setup.sh fetches it")
    return found


def run(*arguments: str, given: str = "") -> str:
    """Return what it says: a success is asserted. The test is skipped where a person has none."""
    program = path()
    if program is None:
        pytest.skip("promtool is not installed (Debian's package prometheus)")
    done = subprocess.run([program, *arguments], input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout + done.stderr
