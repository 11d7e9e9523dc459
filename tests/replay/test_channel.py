"""The way of events: what arrives, when, in which order, and how often."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.sim.channel import Channel, Faults
from replay.sim.ticks import to_ticks
from scheduler import BadInput

DELAYS = st.sampled_from([0, 0, 1, 5, 40])
EVENTS = st.lists(st.tuples(st.integers(0, 9), DELAYS), max_size=40)


def arrivals(channel: Channel, events: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Send events at rising ticks; (number, tick of arrival) in order."""
    seen: list[tuple[int, int]] = []
    now = 0
    for number, (passed, delay) in enumerate(events):
        for tick in range(now, now + passed + 1):
            channel.deliver(tick)
        now += passed
        channel.send(now, delay, lambda number, due: seen.append((number, due)), number, now + delay)
    channel.deliver(2**60)
    return seen


@given(EVENTS)
def test_without_faults_everything_arrives_once_in_the_order_of_its_time(events: list[tuple[int, int]]) -> None:
    channel = Channel(Faults(), Random(0))
    seen = arrivals(channel, events)
    assert sorted(number for number, _ in seen) == list(range(len(events)))
    assert [due for _, due in seen] == sorted(due for _, due in seen)
    for due in {due for _, due in seen}:
        same = [number for number, when in seen if when == due]
        assert same == sorted(same), "of one tick, as they were sent"
    assert (channel.lost, channel.duplicated, channel.reordered) == (0, 0, 0)


def test_what_is_due_arrives_before_what_is_sent_at_once() -> None:
    seen: list[str] = []
    channel = Channel(Faults(), Random(0))
    channel.send(5, 10, seen.append, "due at 15")
    channel.send(5, 20, seen.append, "due at 25")
    channel.send(20, 0, seen.append, "at 20")
    assert seen == ["due at 15", "at 20"]


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1e-4), EVENTS, st.integers(0, 99))
def test_with_faults_every_event_arrives_as_often_as_counted_and_never_early(
    lost: float, duplicated: float, reordered: float, late_s: float, events: list[tuple[int, int]], seed: int
) -> None:
    channel = Channel(Faults(lost, duplicated, reordered, late_s), Random(seed))
    seen: list[tuple[int, int]] = []
    now = 0
    for number, (passed, delay) in enumerate(events):
        now += passed
        channel.send(now, delay, lambda number, due: seen.append((number, due)), number, now + delay)
    channel.deliver(now + 40 + to_ticks(late_s))
    times = Counter(number for number, _ in seen)
    assert set(times.values()) <= {1, 2}
    assert len(events) - len(times) == channel.lost
    assert sum(count == 2 for count in times.values()) == channel.duplicated


def test_chances_are_chances_and_the_same_seed_draws_the_same() -> None:
    def counts(seed: int) -> tuple[int, int, int, int]:
        channel, seen = Channel(Faults(0.1, 0.2, 0.3, 1.0), Random(seed)), list[int]()
        for number in range(4000):
            channel.send(number, 0, seen.append, number)
        channel.deliver(2**60)
        return channel.lost, channel.duplicated, channel.reordered, len(seen)

    lost, duplicated, reordered, arrived = counts(1)
    assert arrived == 4000 - lost + duplicated
    for count, chance in ((lost, 0.1), (duplicated, 0.9 * 0.2), (reordered, 0.9 * 0.3)):
        assert abs(count - 4000 * chance) < 6 * (4000 * chance * (1 - chance)) ** 0.5
    assert counts(1) == counts(1) != counts(2)


@pytest.mark.parametrize("field", ["lost", "duplicated", "reordered"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), None])
def test_a_chance_lies_between_none_and_one(field: str, value: Any) -> None:
    with pytest.raises(BadInput, match=field):
        Faults(**{field: value})
    with pytest.raises(BadInput, match="late_s"):
        Faults(late_s=-1.0)
    assert Faults().any is False
    assert Faults(**{field: 0.5}).any is True
