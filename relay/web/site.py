"""The page as a WSGI application: who may ask, what is asked for, and an answer to whatever comes."""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from relay.errors import MoodleError, OutboxError, RelayError, UsageError
from relay.service import parts
from relay.web import keys, people, render
from relay.web.background import Background
from relay.web.exchange import FORBIDDEN, Answer, Refused, Request, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from relay.config import Config
    from relay.model import Log
    from relay.service.lease import Opened
    from relay.web.jobs import Jobs
    from relay.web.people import May, Person

#: By these names this machine is asked for from itself, over whatever port: a name of somebody else's that leads here
#: (DNS rebinding) is none of them.
LOCAL = ("localhost", "127.0.0.1", "[::1]")
#: Nothing is fetched from elsewhere, no script runs, no other site may show the page within its own.
POLICY = "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    # With `no-referrer` a browser would not say of a form where it comes from.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A request of somebody who is known, and all that a handler needs to answer it."""

    request: Request
    person: Person
    config: Config
    opened: Opened
    background: Background
    jobs: Jobs
    log: Log


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a handler shows: a template with its values, or JSON types for who asks for those."""

    template: str
    values: Mapping[str, Any]
    json: Any = None
    #: It is asked for again by itself after so many seconds: something is under way.
    again_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What was asked for is done: look there."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Something that can be asked for."""

    method: str
    path: str
    #: What whoever asks for it must be able to do.
    needs: May
    handle: Callable[[Visit], Shown | Moved]


