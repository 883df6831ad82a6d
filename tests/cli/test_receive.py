"""`relay receive` and `relay send-test`: what the one says of what the other sends, as two processes."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import forked
import pytest
from harness import SYMMETRIC_KEY, TOKEN, Relay
from receiver import Receiver, Reply, receiver

from relay.cli import main
from relay.demo.moodle import College
from relay.events.catalogue import KINDS
from relay.receivers import samples
from relay.rules import request, signing

if TYPE_CHECKING:
    from collections.abc import Iterator

OTHER_KEY = "whsec_b25lIHRoYXQgbm9ib2R5IGhhcywgbWFkZSB1cCBoZXJl"
PRIVATE, PUBLIC = signing.asymmetric_texts(bytes(range(32)))
KEY = signing.parse_key(SYMMETRIC_KEY)
KIND = KINDS["grade_updated"]


class Receiving:
    """A running `relay receive --json`."""

    def __init__(self, *options: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> None:
        self.process = forked.Started(["receive", "--port", "0", "--json", *options], env=env, cwd=cwd)
        assert self.process.stderr is not None
        self.said = ""
        while "Receiving at" not in self.said:
            line = self.process.stderr.readline()
            assert line, self.said
            self.said += line
        self.url = re.findall(r"http://\S+[0-9]", self.said)[0]

    def post(self, headers: dict[str, Any], body: bytes, path: str = f"{request.EVENTS}{KIND.name}") -> dict[str, Any]:
        """Send a request; return what the receiver says of it."""
        asked = urllib.request.Request(f"{self.url}{path}", data=body, headers=headers, method="POST")
        self.ask(asked)
        return self.next()

    @staticmethod
    def ask(asked: urllib.request.Request) -> int:
        """Return the code that is answered."""
        try:
            with urllib.request.urlopen(asked) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def next(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


@contextlib.contextmanager
def receiving(*options: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> Iterator[Receiving]:
    made = Receiving(*options, env=env, cwd=cwd)
    try:
        yield made
    finally:
        made.process.close()


@pytest.fixture
def key(tmp_path: Path) -> str:
    path = tmp_path / "key"
    path.write_text(SYMMETRIC_KEY)
    return str(path)


def event(event_id: str = "5f0a6f0e-3a55-4c1e-9f53-2d1f6b0c9a11") -> bytes:
    at = int(time.time())
    found = samples.document(KIND, event_id, at, moodle_url="https://moodle.example.edu", tenant_id="default")
    found["data"]["score"] = 70.0
    found["data"]["assignmentname"] = "R\u00e9sum\u00e9 / \u0639"
    return samples.encode(found)


def signed(body: bytes, *keys: str, late_s: int = 0) -> dict[str, Any]:
    event_id = json.loads(body)["event_id"]
    made = request.attempt([signing.parse_key(one) for one in keys], event_id, int(time.time()) - late_s, body)
    return {**made, "X-Tenant-ID": "default", "X-Moodle-Token": TOKEN, "Content-Length": str(len(body))}


def test_it_says_which_it_was(key: str) -> None:
    body = event()
    with receiving("--secret-file", key) as run:
        assert run.post(signed(body, OTHER_KEY), body)["verdict"] == "wrong secret"
        late = run.post(signed(body, SYMMETRIC_KEY, late_s=1000), body)
        assert late["verdict"] == "clock off"
        assert re.search(r"its time is 100\d s behind", late["why"])
        ahead = run.post(signed(body, SYMMETRIC_KEY, late_s=-1000), body)
        assert "ahead of this machine's clock" in ahead["why"]
        unknown = run.post(signed(body, PRIVATE), body)
        assert (unknown["verdict"], unknown["answer"]) == ("unknown key", 401)
        assert run.post(signed(body), body)["verdict"] == "unsigned"
        good = run.post(signed(body, SYMMETRIC_KEY), body)
        assert (good["verdict"], good["answer"], good["event"]) == ("good", 200, json.loads(body))
        again = run.post(signed(body, SYMMETRIC_KEY), body)
        assert (again["verdict"], again["answer"]) == ("duplicate", 200)
        other = run.post({**signed(body, SYMMETRIC_KEY), "X-Tenant-ID": "another"}, body)
        assert (other["verdict"], other["answer"]) == ("wrong tenant", 422)
        where = run.post(signed(body, SYMMETRIC_KEY), body, f"{request.EVENTS}no_such_type")
        assert (where["verdict"], where["answer"]) == ("no such type", 404)
        assert run.end() == 0


@pytest.mark.parametrize(
    "encode",
    [
        lambda found: json.dumps(found, ensure_ascii=False, separators=(",", ":")),
        json.dumps,
        lambda found: json.dumps(found, ensure_ascii=False, separators=(",", ":")).replace("/", "\\/"),
        lambda found: json.dumps(found, ensure_ascii=False).replace("70.0", "70"),
        lambda found: json.dumps(found, sort_keys=True),
        lambda found: json.dumps(found, indent=4, ensure_ascii=False) + "\n",
        lambda found: "\ufeff" + json.dumps(found, ensure_ascii=False),
    ],
    ids=["compact", "ASCII", "PHP", "JavaScript's numbers", "sorted", "indented", "byte order mark"],
)
def test_a_body_that_was_encoded_anew_is_told_from_a_wrong_secret(encode: Any, key: str) -> None:
    body = event()
    headers = signed(body, SYMMETRIC_KEY)
    changed = encode(json.loads(body)).encode()
    with receiving("--secret-file", key) as run:
        found = run.post({**headers, "Content-Length": str(len(changed))}, changed)
    assert found["verdict"] == "body changed"
    assert "encoded anew" in found["why"]


def test_a_changed_event_that_was_good_before_is_changed(key: str) -> None:
    body = event()
    with receiving("--secret-file", key) as run:
        headers = signed(body, SYMMETRIC_KEY)
        run.post(headers, body)
        assert run.post(headers, body.replace(b"70.0", b"99.0"))["verdict"] == "body changed"


def test_ed25519_is_verified_by_either_half(tmp_path: Path) -> None:
    body = event()
    for index, text in enumerate((PRIVATE, PUBLIC)):
        (tmp_path / "pair").write_text(text)
        with receiving("--secret-file", str(tmp_path / "pair")) as run:
            assert run.post(signed(body, OTHER_KEY, PRIVATE), body)["verdict"] == "good", index


def test_answers_as_it_is_told_so_often_and_takes_nothing_meanwhile(key: str) -> None:
    body = event()
    with receiving("--secret-file", key, "--answer", "503", "--times", "2") as run:
        assert [run.post(signed(body, SYMMETRIC_KEY), body)["answer"] for _ in range(4)] == [503, 503, 200, 200]


def test_what_is_good_goes_on_to_another_receiver(key: str) -> None:
    body = event()
    with receiver() as other, receiving("--secret-file", key, "--forward", other.url) as run:
        other.answer = lambda _: Reply(code=500)
        assert run.post(signed(body, SYMMETRIC_KEY), body)["answer"] == 500
        other.answer = lambda _: Reply(code=202)
        headers = signed(body, SYMMETRIC_KEY)
        assert [run.post(headers, body)["answer"] for _ in range(2)] == [202, 200]
        run.post(signed(body, OTHER_KEY), body)
        assert [one.path for one in other.posts] == [f"{request.EVENTS}{KIND.name}"] * 2
        assert other.posts[1].body == body
        assert other.posts[1].headers["webhook-signature"] == headers["webhook-signature"]


def test_where_handing_on_fails_it_says_so(key: str) -> None:
    body = event()
    with receiver() as other, receiving("--secret-file", key, "--forward", other.url) as run:
        other.answer = lambda _: Reply(code=500, body=b"out of order")
        found = run.post(signed(body, SYMMETRIC_KEY), body)
        assert (found["verdict"], found["answer"]) == ("good", 500)
        assert found["why"] == "It was handed on, and answered 500: out of order"
        other.answer = lambda _: Reply(hangs_up=True)
        found = run.post(signed(body, SYMMETRIC_KEY), body)
        assert (found["verdict"], found["answer"]) == ("good", 502)
        assert found["why"].startswith("It could not be handed on: the connection was closed")


def raw(url: str, sent: bytes) -> bytes:
    """Send bytes, and no more than these; return what comes back."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(4096), b""))


