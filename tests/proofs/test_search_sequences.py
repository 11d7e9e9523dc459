"""Sequences that drive a rule to an imbalance, run again by the shipped accounting."""

from __future__ import annotations

import dataclasses
import random

import pytest

from proofs.search import SequenceQuestion, Verdict, rule_named, search, sequence_twin
from proofs.search.arrivals import Step, run_steps
from proofs.search.solver import Budget
from scheduler import Accounting, BadInput, ClusterState, Request, decide


@pytest.mark.parametrize("rule", ["lmetric", "linear", "most_hit", "aibrix_prefix_cache"])
def test_a_sequence_leads_where_it_says_when_it_is_run_by_hand(rule: str) -> None:
    question = SequenceQuestion(rule_named(rule), instances=2, gap=4)
    answer = search(question)
    books = Accounting(2)
    holders: set[int] = set()
    waiting: list[tuple[int, bool, int]] = []
    for number, (caught_up, hot, instance) in enumerate(answer.best.steps):
        if caught_up:
            for entry, was_hot, place in waiting:
                books.first_token(entry)
                holders |= {place} if was_hot else set()
            waiting = []
        hits = tuple(1024 if hot and index in holders else 0 for index in range(2))
        state = ClusterState(
            ids=("a", "b"),
            running=tuple(books.running),
            waiting=tuple(books.waiting),
            queued_prefill_tokens=tuple(books.queued_prefill_tokens),
            hit_tokens=hits,
        )
        request = Request(id=number, arrival_s=0.0, prompt_tokens=1088, block_tokens=16)
        decision, _ = decide(question.rule, state, request, rng=random.Random(0))
        assert instance in decision.ties
        books.dispatched(number, instance, 1088 - hits[instance], 1088)
        waiting.append((number, hot, instance))
    loads = [r + w for r, w in zip(books.running, books.waiting, strict=True)]
    assert max(loads) - min(loads) >= 4
    assert (answer.best.file.state.running, answer.best.file.state.waiting) == (
        tuple(books.running),
        tuple(books.waiting),
    )


def test_no_shorter_sequence_does_it() -> None:
    answer = search(SequenceQuestion(rule_named("lmetric"), gap=4))
    fewer = SequenceQuestion(rule_named("lmetric"), gap=4, arrivals=answer.best.size - 1)
    assert search(fewer).verdict is Verdict.NONE


def test_the_shortest_queue_is_never_two_apart() -> None:
    answer = search(SequenceQuestion(rule_named("join_shortest_queue"), gap=2, arrivals=8))
    assert (answer.verdict, answer.states) == (Verdict.NONE, ())


def test_a_claimed_step_that_the_rule_does_not_take_is_noticed() -> None:
    question = SequenceQuestion(rule_named("lmetric"), gap=2)
    found = search(question).best
    steps = [Step(*step) for step in found.steps]
    assert run_steps(question, steps) is not None
    wrong = [*steps[:-1], dataclasses.replace(steps[-1], instance=1 - steps[-1].instance)]
    assert run_steps(question, wrong) is None
    assert run_steps(question, steps[:1]) is None


def test_the_same_arrivals_without_pauses_leave_the_loads_level() -> None:
    question = SequenceQuestion(rule_named("lmetric"), gap=4)
    found = search(question).best
    twin = sequence_twin(Budget(20), question, found)
    assert twin is not None
    loads = [r + w for r, w in zip(twin.state.running, twin.state.waiting, strict=True)]
    assert sum(loads) == found.size
    assert max(loads) - min(loads) <= 1
    assert twin.traffic[0].holders == (0, 1)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"instances": 1}, "instances"),
        ({"arrivals": 0}, "arrivals"),
        ({"gap": 0}, "gap"),
        ({"imbalance": 0.5}, "imbalance"),
        ({"prefix_tokens": 2000}, "prefix_tokens"),
        ({"rule": rule_named("dynamo")}, "rule"),
        ({"rule": rule_named("sglang_cache_aware")}, "rule"),
    ],
)
def test_bad_questions_name_what_is_wrong(changes: dict[str, object], named: str) -> None:
    with pytest.raises(BadInput, match=named):
        SequenceQuestion(**{"rule": rule_named("lmetric"), **changes})  # type: ignore[arg-type]