class Site:
    """The page."""

    def __init__(self, config: Config, routes: Iterable[Route], jobs: Jobs, log: Log) -> None:
        self._config = config
        self._routes = {(route.path, route.method): route for route in routes}
        self._jobs = jobs
        self._log = log
        self._pages = render.Pages()
        self._background = Background(parts.REAL.monotonic)
        #: How many requests have come.
        self.requests = 0

    def close(self) -> None:
        """Break off what is under way."""
        self._jobs.stop()
        self._background.close()

    def __call__(self, environ: Mapping[str, Any], start: Callable[..., Any]) -> list[bytes]:
        """Answer a request (PEP 3333)."""
        self.requests += 1
        answer = self._answered(environ)
        headers = {**HEADERS, "Content-Type": answer.kind, "Content-Length": str(len(answer.body)), **answer.headers}
        start(f"{answer.code} {HTTPStatus(answer.code).phrase}", list(headers.items()))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer.body]

    def _answered(self, environ: Mapping[str, Any]) -> Answer:
        request, language = None, render.LANGUAGES[0]
        try:
            request = read(environ)
            language = render.language_of(request.headers.get("ACCEPT_LANGUAGE", ""))
            return self._answer(request, language)
        except Refused as refused:
            return self._problem(request, language, refused)
        except RelayError as error:
            return self._problem(request, language, _refused(error))
        except Exception as error:  # noqa: BLE001 -- whatever it is, who asks gets a page
            # Only the error's kind: its text could hold what stands in a row.
            self._log.error(
                "web.failed", error=type(error).__name__, hint="This is a fault in relay: please report it."
            )
            return self._problem(request, language, Refused(500, "This is a fault in relay", "please report it"))

    def _answer(self, request: Request, language: str) -> Answer:
        self._check_host(request)
        if request.path == "/style.css":
            return Answer(body=self._pages.style(), kind="text/css; charset=utf-8")
        if request.method == "POST":
            _check_origin(request)
        with parts.opened(self._config, parts.REAL) as opened:
            if request.path == "/login":
                return self._log_in(request, opened, language)
            person = people.who(request, self._config, opened)
            if person is None:
                raise FORBIDDEN
            token = keys.form_token(opened.outbox, person.key, opened.now())
            return self._to(request, person, opened, token, language)

    def _to(self, request: Request, person: Person, opened: Opened, token: str, language: str) -> Answer:
        """Answer somebody who is known."""
        method = "GET" if request.method == "HEAD" else request.method
        if (request.path, method) == ("/logout", "POST"):
            return self._log_out(request, opened, token, language)
        route = self._routes.get((request.path, method))
        if route is None:
            is_known = any(path == request.path for path, _ in self._routes)
            raise Refused(405, "That cannot be done here") if is_known else Refused(404, "There is no such page")
        person.need(route.needs)
        if method == "POST":
            _check_token(request, token)
        visit = Visit(
            request=request,
            person=person,
            config=self._config,
            opened=opened,
            background=self._background,
            jobs=self._jobs,
            log=self._log,
        )
        shown = route.handle(visit)
        if isinstance(shown, Moved):
            return Answer(body=b"", code=303, headers={"Location": shown.path})
        again = {} if shown.again_s is None else {"Refresh": str(shown.again_s)}
        if request.is_json:
            is_complete = shown.template != "wait" or again == {}
            return _json(shown.json, code=200 if is_complete else 202, headers=again)
        values = {"person": person, "token": token, "path": request.path, **shown.values}
        return Answer(body=self._pages.page(shown.template, language, values), headers=again)

    # -- who is let in

    def _check_host(self, request: Request) -> None:
        """Raise Refused where the page is asked for by a name that is not its own."""
        host = request.headers.get("HOST", "")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        known = (*LOCAL, *([self._config.web.host.lower()] if self._config.web.host else ()))
        if name.lower() not in known:
            raise Refused(421, "This page has another name", "a proxy's name is to be in the config, as web.host")

    def _log_in(self, request: Request, opened: Opened, language: str) -> Answer:
        """Let somebody in by a link that works once."""
        if request.method != "GET":
            raise Refused(405, "That cannot be done here")
        if request.uid is not None:
            raise Refused(404, "There is no such page")
        session = keys.use_link(opened.outbox, request.text("key"), opened.now())
        if session is None:
            raise Refused(403, "This link lets nobody in: it was used, or is older than 5 minutes", "`relay web login`")
        self._log.info("web.login")
        cookie = f"{people.COOKIE}={session}; Path=/; Max-Age={int(keys.SESSION_S)}; HttpOnly; SameSite=Strict"
        # A page, and no 303: a browser that comes from elsewhere would follow that without the cookie.
        body = self._pages.page("welcome", language, {"person": None, "token": "", "path": "/login"})
        return Answer(body=body, headers={"Set-Cookie": cookie, "Refresh": "0; url=/"})

    def _log_out(self, request: Request, opened: Opened, token: str, language: str) -> Answer:
        _check_token(request, token)
        keys.end_session(opened.outbox, request.cookies.get(people.COOKIE, ""), opened.now())
        cookie = f"{people.COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"
        body = self._pages.page("goodbye", language, {"person": None, "token": "", "path": "/logout"})
        return Answer(body=body, headers={"Set-Cookie": cookie})

    # -- what goes wrong

    def _problem(self, request: Request | None, language: str, refused: Refused) -> Answer:
        if request is not None and request.is_json:
            return _json({"error": refused.sentence, "hint": refused.hint or None}, code=refused.code)
        values = {"person": None, "token": "", "path": "", "refused": refused}
        return Answer(body=self._pages.page("problem", language, values), code=refused.code)


def _refused(error: RelayError) -> Refused:
    """Return what is answered where something that relay needs is away, or what was asked for is nothing."""
    away = {OutboxError: "outbox", MoodleError: "moodle"}
    condition = next((name for kind, name in away.items() if isinstance(error, kind)), "")
    code = 503 if condition else 400 if isinstance(error, UsageError) else 502
    return Refused(code, str(error).removesuffix("."), error.hint, condition=condition)


def _json(made: Any, *, code: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    body = json.dumps(made, ensure_ascii=False, indent=2).encode("utf-8", "replace")
    return Answer(body=body, code=code, kind="application/json", headers=headers or {})


def _check_origin(request: Request) -> None:
    """Raise Refused where a form comes from another site, or nothing says that it does not."""
    site, origin = request.headers.get("SEC_FETCH_SITE"), request.headers.get("ORIGIN")
    if site is not None:
        is_own = site == "same-origin"
    else:
        is_own = origin is not None and urlsplit(origin).netloc == request.headers.get("HOST")
    if not is_own:
        raise Refused(403, "This form comes from another site, or does not say where it comes from")


def _check_token(request: Request, token: str) -> None:
    if not hmac.compare_digest(request.form.get("token", "").encode(), token.encode()):
        raise Refused(403, "This form is too old, or is not yours", "go back, load the page again, and send it again")