@pytest.mark.parametrize(
    ("head", "code", "why"),
    [
        (b"POST /v1/events/moodle/user_created HTTP/1.1\r\n\r\n", 411, "There is no Content-Length"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411, "chunked bodies are not taken"),
        (b"POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n", 400, "Content-Length is no number."),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400, "Content-Length is no number."),
        (b"POST / HTTP/1.1\r\nContent-Length: 67108865\r\n\r\n", 413, "The body is larger than 67108864 bytes."),
        (b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf", None, "It broke off after 4 bytes of 9"),
        (b"PUT /v1/events/moodle/user_created HTTP/1.1\r\n\r\n", 501, "Events come by POST."),
        (b"\x16\x03\x01\x02\x00\x01\n", 400, "It speaks TLS, and this receiver does not"),
        (b"rubbish\r\n\r\n", 400, "Bad request syntax ('rubbish')."),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", 414, ""),
    ],
)
def test_what_is_turned_away_unread_is_told_too(head: bytes, code: int | None, why: str, key: str) -> None:
    with receiving("--secret-file", key) as run:
        answer = raw(run.url, head)
        found = run.next()
    assert (found["verdict"], found["answer"], found["event"]) == ("not read", code, None)
    assert why in found["why"]
    assert answer.endswith(b"" if code is None else b'{"status": "not read"}')
    assert bool(answer) == (code is not None)


