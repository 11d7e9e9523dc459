"""Blocks in use against plain sets, alone and as a router keeps them."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from scheduler.active_blocks import ActiveBlocks
from scheduler.index_state import PrefixIndexState
from scheduler.router import Router
from tests.scheduler.router_events import BLOCK, HISTORIES, LINE, answer

#: Chains that share their beginnings.
CHAINS = ((1, 2, 3, 4), (1, 2, 5), (1, 6), (7,), (7, 8, 9, 10, 11), ())
STEPS = st.lists(st.tuples(st.booleans(), st.integers(0, 2), st.sampled_from(CHAINS)), max_size=40)


def in_use(users: list[tuple[int, tuple[int, ...]]], instance: int) -> set[int]:
    return {key for place, keys in users if place == instance for key in keys}


def added(used: set[int], keys: tuple[int, ...], blocks: int) -> int:
    shared = 0
    while shared < min(len(keys), blocks) and keys[shared] in used:
        shared += 1
    return blocks - shared


def through_json(saved: PrefixIndexState) -> PrefixIndexState:
    return msgspec.json.decode(msgspec.json.encode(saved), type=PrefixIndexState)


@given(STEPS, st.integers(0, 39))
def test_every_block_in_use_counts_once_however_many_use_it(
    steps: list[tuple[bool, int, tuple[int, ...]]], stop: int
) -> None:
    active, users = ActiveBlocks(2), list[tuple[int, tuple[int, ...]]]()
    active.grow(3)
    for place, (starts, instance, keys) in enumerate(steps):
        if starts:
            active.add(instance, keys)
            users.append((instance, keys))
        elif (instance, keys) in users:
            active.remove(instance, keys)
            users.remove((instance, keys))
        if place == stop:
            active = ActiveBlocks.restore(through_json(active.save()), users)
        used = [in_use(users, each) for each in range(3)]
        assert active.counts == [len(each) for each in used]
        for chain in CHAINS:
            assert active.added(chain, len(chain) + 1) == [added(each, chain, len(chain) + 1) for each in used]
    for instance, keys in users:
        active.remove(instance, keys)
    assert active.counts == [0, 0, 0]
    assert active.save().runs == []


def test_keys_beyond_the_prompt_are_not_shared() -> None:
    active = ActiveBlocks(1)
    active.add(0, (1, 2, 3, 4))
    assert active.added((1, 2, 3, 4), 2) == [0]


@given(HISTORIES)
def test_a_router_counts_the_blocks_of_who_is_in_flight(events: list[tuple[float, tuple[Any, ...]]]) -> None:
    router, now_s = Router(list("abcd"), "dynamo", step_times=LINE, clock=lambda: 0.0), 0.0
    keys_of: dict[Any, tuple[int, ...]] = {}
    for number, (passed_s, event) in enumerate(events):
        now_s += passed_s
        answer(router, event, now_s, number)
        ledger = router._ledger
        if event[0] == "heard":
            keys_of.setdefault(event[1], event[2])
        in_flight = {name: entry.instance for name, entry in ledger.accounting._open.items()}
        keys_of = {name: keys for name, keys in keys_of.items() if name in in_flight}
        keys_of |= {name: made.request.block_keys for name, made in router._open.items()}
        users = []
        for name, slot in in_flight.items():
            tokens = ledger.accounting._open[name].prompt_tokens
            users.append((slot, keys_of[name][: -(-tokens // BLOCK)]))
        assert ledger.active is not None
        assert ledger.active.counts == [len(in_use(users, slot)) for slot in range(len(ledger.slots))]
        router = Router.restore(router.snapshot(), clock=lambda: 0.0)


def test_a_router_keeps_no_blocks_for_rules_that_do_not_ask() -> None:
    router = Router(["a"], clock=lambda: 0.0)
    assert router._ledger.active is None
    assert router._ledger.view.active_blocks is None
