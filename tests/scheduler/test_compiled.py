"""A compiled rule is the rule: equal keys, and equal choices draw for draw."""

import math
import random
from collections.abc import Mapping
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.errors import BadInput
from scheduler.ops import SCALAR
from scheduler.policies.catalogue import CATALOGUE
from scheduler.policies.choosing import Chooser, decide, observe
from scheduler.policies.compiled import compile_keys, source_of
from scheduler.policies.reading import read
from scheduler.policies.rule import Rule
from scheduler.state import ClusterState, Request
from scheduler.testing.strategies import policies, situations

NAMES = list(CATALOGUE)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25)
@given(drawn=situations(1, 6, loose=True), data=st.data())
def test_compiled_keys_equal_interpreted_keys(
    name: str, drawn: tuple[ClusterState, Request], data: st.DataObject
) -> None:
    state, request = drawn
    rule = data.draw(policies(names=(name,)))
    recalled: Mapping[str, Any] = {}
    if rule.rule.memory is not None:
        memory = rule.rule.memory.start(len(state), rule.knobs)
        recalled = rule.rule.memory.recall(memory, request, state, rule.knobs, random.Random(0))
    keys, eligible = read(rule, SCALAR, observe(state, request, recalled))
    if rule.rule.eligible is not None:
        keys = [(0 if ok else 1, *key) for ok, key in zip(eligible, keys, strict=True)]
    compiled = compile_keys(rule)(
        state, request.prompt_tokens, request.expected_output_tokens, request.block_tokens, recalled
    )
    assert [key if isinstance(key, tuple) else (key,) for key in compiled] == keys


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=10)
@given(drawn=st.lists(situations(4, 4), min_size=1, max_size=8), seed=st.integers(0, 100), data=st.data())
def test_chooser_and_decide_choose_alike_draw_for_draw(
    name: str, drawn: list[tuple[ClusterState, Request]], seed: int, data: st.DataObject
) -> None:
    rule = data.draw(policies(names=(name,)))
    rng, memory = random.Random(seed), None
    chooser = Chooser(rule, 4, random.Random(seed))
    for state, request in sorted(drawn, key=lambda pair: pair[1].arrival_s):
        decision, memory = decide(rule, state, request, memory=memory, rng=rng)
        assert chooser.choose(state, request, request.expected_output_tokens) == decision.instance
        assert chooser.rng.getstate() == rng.getstate()
        assert chooser.memory == memory


@pytest.mark.parametrize("name", NAMES)
def test_a_view_may_hold_lists(name: str) -> None:
    class View:
        running, waiting, queued_prefill_tokens, hit_tokens = [2, 0], [0, 0], [0, 0], [0, 0]
        context_tokens, kv_used_fraction, active_blocks, added_blocks = [9, 0], [0.1, 0.0], [2, 0], [1, 1]
        prefill_s_per_token, decode_s_per_request = [1e-4, 1e-4], [1e-5, 1e-5]
        base_s, kv_s_per_token, attention_s_per_pair = [0.01, 0.01], [1e-8, 1e-8], [1e-9, 1e-9]

    chooser = Chooser(CATALOGUE[name].with_knobs(), 2, random.Random(0))
    assert chooser.choose(View(), Request(id=0, arrival_s=0.0, prompt_tokens=64), 10.0) in (0, 1)


def test_a_shared_operation_is_written_once() -> None:
    source = source_of(CATALOGUE["lmetric"].with_knobs())
    assert source.count("prompt_tokens - ") == 1
    assert source.count(" for ") == 1


def test_a_rule_that_branches_on_an_indicator_is_refused() -> None:
    rule = Rule("bad", "", "", lambda _ops, x, _aggregates, _knobs: 1 if x.running > 2 else 0)
    with pytest.raises(TypeError, match=r"use ops\.where"):
        compile_keys(rule.with_knobs())


@pytest.mark.parametrize("key", [lambda x: x.running == 0, lambda x: x.running != 0])
def test_a_rule_that_compares_by_python_equality_is_refused(key: Any) -> None:
    with pytest.raises(TypeError, match=r"use ops\.(eq|not_)"):
        compile_keys(Rule("bad", "", "", lambda _ops, x, _aggregates, _knobs: key(x)).with_knobs())


def test_constants_of_every_kind_compile_and_unequal_columns_do_not_pass() -> None:
    rule = Rule("constants", "", "", lambda o, x, _a, _k: (x.running * Fraction(1, 3), o.min_(x.waiting, math.inf)))
    keys = compile_keys(rule.with_knobs())
    assert keys(SimpleNamespace(running=[1], waiting=[2]), 1, None, 1, {}) == [(Fraction(1, 3), 2)]
    with pytest.raises(BadInput, match="unequal lengths"):
        keys(SimpleNamespace(running=[1, 2], waiting=[2]), 1, None, 1, {})
