"""What can be done: sync, reconcile, replay, pause, forget, by the code of the command line and with who asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay import times
from relay.capture.reconcile import GRACE_S, TABLES
from relay.capture.sync import Wanted
from relay.errors import RelayError
from relay.events.catalogue import SYNCED
from relay.operations.selector import FORMS, parse_selector
from relay.outbox.pausing import paused_by
from relay.outbox.values import Sync
from relay.service import admin, comparing, once, parts
from relay.service.reconciling import Asked
from relay.web.exchange import Refused
from relay.web.jobs import Job
from relay.web.people import May
from relay.web.site import Moved, Route, Shown, Visit

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.capture.sync import Progress
    from relay.config import Config
    from relay.outbox.values import Selector
    from relay.service.comparing import Compared
    from relay.web.people import Person

#: How many lines of the history are shown, and of what differs.
LINES, DIFFERING = 20, 200


def sync_page(visit: Visit) -> Shown:
    """Show the forms of sync and reconcile, and what came of the last ones."""
    history = visit.opened.outbox.history(LINES)
    values = {
        "kinds": list(SYNCED),
        "tables": list(TABLES),
        "history": history,
        "job": _job(visit, "sync", "reconcile"),
    }
    lines = [
        {"sync_type": one.sync_type, "action": one.action, "status": one.status, "processed": one.processed}
        | {"failed": one.failed, "started": times.iso(one.started_at), "triggered_by": one.triggered_by}
        for one in history
    ]
    return Shown(template="sync", values=values, json={"history": lines, "job": _as_json(visit)}, again_s=_again(visit))


def manage_page(visit: Visit) -> Shown:
    """Show the forms of replay, pause and forget."""
    values = {
        "job": _job(visit, "replay", "forget"),
        "given": visit.request.text("q"),
        "paused_by": paused_by(visit.opened.outbox),
        "is_off": not visit.config.enabled,
    }
    return Shown(template="manage", values=values, json={"job": _as_json(visit)}, again_s=_again(visit))


def _job(visit: Visit, *names: str) -> Job | None:
    job = visit.jobs.last
    return job if job is not None and job.name in names else None


def _again(visit: Visit) -> int | None:
    return 2 if visit.jobs.is_busy else None


def _as_json(visit: Visit) -> dict[str, object] | None:
    """Return the last job as JSON types, of whatever kind it is: no name, and nothing of what was sent, is in it."""
    job = visit.jobs.last
    if job is None:
        return None
    said = [sentence.format(**values) for sentence, values in job.said]
    has_ended = job.ended_at is not None
    return {"name": job.name, "done": job.done, "total": job.total, "has_ended": has_ended, "said": said} | {
        "error": job.error or None
    }


def _begin(visit: Visit, name: str, what: str, run: Callable[[Job], None]) -> None:
    """Begin what was asked for, and write down who asked. Raises Refused."""
    job = Job(name=name, what=what, who=visit.person.name, started_at=visit.opened.now(), run=run)
    visit.jobs.begin(job)
    visit.log.info("web.asked", action=name, what=what, who=visit.person.name)


# -- triggersync


def sync(visit: Visit) -> Moved:
    """Send current rows as events."""
    request, config, person = visit.request, visit.config, visit.person
    kind = request.text("kind")
    if kind not in SYNCED:
        raise Refused(400, "It is not said which rows are to be sent", f"one of {', '.join(SYNCED)}")
    wanted = Wanted(kind=kind, user=request.number("user"), course=request.number("course"), since=_since(visit))

    def run(job: Job) -> None:
        def tell(progress: Progress) -> None:
            job.done = progress.processed + progress.failed + progress.held

        done = once.sync(config, wanted, person.user, job.signals, tell)
        counts = done.progress
        job.say("{rows} rows read, {events} new events recorded, {failed} rows skipped.", rows=counts.processed,
                events=counts.recorded, failed=counts.failed)  # fmt: skip
        if counts.held:
            job.say("{count} rows not sent: Moodle keeps these grades from their students.", count=counts.held)
        _say_delivered(job, done.undelivered, has_ended=done.has_ended)

    _begin(visit, "sync", kind, run)
    return Moved(path="/sync")


def _since(visit: Visit) -> int | None:
    text = visit.request.text("since")
    try:
        return int(times.moment(text)) if text else None
    except ValueError as error:
        raise Refused(400, f"The time {error}") from None


def reconcile(visit: Visit) -> Moved:
    """Compare Moodle's tables with what was sent, and send what differs where that is asked for."""
    request, config = visit.request, visit.config
    table, is_fixing = request.text("table"), request.text("fix") == "yes"
    if table not in (*TABLES, "all"):
        raise Refused(400, "It is not said which table is to be compared", f"all, or one of {', '.join(TABLES)}")
    try:
        grace_s = times.seconds(request.text("grace")) if request.text("grace") else GRACE_S
    except ValueError as error:
        raise Refused(400, f"The time {error}") from None
    tables = TABLES if table == "all" else (table,)
    asked = Asked(tables=tables, is_fixing=is_fixing, grace_s=grace_s, triggered_by=visit.person.user)

    def run(job: Job) -> None:
        def rows(done: int) -> None:
            job.done = done

        def waits(until: float, count: int) -> None:
            job.say("{rows} rows differ; they count if they do so at {time}.", rows=count, time=times.show(until))

        done = comparing.reconcile(config, asked, job.signals, comparing.Tell(rows=rows, waits=waits))
        job.said.clear()
        for compared in done.tables:
            _say_compared(job, compared, is_fixing=is_fixing)
        _say_delivered(job, done.undelivered, has_ended=done.has_ended)

    _begin(visit, "reconcile", f"{table}{' fix' * is_fixing}", run)
    return Moved(path="/sync")


