"""The verifiers that relay hands out: all say the same of every vector, on real php, node and python3."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

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


#: A right delivery, and its headers as platforms give them.
VECTOR = make_vectors.vectors()[0]
SENT: dict[str, str] = VECTOR["headers"]
UPPER = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in SENT.items()}
TITLED = {name.title(): value for name, value in SENT.items()}


class Folding:
    """Headers of a framework: no dict, and with `items` alone."""

    def items(self) -> list[tuple[str, str]]:
        return list(TITLED.items())


def titled() -> http.client.HTTPMessage:
    message = http.client.HTTPMessage()
    for name, value in TITLED.items():
        message[name] = value
    return message


@pytest.mark.parametrize(
    "headers",
    [
        titled(),
        Folding(),
        {**UPPER, "wsgi.input": object(), "CONTENT_TYPE": "application/json"},
        [(name.encode(), value.encode()) for name, value in SENT.items()],
    ],
    ids=["http.client", "a framework's", "WSGI", "ASGI"],
)
def test_python_takes_headers_as_platforms_give_them_and_a_key_as_a_file_holds_it(headers: Any) -> None:
    body = VECTOR["body"].encode()
    for keys in ([f"{VECTOR['keys'][0]}\n"], VECTOR["keys"][0]):
        for bytes_of in (bytes, bytearray, memoryview):
            assert verifier.verify(keys, headers, bytes_of(body), now=VECTOR["now"]) == make_vectors.ID


@pytest.mark.parametrize("body", [json.loads(VECTOR["body"]), VECTOR["body"], None, [1]])
def test_python_says_that_it_needs_the_bytes(body: Any) -> None:
    with pytest.raises(TypeError, match=f"bytes as they came, and is {type(body).__name__}.*parsed already"):
        verifier.verify(VECTOR["keys"], SENT, body, now=VECTOR["now"])


NODE = r"""
const { verify, Refused } = require(process.argv[2]);
const { keys, headers, body, now } = JSON.parse(process.argv[3]);
const bytes = Buffer.from(body);
const lists = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [value]]));
const tried = [
    [headers, bytes], [new Headers(headers), bytes], [new Map(Object.entries(headers)), bytes], [lists, bytes],
    [headers, new Uint8Array(bytes)], [headers, new Uint8Array(bytes).buffer], [headers, body],
    [headers, JSON.parse(body)], [headers, undefined], [headers, null],
];
const said = tried.map(([given, sent]) => {
    try {
        return verify([keys[0] + '\n'], given, sent, { now });
    } catch (error) {
        return error instanceof Refused ? error.reason : error.message;
    }
});
console.log(JSON.stringify([...said, verify(keys[0], headers, bytes, { now })]));
"""
PHP = r"""<?php
require $argv[1];
['keys' => $keys, 'headers' => $headers, 'body' => $body, 'now' => $now] = json_decode($argv[2], true);
$upper = $titled = $lists = [];
foreach ($headers as $name => $value) {
    $upper['HTTP_' . strtoupper(str_replace('-', '_', $name))] = $value;
    $titled[ucwords($name, '-')] = $value;
    $lists[$name] = [$value];
}
$_SERVER = $upper + $_SERVER;
$tried = [
    [$headers, $body], [$_SERVER, $body], [relay_headers(), $body], [$titled, $body], [$lists, $body],
    [$headers, json_decode($body, true)], [$headers, json_decode($body)], [$headers, null],
];
$said = [];
foreach ($tried as [$given, $sent]) {
    try {
        $said[] = relay_verify([$keys[0] . "\n"], $given, $sent, $now);
    } catch (RelayRefused $refused) {
        $said[] = $refused->reason;
    } catch (InvalidArgumentException $error) {
        $said[] = $error->getMessage();
    }
}
echo json_encode($said);
"""


@pytest.mark.parametrize(
    ("name", "package", "script", "right", "wrong"),
    [
        ("node", "nodejs", NODE, 7, ["object", "undefined", "null"]),
        ("php", "php-cli", PHP, 5, ["array", "object", "NULL"]),
    ],
)
def test_php_and_node_take_what_platforms_give_and_say_that_they_need_the_bytes(
    name: str, package: str, script: str, right: int, wrong: list[str], tmp_path: Path
) -> None:
    (tmp_path / "tried.cjs").write_text(script)
    file = shutil.copy(FOLDER / RUNNERS[name][1], tmp_path)
    command = [program(name, package), str(tmp_path / "tried.cjs"), str(file), json.dumps(VECTOR)]
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stderr == b""
    said = json.loads(done.stdout)
    assert said[:right] == [make_vectors.ID] * right
    for found, kind in zip(said[right:], wrong, strict=False):
        assert f"must be the bytes as they came, and is {kind}. Is it JSON that was" in found
    assert said[right + len(wrong) :] == [make_vectors.ID] * (name == "node")


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
