"""The package: the same is installed from a checkout, an sdist and a wheel, and it is all of the checkout's code."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import relay

ROOT = Path(relay.__file__).parents[1]
BUILD = "import sys; from flit_core import buildapi; print(getattr(buildapi, sys.argv[1])(sys.argv[2]))"


def build(kind: str, source: Path, into: Path) -> Path:
    """Build a wheel or an sdist as pip does, without asking the network for the builder."""
    done = subprocess.run(
        [sys.executable, "-c", BUILD, f"build_{kind}", into],
        cwd=source,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1770000000"},
    )
    return into / done.stdout.strip()


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as file:
        return {name: file.read(name) for name in file.namelist()}


@pytest.mark.skipif(importlib.util.find_spec("flit_core") is None, reason="flit_core is in the extra `test`")
def test_a_wheel_is_the_same_from_the_checkout_and_from_the_sdist(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    shutil.copytree(ROOT / "relay", tree / "relay", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "README.ar.md", "LICENSE", "CHANGELOG.md", "config.example.yaml"):
        shutil.copy(ROOT / name, tree)
    # What an older way to build has left there.
    (tree / "build/lib/relay").mkdir(parents=True)
    (tree / "build/lib/relay/stale.py").touch()
    sdist = build("sdist", tree, tmp_path)
    with tarfile.open(sdist) as file:
        file.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    (tmp_path / "again").mkdir()
    first, again = build("wheel", tree, tmp_path), build("wheel", unpacked, tmp_path / "again")
    assert contents(first) == contents(again)
    wanted = {str(path.relative_to(tree)) for path in (tree / "relay").rglob("*") if path.is_file()}
    assert {name for name in contents(first) if name.startswith("relay/")} == wanted
    assert {"relay/py.typed", "relay/systemd/relay.service"} <= wanted
    assert not any("stale" in name for name in contents(first))
