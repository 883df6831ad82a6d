"""What is kept of rows, and when they differ from it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.rules import differences, prints
from relay.rules.differences import Difference, Seen, Suspect, Suspects
from relay.rules.prints import NOTHING, Print

ROWS = st.builds(
    Print, st.binary(min_size=4, max_size=4), st.binary(min_size=5, max_size=5), st.integers(min_value=0, max_value=255)
)


@given(st.dictionaries(st.integers(min_value=1, max_value=2**63 - 1), ROWS))
def test_prints_come_back_as_they_were(rows: dict[int, Print]) -> None:
    assert prints.decode(prints.encode(rows)) == rows


def test_a_row_takes_twelve_bytes_at_most_where_ids_have_gaps_of_sixteen_thousand() -> None:
    rows = {number * 16_000: Print(b"1234", b"12345") for number in range(1, 101)}
    assert len(prints.encode(rows)) <= 12 * len(rows)


@given(
    st.dictionaries(
        st.integers(min_value=1), st.builds(Suspect, st.floats(0, 1e10), st.just("aa"), st.just(1), st.booleans())
    )
)
def test_suspects_come_back_as_they_were(rows: dict[int, Suspect]) -> None:
    suspects = Suspects(rows=rows, log_end=7 if rows else 0)
    assert differences.decode(suspects.encode()) == suspects


OLD = Print(b"1111", b"old  ")
NEW = Print(b"2222", b"new  ")
PLAIN = Seen(now=NEW, is_carried=False, is_known=False)
CASES = [
    ("never seen, never sent", None, PLAIN, Difference.MISSING),
    ("never seen, nothing to say", None, PLAIN._replace(is_news=False), None),
    ("never seen, captured as it is", None, PLAIN._replace(is_known=True, is_carried=True), None),
    ("never seen, captured as it was", None, PLAIN._replace(is_known=True), Difference.CHANGED),
    ("learned, and another now", OLD, PLAIN, Difference.CHANGED),
    ("learned, captured as it is", OLD, PLAIN._replace(is_known=True, is_carried=True), None),
    ("as it was", NEW, PLAIN, None),
    ("as it was, told otherwise since", NEW, PLAIN._replace(is_known=True, is_newer=True), Difference.CHANGED),
    ("as it was, told so since", NEW, PLAIN._replace(is_known=True, is_newer=True, is_carried=True), None),
    ("beside it something is another", NEW._replace(beside=1), PLAIN, Difference.CHANGED),
    ("its time has passed", NEW, PLAIN._replace(is_due=True), Difference.CHANGED),
    ("nothing can be made of it", OLD, PLAIN._replace(now=NEW._replace(data=NOTHING)), None),
    ("nothing could be made of it", OLD._replace(data=NOTHING), PLAIN, Difference.MISSING),
    ("held, never sent", None, PLAIN._replace(is_held=True), Difference.MISSING),
    ("held, and recorded as such", None, PLAIN._replace(is_held=True, is_waiting=True), None),
    ("held, as it was", NEW, PLAIN._replace(is_held=True), None),
]


@pytest.mark.parametrize(("what", "before", "seen", "expected"), CASES)
def test_a_row_differs(what: str, before: Print | None, seen: Seen, expected: Difference | None) -> None:
    assert differences.difference(before, seen, None) == expected, what


def test_a_row_that_changes_again_begins_anew_to_differ() -> None:
    first = differences.suspected(PLAIN, None, 100.0)
    assert differences.suspected(PLAIN, first, 200.0) == first
    assert differences.suspected(PLAIN._replace(now=OLD), first, 200.0).since == 200.0


def test_a_clock_that_is_set_back_leaves_no_row_waiting() -> None:
    first = differences.suspected(PLAIN, None, 1e9)
    assert differences.suspected(PLAIN, first, 100.0).since == 100.0


def test_of_what_is_held_nothing_is_kept() -> None:
    """The digest of a score could be guessed."""
    held = PLAIN._replace(is_held=True)
    assert held.told.data == differences.kept(None, held).data == NOTHING
    assert differences.suspected(held, None, 1.0).data == NOTHING.hex()
    assert differences.kept(NEW, held) == NEW, "what was sent before is known"
