"""Events, attempts and gaps as rows of the outbox's tables, and back: the same in both kinds of database."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from relay.model import Delivery, Gap, Status
from relay.outbox import values
from relay.rules.retry import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from relay.model import Event, Hold, Outcome, Skip
    from relay.outbox.values import Chunk, Settled

#: The last_error of an event keeps at most this many characters of the backend's answer.
ANSWER_CHARACTERS = 2000
#: An error's sentence at most this many.
ERROR_CHARACTERS = 1000
#: What stays of the last error of an event whose data is taken out: a backend may have repeated them in its answer.
FORGOTTEN_ERROR = "JSON_SET(JSON_REMOVE(COALESCE(last_error, '{}'), '$.answer'), '$.forgotten', 1)"
#: The columns that `delivery` takes, in its order.
CLAIMED = "id, event_id, event_type, log_id, user_id, occurred_at, attempts, retry_count, status"
#: Enums by their values: to look one up here costs a fifth of a call.
STATES = {str(one): one for one in Status}


# -- gaps


def encode_gap(gap: Gap) -> str:
    """Return a gap as the value of a state."""
    return json.dumps({"high": gap.high, "opened_at": gap.opened_at, "seen": f"{gap.seen:x}"})


def decode_gap(key: str, value: str) -> Gap:
    """Return the gap of a state."""
    saved = json.loads(value)
    low = int(key.removeprefix("gap."))
    return Gap(low=low, high=saved["high"], opened_at=saved["opened_at"], seen=int(saved["seen"], 16))


# -- what is accepted


def split(body: bytes, data: str) -> str:
    """Return the part of the body before its data: this part + data + `}` is the body again, byte for byte.

    Raises ValueError where data is not the last part of the envelope.
    """
    head = body.decode()[: -len(data) - 1]
    if f"{head}{data}}}".encode() != body:
        raise ValueError("data is not the last part of the envelope")
    return head


def event_rows(events: Sequence[Event], now: float) -> Iterator[dict[str, Any]]:
    """Yield the rows of events."""
    for event in events:
        yield {
            "event_id": event.event_id,
            "event_type": event.event_type,
            "event_data": event.data,
            "status": Status.PENDING,
            "last_error": None,
            "created_at": int(now),
            "updated_at": int(now),
            "processed_at": None,
            "log_id": event.log_id,
            "user_id": event.user_id,
            "occurred_at": event.occurred_at,
            "body": event.body,
            "due_at": now,
        }


def skip_rows(skips: Sequence[Skip], now: float) -> Iterator[dict[str, Any]]:
    """Yield the rows of what no event could be made of."""
    for skip in skips:
        yield {
            "event_id": skip.event_id,
            "event_type": skip.event_type,
            "event_data": None,
            "status": Status.SKIPPED,
            "last_error": json.dumps({"reason": skip.reason}),
            "created_at": int(now),
            "updated_at": int(now),
            "processed_at": int(now),
            "log_id": skip.log_id,
            "user_id": skip.user_id,
            "occurred_at": skip.occurred_at,
            "body": None,
            "due_at": None,
        }


def hold_rows(holds: Sequence[Hold], now: float) -> Iterator[dict[str, Any]]:
    """Yield the rows of what Moodle keeps from the student: nothing of that is in them."""
    for hold in holds:
        yield {
            "event_id": hold.event_id,
            "event_type": hold.event_type,
            "event_data": "{}",
            "status": Status.HELD,
            "last_error": json.dumps({"reason": hold.reason}),
            "created_at": int(now),
            "updated_at": int(now),
            "processed_at": None,
            "log_id": hold.log_id,
            "user_id": hold.user_id,
            "occurred_at": hold.occurred_at,
            "body": None,
            "due_at": None,
        }


def memory_rows(events: Sequence[Event], new: Sequence[str]) -> list[dict[str, Any]]:
    """Return what is remembered of the events whose ids are new, and whose rows are known: the last one of each row.

    In the order of their keys: transactions that lock the same rows take them in the same order.
    """
    there = set(new)
    newest = {(event.row_table, event.row_id): event for event in events if event.row_table and event.event_id in there}
    return [
        {
            "row_table": table,
            "row_id": row_id,
            "digest": values.digest(event.state),
            "event_id": event.event_id,
            "log_id": event.log_id,
        }
        for (table, row_id), event in sorted(newest.items(), key=lambda item: item[0])
    ]


def chunk_rows(chunks: Sequence[Chunk]) -> list[dict[str, Any]]:
    """Return the rows of chunks."""
    return [
        {
            "row_table": one.table,
            "low_id": one.low,
            "high_id": one.high,
            "recipe": one.recipe,
            "digest": one.digest,
            "prints": one.prints,
            "seen_at": one.seen_at,
            "suspects": one.suspects,
            "look_at": one.look_at,
            "log_end": one.log_end,
        }
        for one in chunks
    ]


def found_rows(found: Mapping[str, str], now: float) -> list[dict[str, Any]]:
    """Return the rows of what reconcile has found, given the kind of difference by event id."""
    return [{"event_id": event_id, "difference": kind, "found_at": int(now)} for event_id, kind in found.items()]


def chunk(row: Sequence[Any]) -> values.Chunk:
    """Return the chunk of a row, with its columns in the order of `tables.MOVED`."""
    table, low, high, recipe, digest, prints, seen_at, suspects, look_at, log_end = row
    return values.Chunk(
        table=table,
        low=low,
        high=high,
        recipe=recipe,
        digest=digest,
        prints=bytes(prints),
        seen_at=seen_at,
        suspects=suspects,
        look_at=look_at,
        log_end=log_end,
    )


# -- what is delivered


def delivery(row: Sequence[Any], attempt_id: int, body: bytes) -> Delivery:
    """Return a claimed event: a row of CLAIMED, the id of its attempt's row, and the bytes to send."""
    row_id, event_id, event_type, log_id, user_id, occurred_at, attempts, failures, status = row
    return Delivery(
        id=row_id,
        event_id=event_id,
        event_type=event_type,
        log_id=log_id,
        user_id=user_id,
        occurred_at=occurred_at,
        body=body,
        attempt=attempts,
        attempt_id=attempt_id,
        failures=failures,
        status=STATES[status],
    )


