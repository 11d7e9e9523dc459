"""Events out of order and requests that are never heard of again: what is remembered, for how long, for whom."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler import Accounting

EVENTS = ("dispatched", "first_token", "ended")


def tell(books: Accounting, event: str, key: Any) -> None:
    if event == "dispatched":
        books.dispatched(key, 0, 5, 9, heard=True)
    else:
        getattr(books, event)(key)


@given(st.permutations([(event, key) for key in "ab" for event in EVENTS]), st.sets(st.integers(0, 5)))
def test_in_whatever_order_events_are_heard_requests_that_ended_leave_nothing(
    order: list[tuple[str, str]], twice: set[int]
) -> None:
    books, told = Accounting(1), set[tuple[str, str]]()
    for position, (event, key) in enumerate(order):
        for _ in range(2 if position in twice else 1):
            tell(books, event, key)
        told.add((event, key))
        for kind, column, part in (("running", books.running, True), ("waiting", books.waiting, False)):
            there = {k for k in "ab" if ("dispatched", k) in told and ("ended", k) not in told}
            assert column == [sum((("first_token", k) in told) is part for k in there)], kind
    assert (len(books), books.queued_prefill_tokens, books.context_tokens) == (0, [0], [0])


@pytest.mark.parametrize("size", [1, 2, 5])
def test_at_least_so_many_ended_requests_are_remembered_and_at_most_twice(size: int) -> None:
    books = Accounting(1, remember=size)
    for key in range(20):
        books.ended(key)
        books.first_token(100 + key)
    for key in range(20 - size, 20):
        books.dispatched(key, 0, 1, 1, heard=True)
        assert len(books) == 0
    saved = books.save()
    assert all(len(saved.ended[i]) + len(saved.computed[i]) <= 2 * size for i in (0, 1))
    books.dispatched(0, 0, 1, 1, heard=True)  # forgotten
    assert len(books) == 1


def test_requests_that_ended_in_order_are_forgotten_likewise() -> None:
    books = Accounting(1, remember=3)
    for key in range(20):
        books.dispatched(key, 0, 1, 1)
        books.ended(key)
    assert sum(map(len, books.save().ended)) <= 6
    books.dispatched(19, 0, 1, 1, heard=True)
    assert len(books) == 0


def forget(books: Accounting, key: str) -> None:
    """Let so many others end that this one is no longer remembered; then it is heard of again."""
    for other in range(4):
        books.ended((key, other))
    books.dispatched(key, 0, 5, 5, heard=True)


@pytest.mark.parametrize("events", ["first_token dispatched ended", "ended first_token", "first_token ended"])
@pytest.mark.parametrize("others", [0, 1])
def test_an_early_first_token_counts_for_one_request_only(events: str, others: int) -> None:
    books = Accounting(1, remember=2)
    for event in events.split():
        tell(books, event, "a")
        for other in range(others):  # fills the first generation
            if event == "first_token":
                books.first_token(f"other {other}")
    assert len(books) == 0
    forget(books, "a")
    assert (books.waiting, books.running) == ([1], [0])


def test_what_we_send_ourselves_waits_whatever_was_heard_before() -> None:
    books = Accounting(1)
    books.first_token("a")
    books.dispatched("a", 0, 5, 5)
    assert (books.waiting, books.running, books.queued_prefill_tokens) == ([1], [0], [5])


def test_who_was_heard_of_again_is_not_lost_and_hides_nobody() -> None:
    books = Accounting(1)
    books.dispatched("a", 0, 5, 5, 0.0)
    books.dispatched("b", 0, 5, 5, 1.0)
    books.first_token("a", 5.0)
    assert books.reclaim(8.0, 5.0) == ["b"]
    assert books.reclaim(10.0, 5.0) == ["a"]


def test_a_second_attempt_is_a_new_request_whatever_became_of_the_first() -> None:
    books = Accounting(2)
    books.dispatched("a", 0, 5, 5)
    assert books.reset(0) == ["a"]
    books.dispatched("a", 1, 5, 5)
    assert (books.waiting, books.ignored) == ([0, 1], 0)
    books.ended("a")
    books.dispatched("a", 1, 5, 5, heard=True)  # a copy of the news, late
    assert (books.waiting, books.ignored) == ([0, 0], 1)
