"""Arrays over states, solver terms and the scheduler agree on who is taken; drawn knobs change nothing about that."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings

from proofs.search import Question, Verdict, rule_named, search
from proofs.search.conditions import takes
from proofs.search.enumeration import enumerate_states, states_of_size
from proofs.search.replaying import choice
from proofs.search.situation import consistent, indicators, situation, state_file, variables
from proofs.search.solver import Budget
from proofs.search.worlds import STATES
from scheduler.policies.catalogue import CATALOGUE
from scheduler.policies.reading import read
from scheduler.policies.rule import Policy
from scheduler.testing import strategies

DRAWING = ("bailian", "polyserve", "power_of_two", "random")
ASKED = ("preble", "aibrix_conductor")
READ = [name for name in CATALOGUE if name not in (*DRAWING, *ASKED)]


def drawn_states(asked: Question, count: int) -> Any:
    """Small states at random, for rules that read so many engine times that they cannot all be listed."""
    rng = np.random.default_rng(0)
    columns = [
        rng.integers(v.low, (min(v.high, v.low + 3) if v.counted else v.high) + 1, count) for v in variables(asked)
    ]
    return np.column_stack(columns)


@pytest.mark.parametrize("name", READ)
def test_arrays_over_states_choose_as_the_scheduler_does(name: str) -> None:
    other = "least_p_token" if name == "lmetric" else "lmetric"
    asked = Question(rule_named(name), against=rule_named(other), cost=rule_named("lmetric"))
    names = variables(asked)
    rows = states_of_size(asked, 7, 10**6)
    if rows is None:
        rows = drawn_states(asked, 5000)
    rows = rows[random.Random(0).sample(range(len(rows)), min(len(rows), 5000))]
    seen = situation(STATES, asked, {v.name: rows[:, i].astype(np.float64) for i, v in enumerate(names)})
    fitting = np.ones(len(rows), dtype=bool)
    for condition in consistent(STATES, asked, seen):
        fitting &= condition
    keys, eligible = read(asked.rule, STATES, indicators(STATES, asked.rule, seen))
    taken = [np.broadcast_to(takes(STATES, keys, eligible, index), len(rows)) for index in range(2)]
    assert fitting.sum() > 5
    for row in np.flatnonzero(fitting)[:300]:
        file = state_file(asked, {v.name: int(value) for v, value in zip(names, rows[row], strict=True)})
        expected = choice(asked.rule, file)
        assert [bool(column[row]) for column in taken] == [expected == 0, expected == 1]


@given(strategies.policies(names=("linear", "dynamo", "dynamo_two_tier", "aibrix_prefix_cache", "load_aware")))
@settings(max_examples=10)
def test_with_any_knobs_what_is_found_replays_and_is_smallest(policy: Policy) -> None:
    assume(not policy.samples)
    asked = Question(policy, max_size=24)
    answer = search(asked, time_limit_s=20)
    for found in answer.states:
        assert choice(policy, found.file) == found.chosen != choice(rule_named("lmetric"), found.file) == found.other
        assert found.regret is None or found.regret >= Fraction(1)
    if answer.how.startswith("solver: optimal"):
        listed = enumerate_states(Budget(5), Question(policy, max_size=min(9, answer.best.size)))
        assert all(found.size == answer.best.size for found in listed.states)
    if answer.verdict is Verdict.NONE:
        assert enumerate_states(Budget(5), Question(policy, max_size=8)).states == ()