def test_a_tenant_that_is_missing_is_not_called_a_wrong_one(key: str) -> None:
    body = event()
    without = samples.encode({name: value for name, value in json.loads(body).items() if name != "tenant_id"})
    with receiving("--secret-file", key) as run:
        found = run.post(signed(without, SYMMETRIC_KEY), without)
        assert (found["verdict"], "tenant_id is missing" in found["why"]) == ("invalid", True)
        headers = {name: value for name, value in signed(body, SYMMETRIC_KEY).items() if name != "X-Tenant-ID"}
        assert run.post(headers, body)["why"].startswith("X-Tenant-ID is missing")
        found = run.post({**headers, "X-Tenant-ID": "another"}, body)
        assert (found["verdict"], found["why"][:14]) == ("wrong tenant", "X-Tenant-ID is")
        other = body.replace(b'"default"', b'"another"')
        found = run.post({**signed(other, SYMMETRIC_KEY), "X-Tenant-ID": "another"}, other)
        assert (found["verdict"], "Its tenant_id is not ours, default" in found["why"]) == ("wrong tenant", True)


def test_health_and_profile_are_there_for_check(key: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    with receiving("--secret-file", key, "--token-file", str(tmp_path / "token")) as run:
        for path, token, code in (
            ("/v1/health", TOKEN, 200),
            ("/v1/health", "another", 401),
            ("/v1/students/profile?moodle_user_id=42", TOKEN, 200),
            ("/v1/students/profile?moodle_user_id=42", "another", 401),
            ("/v1/students/profile", TOKEN, 400),
            ("/", TOKEN, 404),
        ):
            asked = urllib.request.Request(f"{run.url}{path}", headers={"X-Moodle-Token": token})
            assert run.ask(asked) == code, path


def test_a_secret_may_come_from_the_environment_or_the_config_and_is_never_shown(tmp_path: Path) -> None:
    body = event()
    with receiving("--secret-env", "A_KEY", env={"A_KEY": SYMMETRIC_KEY}) as run:
        assert run.post(signed(body, SYMMETRIC_KEY), body)["verdict"] == "good"
    with receiving("--secret", SYMMETRIC_KEY) as run:
        assert "process list" in run.said
        assert SYMMETRIC_KEY not in run.said
    (tmp_path / "config.yaml").write_text(json.dumps({"backend": {"token": TOKEN, "signing_keys": [SYMMETRIC_KEY]}}))
    with receiving(cwd=tmp_path) as run:
        assert run.post(signed(body, SYMMETRIC_KEY), body)["verdict"] == "good"
        assert run.post({**signed(body, SYMMETRIC_KEY), "X-Moodle-Token": "x"}, body)["verdict"] == "wrong token"


def test_it_is_a_right_receiver(key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "token").write_text(TOKEN)
    options = ["--secret-file", key, "--token-file", str(tmp_path / "token")]
    with receiving(*options) as run:
        # What it prints has to be read: it waits for that between requests.
        assert run.process.stdout is not None
        reading = threading.Thread(target=run.process.stdout.read)
        reading.start()
        code = main(["test-backend", run.url, *options])
        run.end()
        reading.join()
    shown = capsys.readouterr().out
    assert code == 0, shown
    assert "warn" not in shown


@pytest.mark.parametrize(("name", "begins"), [("php", "<?php"), ("node", "'use strict'"), ("python", '"""')])
def test_a_verifier_is_printed_whole(name: str, begins: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["receive", "--print", name]) == 0
    found = capsys.readouterr().out
    assert found.startswith(begins)
    assert "HMAC-SHA256" in found


# -- send-test


@pytest.fixture
def sent(key: str, capsys: pytest.CaptureFixture[str], backend: Receiver) -> Any:
    """Send with these options, and return the exit code and what was printed."""

    def send(*options: str) -> tuple[int, str, str]:
        code = main(["send-test", "--to", backend.url, "--secret-file", key, *options])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return send


def test_nothing_to_a_verified_event_in_three_commands(tmp_path: Path) -> None:
    relay = [sys.executable, "-m", "relay"]
    subprocess.run([*relay, "keygen", "--out", "signing-key"], cwd=tmp_path, check=True)
    with receiving("--secret-file", "signing-key", cwd=tmp_path) as run:
        subprocess.run(
            [*relay, "send-test", "--to", run.url, "--secret-file", "signing-key"],
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )
        found = run.next()
        assert (found["verdict"], found["is_test"]) == ("good", True)


@pytest.mark.parametrize("name", KINDS)
def test_every_type_can_be_sent_and_is_good(name: str, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    with receiving("--secret-file", key) as run:
        assert main(["send-test", name, "--to", run.url, "--secret-file", key]) == 0
        assert run.next()["verdict"] == "good"
    shown = capsys.readouterr().out
    assert f"POST {run.url}/v1/events/moodle/{name}" in shown
    assert "X-Relay-Test: 1" in shown
    assert "<- 200" in shown


@pytest.mark.parametrize(
    ("bad", "verdicts"),
    [
        ("signature", ["wrong secret"]),
        ("stale", ["clock off"]),
        ("replayed", ["good", "duplicate"]),
        ("duplicate", ["good", "duplicate"]),
        ("out-of-order", ["good", "good"]),
        ("huge", ["good"]),
        ("unicode", ["good"]),
        ("wrong-tenant", ["wrong tenant"]),
    ],
)
def test_what_is_bad_about_it_is_what_the_receiver_says(bad: str, verdicts: list[str], key: str) -> None:
    with receiving("--secret-file", key) as run:
        assert main(["send-test", "--bad", bad, "--to", run.url, "--secret-file", key]) == 0
        found = [run.next() for _ in verdicts]
    assert [one["verdict"] for one in found] == verdicts
    if bad == "replayed":
        assert found[0]["event_id"] == found[1]["event_id"]
    if bad == "out-of-order":
        assert found[1]["event"]["timestamp"] < found[0]["event"]["timestamp"]
        assert found[1]["event"]["data"]["userid"] == found[0]["event"]["data"]["userid"]


@pytest.mark.parametrize(
    ("reply", "code", "says"),
    [
        (Reply(), 0, "relay: Taken: relay does not send it again."),
        (Reply(body=b'{"status": "duplicate"}'), 0, "noted as a duplicate."),
        (Reply(code=422, body=b"no such course"), 1, "relay gives this event up at once"),
        (Reply(code=401), 1, "relay holds back all events"),
        (Reply(code=404), 1, "relay holds back the events of this type"),
        (Reply(code=500), 1, "for about three days; this one first in 5 s."),
        (Reply(code=503, headers={"Retry-After": "120"}), 1, "this one first in 120 s."),
        (Reply(hangs_up=True, body=b""), 1, "<- the connection was closed before the answer was complete"),
    ],
)
def test_it_says_what_relay_would_do(reply: Reply, code: int, says: str, sent: Any, backend: Receiver) -> None:
    backend.answer = lambda _: reply
    found, out, _ = sent()
    assert found == code
    assert says in out
    assert reply.body.decode() in out


def test_values_are_set_by_their_path(sent: Any, backend: Receiver) -> None:
    code, _, _ = sent(
        KIND.name, "--set", "data.score=61", "--set", "data.feedback=fine", "--set", "data.btec_grade=null",
        "--set", "moodle_url=https://m.example.edu", "--set", "data.assignmentname=NaN",
    )  # fmt: skip
    assert code == 0
    envelope = backend.posts[0].envelope
    data = envelope["data"]
    assert (data["score"], data["feedback"], data["btec_grade"]) == (61, "fine", None)
    assert (envelope["moodle_url"], data["assignmentname"]) == ("https://m.example.edu", "NaN")
    code, _, err = sent(KIND.name, "--set", "data.scroe=61")
    assert code == 2
    assert "Did you mean data.score?" in err


@pytest.mark.parametrize(
    ("options", "verdicts", "says", "right"),
    [
        (["--set", "data.score=high"], ["invalid"], "data.score must be number or null", "400, 401"),
        (["--set", "event_id=made-up"], ["invalid"], "event_id is malformed", "400, 401"),
        (["--set", "data.userid=null"], ["invalid"], "data.userid must be integer", "400, 401"),
        (["--set", "tenant_id=other"], ["wrong tenant"], "tenant_id is not default (--tenant)", "400, 401"),
        (["--set", "tenant_id="], ["invalid"], "tenant_id is malformed", "400, 401"),
        (["--set", "event_type=no_such"], ["no such type"], "there is no type no_such", "404, 405 or 410"),
        (["--set", "event_type=user_created"], ["invalid"], "data.username is missing", "400, 401"),
        (
            ["--set", "tenant_id=other", "--bad", "duplicate"],
            ["wrong tenant"] * 2,
            "tenant_id is not default",
            "400, 401",
        ),
        (["--set", "tenant_id=other", "--bad", "stale"], ["clock off"], "tenant_id is not default", "401 or 403"),
        (
            ["--set", "event_type=no_such", "--bad", "signature"],
            ["no such type"],
            "no type no_such",
            "401 or 403, or 404",
        ),
    ],
)
def test_what_set_makes_wrong_is_to_be_refused(
    options: list[str], verdicts: list[str], says: str, right: str, key: str, sent: Any, backend: Receiver
) -> None:
    with receiving("--secret-file", key) as run:
        code, out, _ = sent(KIND.name, "--to", run.url, *options)
        assert [run.next()["verdict"] for _ in verdicts] == verdicts
    assert code == 0
    assert out.count(f"Right: this one is wrong on purpose, and a right receiver answers {right}") == len(verdicts)
    assert out.count("wrong on purpose: ") == len(verdicts)
    assert says in out
    # One that takes whatever comes.
    code, out, _ = sent(KIND.name, *options)
    assert code == 1
    assert len(backend.posts) == len(verdicts)
    assert f"NOT RIGHT: this one is wrong on purpose, and a right receiver answers {right}" in out


def test_the_tenant_of_the_request_is_that_of_the_event(sent: Any, backend: Receiver) -> None:
    code, out, _ = sent(KIND.name, "--tenant", "other")
    assert (code, backend.posts[0].headers["x-tenant-id"], backend.posts[0].envelope["tenant_id"]) == (
        0,
        "other",
        "other",
    )
    assert "Right: a right receiver answers 2xx." in out


@pytest.mark.parametrize(
    ("bad", "answer", "code", "says"),
    [
        ("signature", 401, 0, "Right: this one is wrong on purpose, and a right receiver answers 401 or 403."),
        ("signature", 200, 1, "NOT RIGHT: this one is wrong on purpose, and a right receiver answers 401 or 403."),
        ("signature", 422, 1, "NOT RIGHT: this one is wrong on purpose"),
        ("stale", 401, 0, "relay, were it a real event: Token or signature not known"),
        ("stale", 200, 1, "relay, were it a real event: Taken"),
        ("wrong-tenant", 422, 0, "Right: this one is wrong on purpose"),
        ("wrong-tenant", 200, 1, "NOT RIGHT: this one is wrong on purpose"),
        ("unicode", 200, 0, "Right: a right receiver answers 2xx."),
        ("unicode", 500, 1, "NOT RIGHT: a right receiver answers 2xx."),
        ("unicode", 401, 1, "NOT RIGHT: a right receiver answers 2xx, if token (--token-file) and signing key ("),
        ("replayed", 401, 1, "NOT RIGHT: a right receiver answers 2xx, if token"),
    ],
)
def test_the_exit_code_and_a_line_say_whether_the_receiver_did_right(
    bad: str, answer: int, code: int, says: str, sent: Any, backend: Receiver
) -> None:
    backend.answer = lambda _: Reply(code=answer)
    found, out, _ = sent("--bad", bad)
    assert found == code
    assert says in out


@pytest.mark.parametrize("path", ["/v1/events/moodle/user_created", "/v1/events/moodle", "/v1/health", "/v1/health/"])
@pytest.mark.parametrize("base", ["", "/base"])
def test_a_url_with_the_path_is_refused_and_the_right_one_named(
    base: str, path: str, key: str, backend: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"{backend.url}{base}"
    for command in (["send-test", "--to"], ["test-backend"], ["receive", "--port", "0", "--forward"]):
        assert main([*command, f"{url}{path}", "--secret-file", key]) == 2
        assert f"relay puts the path behind it; write {url}.\n" in capsys.readouterr().err
    assert backend.posts == []


def test_no_secret_is_shown(sent: Any, backend: Receiver, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    backend.answer = lambda asked: Reply(body=f"your token is {asked.headers['x-moodle-token']}".encode())
    _, out, err = sent("--token-file", str(tmp_path / "token"))
    assert backend.posts[0].headers["x-moodle-token"] == TOKEN
    assert TOKEN not in out + err
    assert SYMMETRIC_KEY not in out + err
    assert "X-Moodle-Token: ********" in out


def test_the_configs_token_goes_to_its_backend_or_this_machine_alone(
    tmp_path: Path, backend: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"

    def send(url: str, *options: str) -> int:
        config.write_text(json.dumps({"backend": {"url": url, "token": TOKEN, "signing_keys": [SYMMETRIC_KEY]}}))
        return main(["--config", str(config), "send-test", *options])

    assert send(backend.url) == 0
    assert send("https://backend.example.edu", "--to", backend.url) == 0
    assert [one.headers["x-moodle-token"] for one in backend.posts] == [TOKEN] * 2
    capsys.readouterr()
    assert send(backend.url, "--to", "https://elsewhere.invalid") == 1
    printed = capsys.readouterr()
    assert "The config's token is for its backend" in printed.err
    assert "the backend's name cannot be resolved" in printed.out
    assert send(backend.url, "--to", "http://elsewhere.invalid") == 2
    assert "must be https" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["receive"], ["send-test", "--to", "http://127.0.0.1:9"]])
def test_a_missing_key_names_the_command_that_makes_one(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RELAY_CONFIG", raising=False)
    assert main(command) == 2
    assert "relay keygen" in capsys.readouterr().err
    assert main([*command, "--secret-file", "nowhere"]) == 2
    assert "relay keygen" in capsys.readouterr().err


def test_check_passes_against_it(relay: Relay, college: College, key: str, tmp_path: Path) -> None:
    assert college.connection.open
    (tmp_path / "token").write_text(TOKEN)
    with receiving("--secret-file", key, "--token-file", str(tmp_path / "token")) as run:
        relay.set("backend.url", run.url)
        found = {one["name"]: one["verdict"] for one in json.loads(relay.run("check", "--json").stdout)}
        assert (found["backend"], found["token"], found["clock"]) == ("ok", "ok", "ok")
        college.sign_up("Ada", "Lovelace", 1_770_000_000)
        relay.once()
        assert run.next()["verdict"] == "good"
