"""The verifiers that relay hands out: all say the same of every vector, on real php, node and python3."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import make_vectors
import pytest

from relay.receivers.verifiers import verifier
from relay.rules import signing

FOLDER = make_vectors.PATH.parent
RUNNERS = {"php": ("vectors.php", "verifier.php"), "node": ("vectors.cjs", "verifier.cjs")}


def program(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        sentence = f"{name} is not here: apt install {package}"
        if os.environ.get("CI"):
            raise AssertionError(sentence)
        pytest.skip(sentence)
    return found


def said(command: list[str], runner: str, file: str, folder: Path) -> list[str]:
    """Return what a verifier says of each vector, in a folder where nothing else is."""
    shutil.copy(FOLDER / file, folder)
    runner = str(Path(__file__).with_name(runner))
    done = subprocess.run(
        [*command, runner, str(folder / file), str(make_vectors.PATH)], capture_output=True, check=True, cwd=folder
    )
    assert done.stderr == b""
    found: list[str] = json.loads(done.stdout)
    return found


def expected() -> list[str]:
    return [one["expect"] for one in json.loads(make_vectors.PATH.read_text())]


@pytest.mark.parametrize(("name", "package"), [("php", "php-cli"), ("node", "nodejs")])
def test_php_and_node_say_of_each_vector_what_they_must(name: str, package: str, tmp_path: Path) -> None:
    assert said([program(name, package)], *RUNNERS[name], tmp_path) == expected()


def test_python_says_of_each_vector_what_it_must(tmp_path: Path) -> None:
    assert said([sys.executable, "-I"], "vectors_alone.py", "verifier.py", tmp_path) == expected()


def test_the_vectors_are_what_their_script_makes_and_have_each_kind_of_bad() -> None:
    assert make_vectors.PATH.read_text() == make_vectors.text(), "run tests/receivers/make_vectors.py"
    counts = Counter(expected())
    assert set(counts) == {"ok", *verifier.SENTENCES}
    assert counts.total() >= 25


def test_what_relay_signs_is_verified() -> None:
    for make, shared in ((signing.symmetric_texts, 0), (signing.asymmetric_texts, 1)):
        texts = make(bytes(range(32)))
        signed = signing.signatures([signing.parse_key(texts[0])], "id-1", make_vectors.AT, b"{}")
        headers = {"webhook-id": "id-1", "webhook-timestamp": str(make_vectors.AT), "webhook-signature": signed}
        assert verifier.verify([texts[shared]], headers, b"{}", now=make_vectors.AT) == "id-1"
        with pytest.raises(verifier.Refused, match="its time too far"):
            verifier.verify([texts[shared]], headers, b"{}")


def test_the_verifiers_are_in_the_package() -> None:
    assert {path.name for path in FOLDER.iterdir()} >= {"verifier.php", "verifier.cjs", "verifier.py", "vectors.json"}
