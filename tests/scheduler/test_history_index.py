"""What is believed from routing alone, against an ordered list with times."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from scheduler import BadInput, HistoryIndex
from tests.scheduler.test_prefix_index import CHAINS, COUNT, INSTANCES, naive_hits


class AgainstAList(RuleBasedStateMachine):
    """Least recently used first, deepest first, beyond a capacity and after a time, on every instance by itself."""

    @initialize(capacity=st.none() | st.integers(0, 9), ttl_s=st.none() | st.integers(1, 9))
    def begin(self, capacity: int | None, ttl_s: int | None) -> None:
        self.capacity, self.ttl_s, self.now_s = capacity, ttl_s, 0
        self.history = HistoryIndex(COUNT, capacity, ttl_s)
        self.orders: list[list[tuple[int, int]]] = [[] for _ in range(COUNT)]  # key and time, oldest first

    @rule(instance=INSTANCES, path=CHAINS, step=st.integers(-3, 4))
    def routed(self, instance: int, path: list[int], step: int) -> None:
        told, self.now_s = self.now_s + step, max(self.now_s, self.now_s + step)
        self.history.record(instance, path, max(0, told))
        order = [row for row in self.orders[instance] if row[0] not in path]
        order += [(key, self.now_s) for key in reversed(path)]
        self.orders[instance] = order if self.capacity is None else order[max(0, len(order) - self.capacity) :]

    @rule(step=st.integers(-3, 6))
    def expired(self, step: int) -> None:
        told, self.now_s = self.now_s + step, max(self.now_s, self.now_s + step)
        self.history.expire(max(0, told))
        if self.ttl_s is not None:
            for instance, order in enumerate(self.orders):
                self.orders[instance] = [row for row in order if row[1] + self.ttl_s > self.now_s]

    @rule(instance=INSTANCES)
    def restarted(self, instance: int) -> None:
        self.history.clear(instance)
        self.orders[instance] = []

    @rule(keys=CHAINS, limit=st.none() | st.integers(0, 9))
    def hits_are_those_of_the_list(self, keys: list[int], limit: int | None) -> None:
        held = [{key for key, _ in order} for order in self.orders]
        assert self.history.hit_tokens(keys, 16, limit) == naive_hits(held, keys[:limit])

    @invariant()
    def as_many_are_held_as_in_the_list(self) -> None:
        if not hasattr(self, "orders"):
            return
        assert len(self.history.index) == len({key for order in self.orders for key, _ in order})
        for instance, order in enumerate(self.orders):
            assert self.history.block_count(instance) == len(order)
            assert self.history.index.orphan_count(instance) == 0  # what is forgotten is always a leaf


TestAgainstAList = AgainstAList.TestCase


def test_a_prompt_that_contradicts_what_is_known_is_believed_up_to_there() -> None:
    history = HistoryIndex(2, capacity_blocks=4)
    history.record(0, [1, 2, 3])
    history.record(0, [9, 2, 3])  # 2 follows 1
    history.record(1, [1, 1, 2])
    history.record(1, [2, 5])  # elsewhere 2 follows 1; nothing of it can be used, and it is forgotten in its turn
    assert history.hit_tokens([1, 2, 3], 1) == [3, 1]
    assert history.hit_tokens([9, 4], 1)[0] == 1
    for key in range(100, 140):
        history.record(0, [key])
        history.record(1, [key])
    assert (history.block_count(0), history.block_count(1), len(history.index)) == (4, 4, 4)


def test_nothing_is_forgotten_before_its_time_nor_kept_beyond_it() -> None:
    history = HistoryIndex(2, ttl_s=10)
    history.record(0, [1, 2, 3], 0)
    history.record(1, [1], 4)
    history.record(0, [1, 2], 5)
    history.expire(9.999)
    assert history.hit_tokens([1, 2, 3], 1) == [3, 1]
    history.expire(10)
    assert history.hit_tokens([1, 2, 3], 1) == [2, 1]
    history.expire(14)
    assert history.hit_tokens([1, 2, 3], 1) == [2, 0]
    history.expire(15)
    assert len(history.index) == 0


def test_new_instances_start_empty() -> None:
    history = HistoryIndex(1, capacity_blocks=2)
    history.record(0, [1, 2])
    history.grow(2)
    history.grow(1)  # there are as many already
    history.record(1, [1, 2, 3])
    assert history.hit_tokens([1, 2, 3], 1) == [2, 2]


@pytest.mark.parametrize("instance", [-1, COUNT])
def test_an_instance_that_is_not_there_is_refused(instance: int) -> None:
    history = HistoryIndex(COUNT, 4)
    calls: list[Any] = [lambda: history.record(instance, [1]), lambda: history.clear(instance)]
    for call in [*calls, lambda: history.block_count(instance)]:
        with pytest.raises(BadInput, match="instance: expected an index >= 0 and < 3"):
            call()
    assert len(history.index) == 0


def test_numbers_outside_their_domain_are_refused() -> None:
    with pytest.raises(BadInput, match="capacity_blocks"):
        HistoryIndex(1, -1)
    with pytest.raises(BadInput, match="ttl_s"):
        HistoryIndex(1, ttl_s=0)
    history = HistoryIndex(1, ttl_s=1)
    with pytest.raises(BadInput, match="blocks are forgotten after ttl_s"):
        history.record(0, [1])
    for late in (float("inf"), 1e300):
        with pytest.raises(BadInput, match="now_s"):
            history.record(0, [1], late)
        with pytest.raises(BadInput, match="now_s"):
            history.expire(late)
    assert len(history.index) == 0


def test_what_is_not_later_counts_as_the_latest_time() -> None:
    history = HistoryIndex(1, ttl_s=10)
    history.record(0, [1], 5)
    history.record(0, [2], float("nan"))
    history.record(0, [3], -1)
    history.expire(14)
    assert len(history.index) == 3
    history.expire(15)
    history.expire(float("nan"))
    assert len(history.index) == 0
