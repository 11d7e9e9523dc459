"""Counters against a naive list of open requests, under any order, loss and duplication of events."""

from __future__ import annotations

import itertools
import math
from typing import Any

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from scheduler import Accounting, BadInput
from scheduler.accounting_state import AccountingState

IDS = st.sampled_from([0, 1, 2, "a", "b"])
SLOTS = st.integers(0, 2)
TOKENS = st.integers(-5, 40)
TIMES = st.none() | st.integers(-1, 12)  # steps; some go back


class AgainstAList(RuleBasedStateMachine):
    """Every counter is a sum over the open requests; what cannot be is counted and changes nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.real = Accounting(3)
        self.count = 3
        self.open: dict[Any, dict[str, Any]] = {}
        self.ended: set[Any] = set()
        self.computed: set[Any] = set()
        self.progress = [0.0] * 3
        self.lengths = [256]
        self.ignored = 0
        self.now = 0.0

    def tell(self, step: int | None) -> float | None:
        """The time of an event as it is told; the list takes the latest."""
        if step is None:
            return None
        told, self.now = self.now + step, max(self.now, self.now + step)
        return told

    def mark(self, key: Any, told: float | None, progress: bool) -> None:
        if told is not None:
            entry = self.open.pop(key)
            self.open[key] = entry  # the last heard of comes last
            entry["heard"] = self.now
            if progress:
                self.progress[entry["at"]] = self.now

    @rule(key=IDS, at=SLOTS, new=st.integers(0, 40), prompt=st.integers(1, 40), step=TIMES, heard=st.booleans())
    def dispatched(self, key: Any, at: int, new: int, prompt: int, step: int | None, heard: bool) -> None:
        known = key in self.open or (heard and key in self.ended)
        told = self.tell(None if known else step)
        self.real.dispatched(key, at, new, prompt, told, heard=heard)
        if known:
            self.ignored += 1
            return
        idle = not any(entry["at"] == at for entry in self.open.values())
        done = heard and key in self.computed
        if done:
            self.computed.discard(key)
        self.open[key] = {"at": at, "queued": 0 if done else new, "prompt": prompt, "prefill": not done, "heard": None}
        self.mark(key, told, progress=idle)

    @rule(key=IDS, step=TIMES)
    def first_token(self, key: Any, step: int | None) -> None:
        entry = self.open.get(key)
        good = entry is not None and entry["prefill"]
        told = self.tell(step if good else None)
        self.real.first_token(key, told)
        if entry is None and key not in self.ended:
            self.computed.add(key)
        if entry is None or not good:
            self.ignored += 1
        else:
            entry.update(prefill=False, queued=0)
            self.mark(key, told, progress=True)

    @rule(key=IDS, output=st.none() | TOKENS, step=TIMES)
    def finished(self, key: Any, output: int | None, step: int | None) -> None:
        told = self.tell(step)
        self.real.ended(key, output, told)
        entry = self.close(key)
        if entry is None or (output is not None and output < 0):
            self.ignored += 1
        elif output is not None:
            self.lengths.append(output)
        if entry is not None and told is not None:
            self.progress[entry["at"]] = self.now

    @rule(key=IDS)
    def failed(self, key: Any) -> None:
        self.real.failed(key)
        self.ignored += self.close(key) is None

    def close(self, key: Any) -> dict[str, Any] | None:
        self.ended.add(key)
        entry = self.open.pop(key, None)
        if entry is None:
            self.computed.discard(key)
        return entry

    @rule(key=IDS, tokens=TOKENS, step=TIMES, kind=st.sampled_from(["corrected", "progressed", "preempted"]))
    def told_of_prefill(self, key: Any, tokens: int, step: int | None, kind: str) -> None:
        entry = self.open.get(key)
        good = entry is not None and (entry["prefill"] or kind == "preempted") and tokens >= 0
        told = self.tell(step if good else None)
        getattr(self.real, kind)(key, tokens, told)
        if entry is None or not good:
            self.ignored += 1
            return
        entry["queued"] = max(0, entry["queued"] - tokens) if kind == "progressed" else tokens
        entry["prefill"] = True
        self.mark(key, told, progress=kind == "progressed")

    @rule(step=st.integers(-1, 12), lost_after_s=st.integers(1, 20))
    def reclaimed(self, step: int, lost_after_s: int) -> None:
        told = self.tell(step)
        assert told is not None
        timed = [key for key, entry in self.open.items() if entry["heard"] is not None]
        lost = [key for key in timed if self.open[key]["heard"] + lost_after_s <= self.now]
        assert self.real.reclaim(told, lost_after_s) == lost
        for key in lost:
            self.close(key)

    @rule(slot=SLOTS)
    def crashed(self, slot: int) -> None:
        lost = {key for key, entry in self.open.items() if entry["at"] == slot}
        assert set(self.real.reset(slot)) == lost
        self.progress[slot] = 0.0
        for key in lost:
            self.close(key)

    @rule(count=st.integers(1, 5))
    def grown(self, count: int) -> None:
        self.real.grow(count)
        self.count = max(self.count, count)
        self.progress += [0.0] * (self.count - len(self.progress))

    @rule(through=st.sampled_from(["json", "msgpack"]))
    def started_again(self, through: str) -> None:
        """A router that starts again from a snapshot is the one that went on."""
        codec: Any = getattr(msgspec, through)
        self.real = Accounting.restore(codec.decode(codec.encode(self.real.save()), type=AccountingState))

    @invariant()
    def sums_agree(self) -> None:
        for i in range(self.count):
            mine = [entry for entry in self.open.values() if entry["at"] == i]
            assert self.real.waiting[i] == sum(entry["prefill"] for entry in mine)
            assert self.real.running[i] == sum(not entry["prefill"] for entry in mine)
            assert self.real.queued_prefill_tokens[i] == sum(entry["queued"] for entry in mine)
            assert self.real.context_tokens[i] == sum(entry["prompt"] for entry in mine)
        assert self.real.progress_at_s == self.progress
        assert len(self.real) == len(self.open)
        assert self.real.ignored == self.ignored
        assert self.real.expected_output_tokens() == sum(self.lengths) / len(self.lengths)

    def teardown(self) -> None:
        """Whatever happened: when all are over, every counter is zero."""
        for key in list(self.open):
            self.real.ended(key)
        columns = (self.real.running, self.real.waiting, self.real.queued_prefill_tokens, self.real.context_tokens)
        assert not any(itertools.chain(*columns))
        assert self.real.reclaim(1e6, 1.0) == []


TestAgainstAList = AgainstAList.TestCase


def test_a_snapshot_does_not_change_with_what_comes() -> None:
    books = Accounting(1)
    books.dispatched("a", 0, 5, 5, 1.0)
    saved = books.save()
    before = msgspec.json.encode(saved)
    books.first_token("a", 2.0)
    books.ended("b")
    assert msgspec.json.encode(saved) == before
    again = Accounting.restore(saved)
    again.first_token("a", 3.0)
    assert msgspec.json.encode(saved) == before


def test_the_columns_stay_the_same_objects() -> None:
    """Views read the lists themselves."""
    books = Accounting(1)
    lists = [books.running, books.waiting, books.queued_prefill_tokens, books.context_tokens, books.progress_at_s]
    books.dispatched("a", 0, 5, 5, 1.0)
    books.grow(3)
    books.reset(0)
    now = [books.running, books.waiting, books.queued_prefill_tokens, books.context_tokens, books.progress_at_s]
    assert all(a is b for a, b in zip(lists, now, strict=True))


def test_an_impossible_time_changes_nothing() -> None:
    books = Accounting(1)
    books.dispatched("a", 0, 5, 5, 1.0)
    books.first_token("a", 2.0)
    before = books.save()
    for call in (
        lambda: books.dispatched("b", 0, 5, 5, math.inf),
        lambda: books.ended("a", 3, math.inf),
        lambda: books.preempted("a", 3, math.inf),
        lambda: books.reclaim(1e300, 1.0),
    ):
        with pytest.raises(BadInput, match="now_s"):
            call()
    assert books.save() == before
    books.preempted("a", 3, math.nan)  # what is not later counts as the latest
    assert books.reclaim(11.9, 10.0) == []
    assert books.reclaim(12.0, 10.0) == ["a"]


@pytest.mark.parametrize("instance", [-1, 2])
def test_an_instance_that_is_not_there_is_refused(instance: int) -> None:
    books = Accounting(2)
    for call in (lambda: books.dispatched(0, instance, 1, 1), lambda: books.reset(instance)):
        with pytest.raises(BadInput, match="instance: expected an index >= 0 and < 2"):
            call()
    assert (books.waiting, books.ignored) == ([0, 0], 0)


def test_the_prior_counts_as_one_request() -> None:
    books = Accounting(1)
    assert books.expected_output_tokens() == 256
    books.dispatched(0, 0, 1, 1)
    books.ended(0, 0)
    assert books.expected_output_tokens() == 128


@pytest.mark.parametrize("silence_s", [0, -1.0, math.nan])
def test_a_silence_that_is_none_is_refused(silence_s: float) -> None:
    with pytest.raises(BadInput, match="lost_after_s"):
        Accounting(1).reclaim(1.0, silence_s)


def test_no_instances_and_negative_tokens_are_refused() -> None:
    with pytest.raises(BadInput, match="instance_count"):
        Accounting(0)
    with pytest.raises(BadInput, match="remember"):
        Accounting(1, remember=0)
    with pytest.raises(BadInput, match="new_tokens"):
        Accounting(1).dispatched(0, 0, -1, 5)
    with pytest.raises(BadInput, match="prompt_tokens"):
        Accounting(1).dispatched(0, 0, 1, -5)