class Settlement(NamedTuple):
    """Settled deliveries, sorted by what is written of them."""

    #: The row ids of those that the backend has taken.
    delivered: list[int]
    #: The others. A delivered event whose replay has failed is among them: it stays delivered, and keeps the error.
    undelivered: list[Settled]
    #: Those of them for which the later events of their user wait.
    holding: list[Settled]


def sort(settled: Sequence[Settled]) -> Settlement:
    """Return settled deliveries by what is written of them."""
    undelivered = [one for one in settled if one.decision.verdict is not Verdict.TAKEN]
    return Settlement(
        delivered=[one.delivery.id for one in settled if one.decision.verdict is Verdict.TAKEN],
        undelivered=undelivered,
        holding=[one for one in undelivered if one.decision.due_at is not None and one.holds_user],
    )


def attempt_row(one: Settled) -> tuple[Any, ...]:
    """Return what SETTLE_ATTEMPTS takes of a delivery."""
    outcome = one.outcome
    return (
        one.delivery.attempt_id,
        int(one.started_at),
        outcome.duration_ms,
        outcome.http_code,
        outcome_name(one),
        error_text(outcome),
    )


def undelivered_row(one: Settled) -> tuple[Any, ...]:
    """Return what SETTLE_UNDELIVERED takes of a delivery."""
    decision = one.decision
    return (
        one.delivery.id,
        decision.status,
        decision.failures,
        error_json(one.outcome),
        decision.due_at,
        decision.not_before,
    )


def without_texts(one: Settled) -> Settled:
    """Return a delivery without what was said of it: neither an answer, nor the words of an error."""
    error = f"{one.outcome.error_kind or 'an error'}, in words that the outbox cannot keep"
    outcome = one.outcome._replace(answer="", error=error if one.outcome.error else "")
    return one._replace(outcome=outcome)


def outcome_name(settled: Settled) -> str:
    """Return what the attempt's row says: success, duplicate, refused or failed."""
    code = settled.outcome.http_code
    if code is not None and 200 <= code < 300:
        return "duplicate" if settled.outcome.duplicate else "success"
    return "refused" if settled.decision.verdict is Verdict.REFUSED else "failed"


def error_json(outcome: Outcome) -> str | None:
    """Return an event's last_error as JSON; None after a success."""
    if outcome.http_code is not None and 200 <= outcome.http_code < 300:
        return None
    error: dict[str, Any] = {"http_code": outcome.http_code, "error": error_text(outcome)}
    if outcome.error_kind:
        error["kind"] = outcome.error_kind
    if outcome.answer:
        error["answer"] = _text(outcome.answer, ANSWER_CHARACTERS)
    return json.dumps(error, ensure_ascii=False)


def error_text(outcome: Outcome) -> str | None:
    """Return the attempt's error as a sentence; None after a success."""
    if outcome.http_code is None:
        return _text(outcome.error, ERROR_CHARACTERS)
    return None if 200 <= outcome.http_code < 300 else f"the backend answered {outcome.http_code}"


def _text(text: str, most: int) -> str:
    """Return the beginning of a text, with a mark where there is no character (half of a pair), which no one takes."""
    return text[:most].encode("utf-8", "replace").decode()


# -- what is moved


def dumped(row: dict[str, Any]) -> Mapping[str, Any]:
    """Return a row as it was read, with the event's bytes as bytes."""
    body = row.get("body")
    return {**row, "body": body.encode()} if isinstance(body, str) else row
