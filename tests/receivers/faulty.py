"""A backend as somebody may write it from the README: right, or with one of many faults, for the sheet to find."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.server
import json
import math
import re
import threading
import time
from typing import TYPE_CHECKING, Any

from relay.events.catalogue import KINDS
from relay.receivers import schema

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN, TENANT = "a-token-made-up-for-tests", "default"
TYPES = ("user_created", "user_updated", "enrollment_created", "grade_updated")
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

#: Each fault, and the check that finds it first.
FAULTS = {
    "no health": "GET /v1/health",
    "no HEAD": "HEAD /v1/health",
    "health is open": "health with a wrong token",
    "health without a token": "health without a token",
    "profile fails": "a student's profile",
    "profile is a page": "a student's profile",
    "profile is open": "a profile with a wrong token",
    "refuses all": "a good event",
    "takes nothing": "a good event",
    "is broken": "a good event",
    "hangs up": "a good event",
    "redirects": "a good event",
    "lacks a type": "an event of each type",
    "wants no nulls": "nulls where they may be",
    "stores repeats": "the same event again",
    "repeats are an error": "the same event again",
    "knows requests, not events": "the same event again",
    "drops by signature": "the same event again",
    "drops by X-Event-ID": "the same event under another X-Event-ID",
    "looks before it writes": "the same event 4 times at once",
    "remembers before it verifies": "a forged event, then the right one",
    "looks before it verifies": "a right event, then a forged one of its id",
    "no token": "an event with a wrong token",
    "the beginning of a token": "an event with a token that is almost right",
    "so many letters of a token": "an event with a token that is almost right",
    "more behind a token": "an event with a token that is almost right",
    "tokens in any case": "an event with a token that is almost right",
    "an absent token passes": "an event without a token",
    "no signature": "a signature of another key",
    "wrong signature is 400": "a signature of another key",
    "falls back to an empty key": "a signature of an empty key",
    "unsigned passes": "no signature",
    "rubbish is 500": "a signature that is none",
    "the beginning of a signature": "the beginning of a right signature",
    "signatures in any case": "a right signature with its letters in the other case",
    "any version": "a right signature under an unknown version",
    "the first signature alone": "two signatures of which one is right",
    "the last signature alone": "two signatures of which one is right",
    "unknown versions are an error": "an unknown version beside the right signature",
    "signs what it has parsed": "a tampered body",
    "id is not signed": "a tampered webhook-id",
    "time is not signed": "a tampered webhook-timestamp",
    "no tolerance checked": "a stale event",
    "the future passes": "an event of the future",
    "600 s of tolerance": "a stale event",
    "600 s of the future": "an event of the future",
    "time is 500": "a webhook-timestamp that is no number",
    "no time is near": "a webhook-timestamp that is no number",
    "what is read as a time": "a webhook-timestamp that is no number",
    "60 s of tolerance": "an event whose clock is 240 s off",
    "60 s of the future": "an event whose clock is 240 s off",
    "any tenant": "an event of another tenant, rightly signed",
    "goes by X-Tenant-ID": "another tenant in X-Tenant-ID than in the body",
    "goes by X-Tenant-ID alone": "another tenant in the body than in X-Tenant-ID",
    "any type": "an unknown type",
    "types by their beginning": "an unknown type",
    "unknown type is 400": "an unknown type",
    "no JSON is 500": "a signed body that is no JSON",
    "a list is 500": "a signed body that is no object",
    "data is 500": "an event without data",
    "data is whatever comes": "an event without data",
    "lacks are taken": "an event that lacks a field",
    "data lacks all": "an event that lacks a field of data",
    "data lacks one": "an event that lacks a field of data",
    "ids of any form": "an event_id that is no UUID",
    "another id": "another event_id than webhook-id",
    "another type": "an event of another type than its path",
    "Latin-1": "letters of all scripts",
    "small bodies": "a body of 64 KiB",
    "refuses what is older": "an earlier event after a later one",
    "cases of headers": "names of headers in other cases",
}


class Backend(http.server.ThreadingHTTPServer):
    """Takes events, with a fault or without."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, secret: bytes, fault: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        assert fault == "" or fault in FAULTS
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.secret = secret
        self.fault = fault
        self.lock = threading.Lock()
        #: Those who look whether an event is there wait here for each other.
        self.race = threading.Barrier(4)
        self.seen: set[str] = set()
        self.newest = ""

    def handle_error(self, *_: object) -> None:
        """Say nothing."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Backend
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def has(self, *faults: str) -> bool:
        return self.server.fault in faults

    def header(self, name: str) -> str:
        if self.has("cases of headers"):
            return next((value for one, value in self.headers.items() if one == name), "")
        return str(self.headers.get(name, ""))

    def knows_caller(self) -> bool:
        if self.has("an absent token passes", "health without a token") and not self.header("X-Moodle-Token"):
            return self.has("an absent token passes") or self.command != "POST"
        given = self.header("X-Moodle-Token")
        careless = {
            "the beginning of a token": given != "" and TOKEN.startswith(given),
            "so many letters of a token": given[:-1] == TOKEN[:-1],
            "more behind a token": given.startswith(TOKEN),
            "tokens in any case": given.lower() == TOKEN.lower(),
        }
        return careless.get(self.server.fault, hmac.compare_digest(given, TOKEN))

    def do_GET(self) -> None:
        is_health = self.path == "/v1/health"
        if self.has("no health") and is_health:
            self.say(404)
        elif self.has("no HEAD") and self.command == "HEAD":
            self.say(501)
        elif not self.knows_caller() and not self.has("health is open" if is_health else "profile is open"):
            self.say(401)
        elif self.has("profile fails") and not is_health:
            self.say(500)
        elif self.has("profile is a page") and not is_health:
            self.say(200, page=True)
        else:
            self.say(200 if is_health else 404)

    do_HEAD = do_GET  # noqa: N815 -- the base class looks for this name

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.has("hangs up"):
            self.close_connection = True
            return
        code, status = self.answer(body)
        self.say(code, status)

    def event_type(self) -> str:
        found = self.path.rpartition("/")[2]
        begun = [name for name in TYPES if found.startswith(name) and self.has("types by their beginning")]
        return begun[0] if begun else found

    def answer(self, body: bytes) -> tuple[int, str]:
        event_type = self.event_type()
        if not self.knows_caller() and not self.has("no token"):
            return 401, "token"
        if self.has("small bodies") and len(body) > 10_000:
            return 413, "too large"
        known = TYPES[:-1] if self.has("lacks a type") else TYPES
        if event_type not in known and not self.has("any type"):
            return 400 if self.has("unknown type is 400") else 404, "no such type"
        broken = {"refuses all": 422, "redirects": 308, "takes nothing": 404, "is broken": 500}
        if self.server.fault in broken:
            return broken[self.server.fault], "refused"
        if self.has("looks before it verifies") and self.header("webhook-id") in self.server.seen:
            return 200, "duplicate"
        if self.has("remembers before it verifies"):
            with self.server.lock:
                was_seen = self.header("webhook-id") in self.server.seen
                self.server.seen.add(self.header("webhook-id"))
        if not self.has("no signature"):
            refused = self.refused(body)
            if refused:
                return refused, "signature"
        if self.has("remembers before it verifies"):
            return 200, "duplicate" if was_seen else "accepted"
        return self.take(body, event_type)

    def refused(self, body: bytes) -> int:
        """Return the code of an answer to a signature that is not right, else 0."""
        wrong = 400 if self.has("wrong signature is 400") else 401
        signatures = self.header("webhook-signature")
        if not signatures:
            return 0 if self.has("unsigned passes") else wrong
        timestamp = self.header("webhook-timestamp")
        late = self.late_s(timestamp)
        if late is None:
            return 500 if self.has("time is 500") else wrong
        past = {"60 s of tolerance": 60, "600 s of tolerance": 600}.get(self.server.fault, 300)
        ahead = {"60 s of the future": 60, "600 s of the future": 600}.get(self.server.fault, 300)
        if (late > past and not self.has("no tolerance checked")) or (
            late < -ahead and not self.has("the future passes", "no tolerance checked")
        ):
            return wrong
        if self.has("time is not signed"):
            return 0 if any(self.fits(signatures, body, str(int(timestamp) + more)) for more in range(9)) else wrong
        return 0 if self.fits(signatures, body, timestamp) else 500 if self.is_rubbish(signatures) else wrong

    def late_s(self, timestamp: str) -> float | None:
        """Return how late a request is, in seconds; None where its time is refused."""
        if timestamp.isdigit():
            return time.time() - int(timestamp)
        if self.has("no time is near"):
            # As JavaScript's Number does with what is none.
            return math.nan
        if self.has("what is read as a time"):
            with contextlib.suppress(ValueError):
                return time.time() - float(timestamp)
        return None

    def is_rubbish(self, signatures: str) -> bool:
        return self.has("rubbish is 500") and "!!" in signatures

    def fits(self, signatures: str, body: bytes, timestamp: str) -> bool:
        given = [one.partition(",")[::2] for one in signatures.split(" ")]
        if self.has("unknown versions are an error") and any(version != "v1" for version, _ in given):
            return False
        if self.has("the first signature alone"):
            given = given[:1]
        if self.has("the last signature alone"):
            given = given[-1:]
        if self.has("signs what it has parsed"):
            # As one who looks up what was stored under this id: the body is of no account.
            return any(len(value) == 44 for version, value in given) and not self.is_forged(given, timestamp, body)
        secrets = [self.server.secret, *([b""] if self.has("falls back to an empty key") else [])]
        ids = [self.header("webhook-id")]
        if self.has("id is not signed"):
            ids.append(json.loads(body)["event_id"])
        expected = {
            base64.b64encode(hmac.digest(secret, f"{one}.{timestamp}.".encode() + body, hashlib.sha256)).decode()
            for secret in secrets
            for one in ids
        }
        if self.has("signatures in any case"):
            return any(value.lower() == right.lower() for version, value in given for right in expected)
        if self.has("the beginning of a signature"):
            return any(right.startswith(value) for version, value in given if version == "v1" for right in expected)
        return any(value in expected for version, value in given if version == "v1" or self.has("any version"))

    def is_forged(self, given: list[tuple[str, str]], timestamp: str, body: bytes) -> bool:
        event_id = self.header("webhook-id")
        for candidate in (body, body.replace(b'"userid": 3', b'"userid": 2')):
            message = f"{event_id}.{timestamp}.".encode() + candidate
            right = base64.b64encode(hmac.digest(self.server.secret, message, hashlib.sha256)).decode()
            if ("v1", right) in given:
                return False
        return True

    def parsed(self, body: bytes, event_type: str) -> tuple[int, str] | dict[str, Any]:
        """Return a body that has all the fields of an event; the answer to another one."""
        try:
            envelope: Any = json.loads(body)
        except ValueError:
            return 500 if self.has("no JSON is 500") else 422, "no JSON"
        if not isinstance(envelope, dict):
            return 500 if self.has("a list is 500") else 422, "no object"
        if not isinstance(envelope.get("data"), dict):
            if self.has("data is whatever comes"):
                return self.store(self.header("webhook-id"))
            return 500 if self.has("data is 500") else 422, "no data"
        if self.lacks(envelope, event_type):
            return 422, "a field is missing"
        lacking = {"event_id", "event_type", "tenant_id", "timestamp"} - envelope.keys()
        return self.store(self.header("webhook-id")) if lacking else envelope

    def take(self, body: bytes, event_type: str) -> tuple[int, str]:
        envelope = self.parsed(body, event_type)
        if isinstance(envelope, tuple):
            return envelope
        wrong = self.misfit(envelope, event_type)
        if wrong:
            return 422, wrong
        tenants = {TENANT} if self.has("goes by X-Tenant-ID alone") else {envelope["tenant_id"], TENANT}
        if not self.has("goes by X-Tenant-ID"):
            tenants.add(self.header("X-Tenant-ID"))
        if len(tenants) > 1 and not self.has("any tenant"):
            return 403, "tenant"
        if self.has("Latin-1") and any(ord(letter) > 255 for letter in str(envelope)):
            return 500, "letters"
        self.server.newest = max(self.server.newest, envelope["timestamp"])
        return self.store(envelope["event_id"])

    def lacks(self, envelope: dict[str, Any], event_type: str) -> bool:
        """Say whether an event is refused as it lacks a field."""
        if event_type not in TYPES:
            return False
        rules = schema.envelope(KINDS[event_type])
        data = rules["properties"]["data"]["required"]
        lacking = {name for name in data if name not in envelope["data"]}
        if lacking and not (
            (self.has("data lacks all") and len(lacking) == len(data))
            or (self.has("data lacks one") and len(lacking) == 1)
        ):
            return True
        return not envelope.keys() >= set(rules["required"]) and not self.has("lacks are taken")

    def misfit(self, envelope: dict[str, Any], event_type: str) -> str:
        """Return what is wrong with an event; '' where it is right."""
        ids = {envelope["event_id"], self.header("webhook-id")}
        found = {
            "another id": len(ids) > 1 and not self.has("id is not signed", "another id"),
            "no UUID": not UUID4.fullmatch(envelope["event_id"]) and not self.has("ids of any form"),
            "another type": envelope["event_type"] != event_type
            and event_type in TYPES
            and not self.has("another type"),
            "null": self.has("wants no nulls") and None in envelope["data"].values(),
            "old": self.has("refuses what is older") and envelope["timestamp"] < self.server.newest,
        }
        return next((name for name, is_so in found.items() if is_so), "")

    def store(self, event_id: str) -> tuple[int, str]:
        if self.has("drops by signature"):
            event_id = self.header("webhook-signature")
        if self.has("drops by X-Event-ID"):
            event_id = self.header("X-Event-ID")
        if self.has("knows requests, not events"):
            event_id = self.header("webhook-signature") + self.header("webhook-timestamp") + str(time.monotonic())
        if self.has("looks before it writes"):
            is_there = event_id in self.server.seen
            with contextlib.suppress(threading.BrokenBarrierError):
                self.server.race.wait(0.2)
            self.server.race.reset()
            self.server.seen.add(event_id)
        else:
            with self.server.lock:
                is_there = event_id in self.server.seen
                self.server.seen.add(event_id)
        if is_there and self.has("repeats are an error"):
            return 409, "conflict"
        return 200, "duplicate" if is_there and not self.has("stores repeats") else "accepted"

    def say(self, code: int, status: str = "well", *, page: bool = False) -> None:
        body = b"<html>" if page else json.dumps({"status": status}).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def threaded(server: http.server.HTTPServer) -> Iterator[None]:
    """Let a server serve within."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def serving(secret: bytes, fault: str = "") -> Iterator[Backend]:
    """Let such a backend serve within."""
    with Backend(secret, fault) as server, threaded(server):
        yield server
