"""Checks of what an event holds: its type, its tenant, its fields, its letters and its size. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay.receivers import answers, craft, samples
from relay.receivers.checks.check import ANSWER_422, DEFAULT, Check, Tools, alone
from relay.receivers.schema import OR_NULL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from relay.events.kind import EventKind
    from relay.receivers.checks.check import Tried
    from relay.receivers.craft import Attempt

#: 64 KiB, in characters.
LARGE = 64 * 1024


def _of_each_type(tools: Tools) -> Sequence[Tried]:
    return [(tools.craft.event(tools.craft.envelope(kind)), answers.NEW) for kind in DEFAULT]


def _nulls(tools: Tools) -> Sequence[Tried]:
    def emptied(kind: EventKind) -> dict[str, Any]:
        envelope = tools.craft.envelope(kind)
        nulls = {field.name: None for field in kind.fields if field.type.endswith(OR_NULL)}
        return {**envelope, "data": {**envelope["data"], **nulls}}

    return [(tools.craft.event(emptied(kind)), answers.NEW) for kind in DEFAULT]


def _tenant_of_the_body(tools: Tools) -> Attempt:
    ours = str(tools.envelope()["tenant_id"])
    return tools.event(tenant_id=craft.NO_TENANT).with_headers(x_tenant_id=ours)


def _without_data(tools: Tools) -> Sequence[Tried]:
    without = {name: value for name, value in tools.envelope().items() if name != "data"}
    others: tuple[Any, ...] = (None, [], "made up")
    bodies = [without, *({**without, "data": other} for other in others)]
    return [(_whole(tools, {**body, "event_id": tools.craft.new_id()}), answers.INVALID) for body in bodies]


def _whole(tools: Tools, envelope: Mapping[str, Any], kind: EventKind = DEFAULT[0]) -> Attempt:
    """Return the request that delivers a body that may lack what the head of a request is made from."""
    return tools.signed(samples.encode(envelope), kind.name, envelope.get("event_id", ""))


def _lacking(fields: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what is left of an object without each one of its fields."""
    for name in fields:
        yield {other: value for other, value in fields.items() if other != name}


def _without_a_field(tools: Tools) -> Sequence[Tried]:
    return [(_whole(tools, lacking), answers.REFUSED) for lacking in _lacking(tools.envelope()) if "data" in lacking]


def _without_a_field_of_data(tools: Tools) -> Sequence[Tried]:
    def each(kind: EventKind) -> Iterator[Attempt]:
        for data in ({}, *_lacking(tools.craft.envelope(kind)["data"])):
            yield _whole(tools, {**tools.craft.envelope(kind), "data": data}, kind)

    return [(attempt, answers.INVALID) for kind in DEFAULT for attempt in each(kind)]


def _of_no_type(tools: Tools) -> Sequence[Tried]:
    names = ("no_such_type", f"{DEFAULT[0].name}_made_up")
    return [(tools.signed(samples.encode(tools.envelope()), name), answers.NO_PATH) for name in names]


def _of_another_type(tools: Tools) -> Attempt:
    return _whole(tools, tools.envelope(), DEFAULT[1])


def _cases_of_headers(tools: Tools) -> Sequence[Tried]:
    def named(change: Callable[[str], str]) -> Attempt:
        attempt = tools.event()
        headers = {change(name): value for name, value in attempt.headers.items()}
        return craft.Attempt(path=attempt.path, headers=headers, body=attempt.body)

    return (named(str.lower), answers.NEW), (named(str.upper), answers.NEW)


_TENANT = "X-Tenant-ID is not signed: go by the body's tenant_id, and refuse what differs with 403 or 422."

#: The other checks are tried where this one passes.
FIRST = Check("a good event", alone(Tools.event, answers.NEW), "Answer 2xx once it is stored.")
CHECKS = (
    Check("an event of each type", _of_each_type, "Take each type that relay sends by default: `relay schema`."),
    Check("nulls where they may be", _nulls, "`relay schema` says which fields may be null."),
    Check(
        "an event of another tenant, rightly signed",
        alone(
            lambda tools: tools.event(tenant_id=craft.NO_TENANT).with_headers(x_tenant_id=craft.NO_TENANT),
            answers.REFUSED,
        ),
        "Take your own tenants' events only: answer 403 or 422.",
    ),
    Check(
        "another tenant in X-Tenant-ID than in the body",
        alone(lambda tools: tools.event().with_headers(x_tenant_id=craft.NO_TENANT), answers.REFUSED),
        _TENANT,
    ),
    Check("another tenant in the body than in X-Tenant-ID", alone(_tenant_of_the_body, answers.REFUSED), _TENANT),
    Check(
        "an unknown type",
        _of_no_type,
        "Answer 404: relay then holds back that type alone.",
    ),
    Check("a signed body that is no JSON", alone(lambda tools: tools.signed(b"{"), answers.INVALID), ANSWER_422),
    Check("a signed body that is no object", alone(lambda tools: tools.signed(b"[1]"), answers.INVALID), ANSWER_422),
    Check("an event without data", _without_data, ANSWER_422),
    Check(
        "an event that lacks a field",
        _without_a_field,
        f"`relay schema` says which fields an event has: all of them, always. {ANSWER_422}",
    ),
    Check(
        "an event that lacks a field of data",
        _without_a_field_of_data,
        f"`relay schema` says which fields `data` has: all of them, always. {ANSWER_422}",
    ),
    Check(
        "an event of another type than its path",
        alone(_of_another_type, answers.REFUSED),
        f"Compare event_type with the path. {ANSWER_422}",
    ),
    Check(
        "another event_id than webhook-id",
        alone(lambda tools: tools.signed(samples.encode(tools.envelope())), answers.REFUSED),
        f"Compare them. {ANSWER_422}",
    ),
    Check(
        "an event_id that is no UUID",
        alone(lambda tools: tools.event(event_id=f"made-up-{tools.craft.new_id()}"), answers.REFUSED),
        f"It is laid out as a UUID version 4. {ANSWER_422}",
    ),
    Check(
        "letters of all scripts",
        alone(lambda tools: tools.craft.event(craft.with_text(tools.envelope(), craft.UNICODE)), answers.NEW),
        "The body is UTF-8. Store it as such: in MySQL that is utf8mb4.",
    ),
    Check(
        "a body of 64 KiB",
        alone(
            lambda tools: tools.craft.event(craft.with_text(tools.envelope(), "made up " * (LARGE // 8), once=True)),
            answers.NEW,
        ),
        "Raise the limit of the body's size, in front of the receiver too: a comment may be long.",
    ),
    Check(
        "names of headers in other cases",
        _cases_of_headers,
        "Names of headers are the same in any case; proxies change it.",
    ),
)
