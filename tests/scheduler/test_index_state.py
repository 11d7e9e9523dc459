"""Indices that go on from what was saved, with their orphans and their order, through JSON."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler import BadInput, HistoryIndex, PrefixIndex
from scheduler.index_state import PrefixIndexState, SavedRun
from tests.scheduler.router_events import BLOCK, CHAINS

CHANGES = st.tuples(st.sampled_from(["add", "add", "remove", "clear"]), st.integers(0, 2), st.sampled_from(CHAINS))
SENT = st.tuples(st.integers(0, 1), st.sampled_from(CHAINS), st.integers(0, 9))


@given(st.lists(CHANGES, max_size=40))
def test_an_index_goes_on_with_its_orphans(events: list[tuple[str, int, tuple[int, ...]]]) -> None:
    index = PrefixIndex(3, orphan_blocks=3)
    other = index
    for place, (what, instance, keys) in enumerate(events):
        start = place % 3
        for each in {id(index): index, id(other): other}.values():
            if what == "add":
                each.add(instance, keys[start:], keys[start - 1] if 0 < start <= len(keys) else None)
            elif what == "remove":
                each.remove(instance, keys[start:])
            else:
                each.clear(instance)
        assert other.save() == index.save()
        other = PrefixIndex.restore(index.save())
    for keys in CHAINS:
        assert other.hit_tokens(keys, BLOCK) == index.hit_tokens(keys, BLOCK)


def test_a_fork_of_which_one_way_is_left_is_a_chain_again() -> None:
    forked, plain_chain = PrefixIndex(1), PrefixIndex(1)
    for index in (forked, plain_chain):
        index.add(0, [1, 2])
    forked.add(0, [3], after=1)
    assert len(forked.save().runs) == 3
    forked.remove(0, [3])
    assert forked.save() == plain_chain.save()


def test_an_index_of_blocks_named_by_bytes_survives_json() -> None:
    index = PrefixIndex(70)
    for instance in (0, 69):
        index.add(instance, [b"one", b"two"])
    saved = index.save()
    found = msgspec.json.decode(msgspec.json.encode(saved), type=type(saved))
    assert PrefixIndex.restore(found).hit_tokens([b"one", b"two"], 1) == index.hit_tokens([b"one", b"two"], 1)


@given(st.lists(SENT, max_size=30), st.integers(0, 29))
def test_a_history_goes_on(sent: list[tuple[int, tuple[int, ...], int]], stop: int) -> None:
    history, now_s = HistoryIndex(2, 4, 20.0), 0.0
    other = history
    for place, (instance, keys, passed_s) in enumerate(sent):
        now_s += passed_s
        if place == stop:
            other = HistoryIndex.restore(history.save(), 4, 20.0)
        for each in {id(history): history, id(other): other}.values():
            each.expire(now_s)
            each.record(instance, keys, now_s)
    assert other.save() == history.save()


@pytest.mark.parametrize(
    "runs",
    [
        [SavedRun(0, 1, [])],
        [SavedRun(0, 0, [1])],
        [SavedRun(0, 4, [1])],
        [SavedRun(0, -1, [1])],
        [SavedRun(1, 1, [1])],
        [SavedRun(-1, 1, [1])],
        [SavedRun(0, 1, [1, 1])],
        [SavedRun(0, 1, [1]), SavedRun(0, 1, [1])],
        [SavedRun(0, 1, [1]), SavedRun(1, 3, [2])],
    ],
)
def test_what_no_index_looks_like_is_refused(runs: list[SavedRun]) -> None:
    saved = PrefixIndexState(slots=2, orphan_blocks=4, contradictions=0, runs=runs, orphans=[[], []])
    with pytest.raises(BadInput, match="index"):
        PrefixIndex.restore(saved)
    with pytest.raises(BadInput, match="index"):
        PrefixIndex.restore(msgspec.structs.replace(saved, runs=[], orphans=[[]]))
