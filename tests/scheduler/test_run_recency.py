"""The order over whole prompts gives what the order over blocks gives, and an ordered list."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from scheduler.recency import Recency
from scheduler.run_recency import RunRecency
from tests.scheduler.test_prefix_index import CHAINS
from tests.scheduler.test_recency import Naive

STEPS = st.lists(st.tuples(CHAINS, st.integers(0, 5)), max_size=40)


@given(STEPS)
def test_both_orders_give_the_same_blocks(steps: list[Any]) -> None:
    quick, plain, naive = RunRecency(), Recency({}), Naive()
    for keys, popped in steps:
        known = plain.known(keys)
        assert quick.touch(keys) == (known, len(keys))
        plain.touch(keys, known)
        naive.touch(keys)
        count = min(popped, plain.size)
        assert quick.pop_oldest(count) == plain.pop_oldest(count) == naive.pop_oldest(count)
        assert quick.size == plain.size == len(naive.order)
    assert quick.pop_oldest(quick.size) == naive.order
    assert (quick._table, len(quick._order)) == ({}, 0)


@given(st.lists(st.tuples(st.lists(st.integers(0, 6), max_size=5), st.integers(0, 4)), max_size=30))
def test_keys_that_are_no_chains_break_nothing(steps: list[Any]) -> None:
    recency, held = RunRecency(), set[int]()
    for keys, popped in steps:
        known, stop = recency.touch(keys)
        assert 0 <= known <= stop <= len(keys)
        held |= set(keys[known:stop])
        gone = recency.pop_oldest(min(popped, recency.size))
        assert sorted(held & set(gone)) == sorted(gone)
        held -= set(gone)
        assert recency.size == len(held) == len(recency._table)
    assert set(recency.pop_oldest(recency.size)) == held


@given(st.lists(st.tuples(CHAINS, st.integers(0, 3)), max_size=20), st.integers(1, 9))
def test_only_what_was_not_touched_for_so_long_expires(steps: list[Any], ttl_s: int) -> None:
    recency, now_s, touched = RunRecency(), 0, dict[int, int]()
    for keys, step in steps:
        now_s += step
        recency.touch(keys, now_s)
        touched.update(dict.fromkeys(keys, now_s))
    gone = recency.pop_expired(now_s + 1, ttl_s)
    assert set(gone) == {key for key, at_s in touched.items() if at_s + ttl_s <= now_s + 1}
    left = [at_s for key, at_s in touched.items() if key not in gone]
    assert recency.oldest_s() == (min(left) if left else None)


def test_touching_a_known_prompt_looks_at_a_few_keys_only() -> None:
    class Counted(list[int]):
        looks = 0

        def __getitem__(self, at: Any) -> Any:
            Counted.looks += 1
            return super().__getitem__(at)

    recency, prompt = RunRecency(), Counted(range(1000))
    recency.touch(prompt)
    recency.touch([*prompt[:600], *range(2000, 2100)])
    Counted.looks = 0
    assert recency.touch(prompt) == (1000, 1000)
    assert Counted.looks < 30


def test_a_prompt_that_grows_stays_one_run() -> None:
    recency = RunRecency()
    for length in range(1, 200):
        recency.touch(range(length))
    assert len(recency._order) == 1
