"""The order by runs against an ordered list."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from scheduler.recency import Recency


class Naive:
    """Oldest first."""

    def __init__(self) -> None:
        self.order: list[int] = []

    def touch(self, keys: list[int]) -> None:
        self.order = [key for key in self.order if key not in keys] + keys[::-1]

    def pop_oldest(self, count: int) -> list[int]:
        gone, self.order = self.order[:count], self.order[count:]
        return gone


def path(head: int, depth: int) -> list[int]:
    return [100 * head + level for level in range(depth)]


STEPS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6), st.integers(0, 4)), max_size=40)


@given(STEPS)
def test_blocks_come_out_in_the_order_of_a_list(steps: list[Any]) -> None:
    recency, naive = Recency({}), Naive()
    for head, depth, popped in steps:
        keys = path(head, depth)
        known = recency.known(keys)
        assert known == sum(key in naive.order for key in keys)
        recency.touch(keys, known)
        naive.touch(keys)
        count = min(popped, len(naive.order))
        assert recency.pop_oldest(count) == naive.pop_oldest(count)
        assert recency.size == len(naive.order)
    assert recency.pop_oldest(recency.size) == naive.order


def test_the_sweep_of_dead_runs_changes_nothing() -> None:
    recency, naive = Recency({}), Naive()
    for turn in range(3000):
        keys = path(turn * 7 % 5, 1 + turn % 4)
        recency.touch(keys, recency.known(keys))
        naive.touch(keys)
        assert len(recency._queue) <= 1024 + 2 * 20 + 1  # at most 20 blocks live
    assert recency.pop_oldest(3) == naive.pop_oldest(3)
    assert recency.pop_oldest(recency.size) == naive.order
