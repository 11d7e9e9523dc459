"""The index against plain sets: what an engine holds, whatever order, loss and duplication its events came in."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from scheduler import BadInput, PrefixIndex
from scheduler.orphans import Key

COUNT = 3


def chain(steps: list[int]) -> list[int]:
    """Keys that name their whole chain: a prefix is a number in base 4."""
    keys, key = [], 0
    for step in steps:
        key = 4 * key + step + 1
        keys.append(key)
    return keys


#: Few keys, so that events meet: all prompts of four blocks with two choices for each.
CHAINS = st.lists(st.integers(0, 1), max_size=4).map(chain)
PROMPTS = [chain(list(steps)) for steps in itertools.product((0, 1), repeat=4)]
INSTANCES = st.integers(0, COUNT - 1)


def parent_of(key: int) -> int | None:
    return (key - 1) // 4 or None


def usable(held: set[int], key: int) -> bool:
    """Whether an instance that holds these blocks holds this one and all before it."""
    turn: int | None = key
    while turn is not None:
        if turn not in held:
            return False
        turn = parent_of(turn)
    return True


def naive_hits(held: list[set[int]], keys: list[int]) -> list[int]:
    hits = []
    for mine in held:
        depth = 0
        while depth < len(keys) and keys[depth] in mine:
            depth += 1
        hits.append(16 * depth)
    return hits


class AgainstSets(RuleBasedStateMachine):
    """Stored, removed and cleared in any order, with holes, twice, or not at all: the index is what the sets say."""

    def __init__(self) -> None:
        super().__init__()
        self.index = PrefixIndex(COUNT)
        self.held: list[set[int]] = [set() for _ in range(COUNT)]

    @rule(instance=INSTANCES, keys=CHAINS, cuts=st.tuples(st.integers(0, 4), st.integers(0, 4)))
    def stored(self, instance: int, keys: list[int], cuts: tuple[int, int]) -> None:
        start, stop = min(cuts), max(cuts)
        self.index.add(instance, keys[start:stop], keys[start - 1] if 0 < start <= len(keys) else None)
        self.held[instance] |= set(keys[start:stop])

    @rule(instance=INSTANCES, keys=CHAINS, start=st.integers(0, 4), leaf_first=st.booleans())
    def removed(self, instance: int, keys: list[int], start: int, leaf_first: bool) -> None:
        gone = keys[start:]
        self.index.remove(instance, [10**9, *(reversed(gone) if leaf_first else gone)])
        self.held[instance] -= set(gone)

    @rule(instance=INSTANCES, keys=CHAINS.filter(bool), data=st.data())
    def one_was_removed(self, instance: int, keys: list[int], data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(keys))
        self.index.remove(instance, iter([key]))
        self.held[instance].discard(key)

    @rule(instance=INSTANCES)
    def cleared(self, instance: int) -> None:
        self.index.clear(instance)
        self.held[instance].clear()

    @rule(keys=CHAINS, limit=st.integers(0, 5))
    def a_limit_cuts_the_prompt(self, keys: list[int], limit: int) -> None:
        assert self.index.hit_tokens(keys, 16, limit) == naive_hits(self.held, keys[:limit])

    @invariant()
    def all_is_as_the_sets_say(self) -> None:
        good = [{key for key in mine if usable(mine, key)} for mine in self.held]
        for prompt in PROMPTS:
            assert self.index.hit_tokens(prompt, 16) == naive_hits(self.held, prompt)
            for key in prompt:
                assert self.index.holders(key) == sum(1 << i for i in range(COUNT) if key in good[i])
        assert len(self.index) == len(set().union(*good))
        for instance in range(COUNT):
            assert self.index.orphan_count(instance) == len(self.held[instance]) - len(good[instance])
        assert self.index.contradictions == 0

    def teardown(self) -> None:
        """Nothing is left behind when all instances are gone."""
        for instance in range(COUNT):
            self.index.clear(instance)
        tree = self.index._tree
        internals = (self.index._masks, tree.parents, tree.only, tree.forks)
        assert not any(internals)


TestAgainstSets = AgainstSets.TestCase

LINKS = st.tuples(st.booleans(), INSTANCES, st.lists(st.integers(1, 6), max_size=4), st.none() | st.integers(1, 6))


@settings(max_examples=300)
@given(st.lists(LINKS, max_size=25), st.integers(0, 3))
def test_contradictory_chains_never_make_more_of_a_prompt_than_was_stored(events: list[Any], limit: int) -> None:
    """Keys that follow now this, now that block: nothing breaks, and whoever has a bit holds the block."""
    index, held = PrefixIndex(COUNT, limit), [set[int]() for _ in range(COUNT)]
    for adds, instance, keys, after in events:
        if adds:
            index.add(instance, keys, after)
            held[instance] |= set(keys)
        else:
            index.remove(instance, keys)
            held[instance] -= set(keys)
        assert index.orphan_count(instance) <= limit
        for key in range(1, 7):
            mask, parent = index.holders(key), index._tree.parents.get(key)
            assert all(key in held[i] for i in range(COUNT) if mask >> i & 1)
            assert parent is None or mask & ~index.holders(parent) == 0  # monotone along what it follows
    for instance in range(COUNT):
        index.clear(instance)
    assert not any((index._masks, index._tree.parents, index._tree.only, index._tree.forks))


@given(st.lists(st.tuples(st.booleans(), CHAINS, st.integers(0, 4)), max_size=40), CHAINS, st.integers(0, 4))
def test_beyond_the_bound_on_orphans_hits_are_too_small_never_too_large(
    events: list[Any], keys: list[int], limit: int
) -> None:
    index, held = PrefixIndex(1, limit), set[int]()
    for adds, path, start in events:
        if adds:
            index.add(0, path[start:], path[start - 1] if 0 < start <= len(path) else None)
            held |= set(path[start:])
        else:
            index.remove(0, path[start : start + 1])
            held -= set(path[start : start + 1])
        assert index.orphan_count(0) <= limit
    assert index.hit_tokens(keys, 16)[0] <= naive_hits([held], keys)[0]


@given(st.lists(st.integers(0, 300), min_size=1, max_size=12), st.integers(0, 300), st.none() | st.integers(0, 310))
def test_long_prompts_held_to_different_depths_are_found_in_strides(
    depths: list[int], length: int, limit: int | None
) -> None:
    index, keys = PrefixIndex(len(depths)), list(range(500, 800))
    for instance, depth in enumerate(depths):
        index.add(instance, keys[:depth])
    length_seen = length if limit is None else min(length, limit)
    assert index.hit_tokens(keys[:length], 16, limit) == [16 * min(depth, length_seen) for depth in depths]


def test_a_hole_ends_the_hit_and_its_filling_brings_back_what_follows() -> None:
    """A lookup in strides would jump over the hole if the deeper blocks kept their bits."""
    index, keys = PrefixIndex(2), list(range(100, 132))
    index.add(0, keys)
    index.remove(0, [keys[5]])
    assert index.hit_tokens(keys, 1) == [5, 0]
    assert (index.holders(keys[6]), index.orphan_count(0)) == (0, 26)
    index.add(0, [keys[5]], keys[4])
    assert (index.hit_tokens(keys, 1), index.orphan_count(0)) == ([32, 0], 0)


def test_a_child_before_its_parent_is_believed_when_the_parent_comes() -> None:
    index = PrefixIndex(1)
    index.add(0, [3, 4], after=2)
    index.add(0, [2], after=1)
    assert index.hit_tokens([1, 2, 3, 4], 1) == [0]
    index.add(0, [1])
    assert index.hit_tokens([1, 2, 3, 4], 1) == [4]


@pytest.mark.parametrize("make", [lambda n: n, lambda n: -(2**63) - n, lambda n: b"%032d" % n])
def test_keys_may_be_any_whole_numbers_or_bytes(make: Any) -> None:
    index, keys = PrefixIndex(2), [make(number) for number in range(9)]
    index.add(0, keys[:7])
    index.add(1, keys[4:], keys[3])
    index.add(1, tuple(keys[:4]))
    index.remove(0, [keys[6]])
    assert index.hit_tokens(keys, 16) == [96, 144]


def test_a_key_that_repeats_ends_the_chain() -> None:
    index = PrefixIndex(1)
    index.add(0, [1, 2, 1, 3])
    assert (index.hit_tokens([1, 2, 3], 1), len(index), index.contradictions) == ([2], 2, 2)


def test_contradictions_are_counted_one_after_the_other() -> None:
    index = PrefixIndex(1)
    for round_ in range(1, 4):
        index.add(0, [10 * round_, 10 * round_ + 1, 10 * round_, 7])  # a key that repeats: two are not believed
        assert index.contradictions == 2 * round_
    index.add(0, [10, 21, 22])  # 21 follows 20
    index.add(0, [20, 11, 12])
    assert index.contradictions == 6 + 2 + 2


def test_the_cost_of_a_removal_does_not_grow_with_what_others_hold() -> None:
    """A block that a thousand others follow, none of them on this instance, goes without a look at them."""
    index = PrefixIndex(2)
    index.add(0, [1, 2])
    for key in range(2, 1002):
        index.add(1, [1, key])
    index.add(0, [3, 4], after=1)
    index.remove(0, [2, 4, 3])

    class Untouchable(dict[Key, None]):
        def __iter__(self) -> Any:
            raise AssertionError("walked over the children")

    fork = index._tree.forks[1]
    fork.children = Untouchable(fork.children)
    index.remove(0, [1])
    assert index.holders(1) == 2


def test_what_was_an_orphan_is_none_once_it_has_its_place() -> None:
    """An orphan said to follow 8 comes again after 1: it is not believed a second time when 8 arrives."""
    index = PrefixIndex(1)
    index.add(0, [2], after=8)
    index.add(0, [1, 2])
    assert index.orphan_count(0) == 0
    index.remove(0, [2])
    index.add(0, [8])
    assert (index.holders(2), index.contradictions) == (0, 0)


def test_a_held_block_said_to_follow_a_missing_one_stays_where_it_is() -> None:
    index = PrefixIndex(1)
    index.add(0, [1, 2])
    index.add(0, [7, 2, 3], after=9)
    assert (index.hit_tokens([1, 2], 1), index.orphan_count(0), index.contradictions) == ([2], 1, 2)


def test_new_instances_start_empty_and_a_freed_index_may_be_used_again() -> None:
    index = PrefixIndex(1)
    index.add(0, [1, 2, 3])
    index.grow(2)
    index.grow(1)  # there are as many already
    assert index.hit_tokens([1, 2], 1) == [2, 0]
    index.add(1, [1])
    index.clear(0)
    index.add(0, [1, 5])
    assert index.hit_tokens([1, 2, 3], 1) == index.hit_tokens([1], 1) == [1, 1]
    assert index.hit_tokens([1, 5], 1) == [2, 1]


def test_equal_neighbours_share_one_mask() -> None:
    index, keys = PrefixIndex(64), list(range(1000, 1100))
    index.add(40, keys)
    index.add(50, keys)
    assert len({id(index.holders(key)) for key in keys}) == 1
    index.remove(40, reversed(keys[50:]))
    assert len({id(index.holders(key)) for key in keys[50:]}) == 1


def test_the_mask_that_is_shared_is_that_of_the_instance_that_lost_the_block() -> None:
    index = PrefixIndex(3)
    for instance in range(3):
        index.add(instance, [1, 2])
        index.add(instance, [3], after=1)
    index.remove(0, [2])
    index.remove(1, [3])
    assert (index.holders(2), index.holders(3)) == (0b110, 0b101)


def test_a_prompt_that_is_no_chain_credits_nobody_beyond_its_first_gap() -> None:
    index = PrefixIndex(2)
    index.add(0, [1])
    index.add(1, [50, 51])
    assert index.hit_tokens([1, 50, 51], 1) == [1, 0]


@pytest.mark.parametrize("instance", [-1, COUNT])
def test_an_instance_that_is_not_there_is_refused(instance: int) -> None:
    index = PrefixIndex(COUNT)
    for call in (
        lambda: index.add(instance, [1]),
        lambda: index.remove(instance, [1]),
        lambda: index.clear(instance),
        lambda: index.orphan_count(instance),
    ):
        with pytest.raises(BadInput, match="instance: expected an index >= 0 and < 3"):
            call()
    assert len(index) == 0


def test_numbers_outside_their_domain_are_refused() -> None:
    index = PrefixIndex(1)
    index.add(0, [1, 2])
    with pytest.raises(BadInput, match="limit: expected an integer >= 0"):
        index.hit_tokens([1, 2], 16, -1)
    with pytest.raises(BadInput, match="instance_count"):
        PrefixIndex(0)
    with pytest.raises(BadInput, match="orphan_blocks"):
        PrefixIndex(1, -1)
