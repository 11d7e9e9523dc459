"""Both indices against plain sets: what is held, what is forgotten, what is refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler import BadInput, HistoryIndex, PrefixIndex

COUNT = 3


def chain(steps: list[int]) -> list[int]:
    """Keys that name their whole chain: a prefix is a number in base 4."""
    keys, key = [], 0
    for step in steps:
        key = 4 * key + step + 1
        keys.append(key)
    return keys


CHAINS = st.lists(st.integers(0, 1), max_size=7).map(chain)
EVENTS = st.lists(st.tuples(st.booleans(), st.integers(0, COUNT - 1), CHAINS, st.integers(0, 7)), max_size=30)


def naive_hits(held: list[set[int]], keys: list[int], limit: int | None) -> list[int]:
    hits = []
    for mine in held:
        depth = 0
        while depth < len(keys[:limit]) and keys[depth] in mine:
            depth += 1
        hits.append(16 * depth)
    return hits


@given(EVENTS, CHAINS, st.none() | st.integers(0, 8))
def test_hits_are_those_of_sets(events: list[Any], keys: list[int], limit: int | None) -> None:
    index, held = PrefixIndex(COUNT), [set[int]() for _ in range(COUNT)]
    for adds, instance, path, cut in events:
        if adds:
            index.add(instance, path)
            held[instance] |= set(path)
        else:  # what starts with the rest of this chain goes too, so that presence stays monotone
            gone = [key for key in held[instance] if path[cut:] and _descends(key, path[cut])]
            index.remove(instance, [*gone, 10**9])
            held[instance] -= set(gone)
        assert index.hit_tokens(path, 16) == naive_hits(held, path, None)
    assert index.hit_tokens(keys, 16, limit) == naive_hits(held, keys, limit)
    assert len(index) == len(set().union(*held))
    for key in keys:
        assert index.holders(key) == sum(1 << i for i in range(COUNT) if key in held[i])


def _descends(key: int, root: int) -> bool:
    while key > root:
        key = (key - 1) // 4
    return key == root


@given(st.lists(st.tuples(st.integers(0, COUNT - 1), CHAINS), max_size=40), CHAINS, st.none() | st.integers(0, 9))
def test_history_forgets_the_least_recent_block_deepest_first(
    routed: list[Any], keys: list[int], capacity: int | None
) -> None:
    history, orders = HistoryIndex(COUNT, capacity), [list[int]() for _ in range(COUNT)]  # oldest first
    for instance, path in routed:
        history.record(instance, path)
        order = [key for key in orders[instance] if key not in path] + path[::-1]
        orders[instance] = order if capacity is None else order[max(0, len(order) - capacity) :]
        assert history.hit_tokens(path, 16) == naive_hits([set(order) for order in orders], path, None)
    assert history.hit_tokens(keys, 16) == naive_hits([set(order) for order in orders], keys, None)
    assert len(history.index) == len(set().union(*orders))


@pytest.mark.parametrize("instance", [-1, COUNT])
def test_an_instance_that_is_not_there_is_refused(instance: int) -> None:
    index, history = PrefixIndex(COUNT), HistoryIndex(COUNT, 4)
    for call in (index.add, index.remove, history.record):
        with pytest.raises(BadInput, match="instance: expected an index >= 0 and < 3"):
            call(instance, [1])
    assert len(index) == len(history.index) == 0


def test_numbers_outside_their_domain_are_refused() -> None:
    index = PrefixIndex(1)
    index.add(0, [1, 2])
    with pytest.raises(BadInput, match="limit: expected an integer >= 0"):
        index.hit_tokens([1, 2], 16, -1)
    with pytest.raises(BadInput, match="instance_count"):
        PrefixIndex(0)
    with pytest.raises(BadInput, match="capacity_blocks"):
        HistoryIndex(1, -1)
