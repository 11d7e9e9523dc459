"""Counters against a naive list of open requests, under any order of events."""

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from scheduler import Accounting, BadInput

COUNT = 3
IDS = st.integers(0, 5)
TOKENS = st.integers(-5, 40)


class AgainstAList(RuleBasedStateMachine):
    """Every counter is a sum over the open requests; what cannot be is counted and changes nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.real = Accounting(COUNT)
        self.open: dict[int, dict[str, Any]] = {}
        self.lengths = [256]
        self.ignored = 0

    @rule(key=IDS, instance=st.integers(0, COUNT - 1), new=st.integers(0, 40), prompt=st.integers(1, 40))
    def dispatched(self, key: int, instance: int, new: int, prompt: int) -> None:
        self.real.dispatched(key, instance, new, prompt)
        if key in self.open:
            self.ignored += 1
        else:
            self.open[key] = {"at": instance, "queued": new, "prompt": prompt, "prefill": True}

    @rule(key=IDS)
    def first_token(self, key: int) -> None:
        self.real.first_token(key)
        entry = self.open.get(key)
        if entry is None or not entry["prefill"]:
            self.ignored += 1
        else:
            entry.update(prefill=False, queued=0)

    @rule(key=IDS, output=st.none() | TOKENS)
    def ended(self, key: int, output: int | None) -> None:
        self.real.ended(key, output)
        if self.open.pop(key, None) is None or (output is not None and output < 0):
            self.ignored += 1
        elif output is not None:
            self.lengths.append(output)

    @rule(key=IDS, tokens=TOKENS)
    def corrected(self, key: int, tokens: int) -> None:
        self.real.corrected(key, tokens)
        entry = self.open.get(key)
        if entry is None or not entry["prefill"] or tokens < 0:
            self.ignored += 1
        else:
            entry["queued"] = tokens

    @rule(key=IDS, tokens=TOKENS)
    def progressed(self, key: int, tokens: int) -> None:
        self.real.progressed(key, tokens)
        entry = self.open.get(key)
        if entry is None or not entry["prefill"] or tokens < 0:
            self.ignored += 1
        else:
            entry["queued"] = max(0, entry["queued"] - tokens)

    @rule(key=IDS, tokens=TOKENS)
    def preempted(self, key: int, tokens: int) -> None:
        self.real.preempted(key, tokens)
        entry = self.open.get(key)
        if entry is None or tokens < 0:
            self.ignored += 1
        else:
            entry.update(prefill=True, queued=tokens)

    @invariant()
    def sums_agree(self) -> None:
        for i in range(COUNT):
            mine = [entry for entry in self.open.values() if entry["at"] == i]
            assert self.real.waiting[i] == sum(entry["prefill"] for entry in mine)
            assert self.real.running[i] == sum(not entry["prefill"] for entry in mine)
            assert self.real.queued_prefill_tokens[i] == sum(entry["queued"] for entry in mine)
            assert self.real.context_tokens[i] == sum(entry["prompt"] for entry in mine)
        assert self.real.ignored == self.ignored
        assert self.real.expected_output_tokens() == sum(self.lengths) / len(self.lengths)


TestAgainstAList = AgainstAList.TestCase


@pytest.mark.parametrize("instance", [-1, 2])
def test_an_instance_that_is_not_there_is_refused(instance: int) -> None:
    books = Accounting(2)
    with pytest.raises(BadInput, match="instance: expected an index >= 0 and < 2"):
        books.dispatched(0, instance, 1, 1)
    assert (books.waiting, books.ignored) == ([0, 0], 0)


def test_the_prior_counts_as_one_request() -> None:
    books = Accounting(1)
    assert books.expected_output_tokens() == 256
    books.dispatched(0, 0, 1, 1)
    books.ended(0, 0)
    assert books.expected_output_tokens() == 128


def test_no_instances_and_negative_tokens_are_refused() -> None:
    with pytest.raises(BadInput, match="instance_count"):
        Accounting(0)
    with pytest.raises(BadInput, match="new_tokens"):
        Accounting(1).dispatched(0, 0, -1, 5)
    with pytest.raises(BadInput, match="prompt_tokens"):
        Accounting(1).dispatched(0, 0, 1, -5)