def _say_compared(job: Job, compared: Compared, *, is_fixing: bool) -> None:
    name = compared.name
    if compared.is_off:
        job.say("{table}: the config sends nothing of them, so they are not compared.", table=name)
    elif compared.has_learned:
        job.say("{table}: {rows} rows learned; what changes from now on is found.", table=name, rows=compared.rows)
    else:
        job.say("{table}: {rows} rows compared, {count} differ.", table=name, rows=compared.rows,
                count=len(compared.found))  # fmt: skip
        if is_fixing:
            job.say("{count} events recorded.", count=compared.sent)
        for row_id, found in sorted(compared.found.items())[:DIFFERING]:
            job.say("{table} {id}: {kind}", table=name, id=row_id, kind=str(found.difference))
    if compared.unread:
        job.say("{count} rows differ, and the log has not been read so far that it could tell.", count=compared.unread)


def _say_delivered(job: Job, undelivered: int | None, *, has_ended: bool) -> None:
    if not has_ended:
        job.say("It was broken off; asked for again, it sends nothing twice.")
    elif undelivered is None:
        job.say("The running relay delivers them.")
    elif undelivered:
        job.say("{count} events of the outbox are not delivered.", count=undelivered)


# -- manage


def replay(visit: Visit) -> Moved:
    """Send recorded events again."""
    given = visit.request.text("q")
    if not given:
        raise Refused(400, "It is not said which events are to be sent again", f"it takes {FORMS}")
    config, person = visit.config, visit.person
    selector = parse_selector(given, config.events.kinds, "replay")
    _begin(visit, "replay", given, lambda job: _replay(config, selector, job, person))
    return Moved(path="/manage")


def _replay(config: Config, selector: Selector, job: Job, person: Person) -> None:
    def tell(done: int, total: int) -> None:
        job.done, job.total = done, total

    def work() -> None:
        done = once.replay(config, selector, job.signals, stream=None, tell=tell)
        job.say("{sent} of {meant} recorded events sent again; {failed} not delivered.", sent=done.sent,
                meant=done.meant, failed=done.sent - done.delivered)  # fmt: skip
        if done.held:
            job.say("{count} not sent: Moodle keeps these grades from their students.", count=done.held)
        if done.forgotten:
            job.say("{count} more were forgotten: they cannot be sent again.", count=done.forgotten)
        job.done = done.sent

    _on_record(config, job, person, work)


def pause(visit: Visit) -> Moved:
    """Pause delivery, or let it go on."""
    config, person, outbox = visit.config, visit.person, visit.opened.outbox
    what = visit.request.text("do")
    if what not in ("pause", "resume"):
        raise Refused(400, "It is not said whether delivery is to be paused, or to go on")
    if what == "pause":
        admin.pause(config, person.name)
    else:
        admin.resume(config)
    line = outbox.begin_sync(what, f"by {person.name}"[:200], person.user, visit.opened.now())
    outbox.note_sync(Sync(id=line, status="completed"), visit.opened.now())
    visit.log.info("web.asked", action=what, what="delivery", who=person.name)
    return Moved(path="/manage")


def forget(visit: Visit) -> Moved:
    """Take a user's personal data out of the outbox."""
    request, config, person = visit.request, visit.config, visit.person
    user, is_sure = request.number("user"), request.text("sure") == "yes"
    if not user:
        raise Refused(400, "It is not said who is to be forgotten", "by Moodle's numeric user id, such as 42")
    if not is_sure:
        raise Refused(400, "Nobody was forgotten: it cannot be taken back, and nothing says that you are sure")
    undelivered = request.text("undelivered") == "yes"

    def run(job: Job) -> None:
        def work() -> None:
            done = admin.forget(config, user, undelivered=undelivered)
            job.done = done.count
            job.say("{count} events of user {user} have no personal data any more.", count=done.count, user=user)
            if done.kept:
                job.say("{count} events are not delivered, and keep their data.", count=done.kept)
            if done.under_way:
                job.say("{count} events are being sent at this moment, and keep their data.", count=done.under_way)

        _on_record(config, job, person, work)

    _begin(visit, "forget", f"user {user}", run)
    return Moved(path="/manage")


def _on_record(config: Config, job: Job, person: Person, work: Callable[[], None]) -> None:
    """Do what writes no line of the sync history by itself, within one that says who asked. Raises RelayError."""
    action = f"{job.what}, by {job.who}"[:200]
    with parts.opened(config, parts.REAL) as opened:
        line = opened.outbox.begin_sync(job.name, action, person.user, opened.now())
    failed = ""
    try:
        work()
    except Exception as error:
        # Of an error that relay does not know only its kind: its text could hold what stands in a row.
        failed = str(error) if isinstance(error, RelayError) else type(error).__name__
        raise
    finally:
        status = "failed" if failed else "completed"
        with parts.opened(config, parts.REAL) as opened:
            done = Sync(id=line, processed=job.done, status=status, error=failed or None)
            opened.outbox.note_sync(done, opened.now())


ROUTES = (
    Route(method="GET", path="/sync", needs=May.SYNC, handle=sync_page),
    Route(method="POST", path="/sync", needs=May.SYNC, handle=sync),
    Route(method="POST", path="/reconcile", needs=May.SYNC, handle=reconcile),
    Route(method="GET", path="/manage", needs=May.MANAGE, handle=manage_page),
    Route(method="POST", path="/replay", needs=May.MANAGE, handle=replay),
    Route(method="POST", path="/pause", needs=May.MANAGE, handle=pause),
    Route(method="POST", path="/forget", needs=May.MANAGE, handle=forget),
)
