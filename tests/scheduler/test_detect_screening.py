"""The quick readers of the detector agree with each other and with the clear decision."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler import ClusterState, Request, decide, policy
from scheduler.detect_config import DetectConfig
from scheduler.detection import Detector, detect
from scheduler.policies.choosing import observe
from scheduler.policies.rule import Policy
from scheduler.screening import PRODUCTS, Columns, array_reader, list_reader, screen
from scheduler.testing.strategies import policies, situations

SITUATIONS = situations(complete=False, loose=True)


def plain(columns: Columns) -> dict[str, Any]:
    """Every column as a list of Python numbers."""
    found = {name: getattr(columns, name) for name in Columns.__slots__}
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else list(value) if isinstance(value, tuple) else value
        for name, value in found.items()
    }


@given(SITUATIONS, st.sampled_from([*sorted(PRODUCTS), "marginal_delay", "dynamo"]))
def test_both_readers_give_the_same_columns(situation: tuple[ClusterState, Request], name: str) -> None:
    state, request = situation
    by_lists = list_reader(policy(name))(state, request.prompt_tokens)
    by_arrays = array_reader(policy(name))(state, request.prompt_tokens)
    assert plain(by_lists) == plain(by_arrays)
    assert (by_lists.keys is not None) is (name in PRODUCTS)
    if by_lists.keys is None:
        return
    one, other = screen(by_lists, by_lists.keys), screen(by_arrays, by_arrays.keys)
    facts = [{name: getattr(told, name) for name in type(told).__slots__} for told in (one, other)]
    assert facts[0] == facts[1]
    assert {type(value) for value in facts[1].values()} <= {int, type(None)}


@given(SITUATIONS)
def test_the_columns_are_those_of_the_rules(situation: tuple[ClusterState, Request]) -> None:
    state, request = situation
    columns = list_reader(policy("lmetric"))(state, request.prompt_tokens)
    seen = observe(state, request, {})
    assert list(columns.batches) == [x.batch_size for x in seen]
    assert list(columns.news) == [x.new_prefill_tokens for x in seen]
    decided = {name: decide(policy(name), state, request)[0].scores for name in ("lmetric", "marginal_delay")}
    assert (columns.keys, columns.harms) == (decided["lmetric"], decided["marginal_delay"])
    told = screen(columns, columns.keys)
    assert (told.least_harm, told.least_batch) == (min(columns.harms), min(columns.batches))
    assert told.runner_key == (sorted(columns.keys)[1] if len(state) > 1 else None)
    assert (columns.most_running, columns.most_hit) == (max(state.running), max(state.hit_tokens))


@given(situations(loose=True), policies(), st.integers(0, 8))
def test_the_choice_is_that_of_the_clear_decision(
    situation: tuple[ClusterState, Request], chosen: Policy, copies: int
) -> None:
    state, request = situation
    if copies > 5:  # enough instances for the reader by arrays
        state = repeated(state, 40)
    found = detect(state, request, config=DetectConfig(policy=chosen.label))
    if chosen.samples or chosen.rule.name == "random" or draws_before_it_scores(chosen, state, request):
        assert found.choice is None
        return
    decision, _ = decide(chosen, state, request, rng=random.Random(0))
    assert found.choice is not None
    assert found.choice.instance == state.ids[decision.ties[0]]
    assert found.choice.score == decision.scores[decision.instance]
    assert found.choice.margin == decision.margin


def draws_before_it_scores(chosen: Policy, state: ClusterState, request: Request) -> bool:
    """Whether the rule's memory takes a number from the generator, so that nobody can say whom it will take."""
    memory, rng = chosen.rule.memory, random.Random(0)
    if memory is None:
        return False
    before = rng.getstate()
    memory.recall(memory.start(len(state), chosen.knobs), request, state, chosen.knobs, rng)
    return rng.getstate() != before


@pytest.mark.parametrize(
    ("label", "draws"),
    [
        ("power_of_two", True),
        ("polyserve", True),
        ("polyserve:form=polyserve2", False),
        ("ray_prefix_affinity", False),
        ("ray_prefix_affinity:imbalanced_threshold=4", True),
        ("lmetric", False),
    ],
)
def test_a_rule_that_draws_first_has_no_choice(label: str, draws: bool) -> None:
    times = {"prefill_s_per_token": 1e-4, "decode_s_per_request": 1e-5, "base_s": 0.01, "kv_s_per_token": 0.0}
    columns: dict[str, Any] = {
        name: (value,) * 3 for name, value in {**times, "attention_s_per_pair": 0.0, "context_tokens": 9}.items()
    }
    counts: dict[str, Any] = {"running": (1, 2, 3), "waiting": (0, 0, 0), "queued_prefill_tokens": (0, 0, 0)}
    state = ClusterState(ids=("a", "b", "c"), hit_tokens=(0, 32, 0), **counts, **columns)
    request = Request(id=0, arrival_s=0.0, prompt_tokens=64)
    assert draws_before_it_scores(policy(label), state, request) is draws
    found = detect(state, request, config=DetectConfig(policy=label))
    assert (found.choice is None) is draws


def repeated(state: ClusterState, times: int) -> ClusterState:
    """Every instance so many times, under names of their own."""
    changed: dict[str, Any] = {"ids": tuple(f"{name}-{n}" for n in range(times) for name in state.ids)}
    for name in type(state).__struct_fields__:
        if name not in ("ids", "now_s") and getattr(state, name) is not None:
            changed[name] = getattr(state, name) * times
    return msgspec.structs.replace(state, **changed)


@pytest.mark.parametrize("name", ["lmetric", "linear:form=p_token", "sglang_cache_aware", "aibrix_prefix_cache"])
@given(situation=situations(loose=True))
def test_known_keys_and_a_trusted_view_of_lists_change_nothing(
    name: str, situation: tuple[ClusterState, Request]
) -> None:
    state, request = situation
    detector = Detector(DetectConfig(policy=name))
    columns = {field: getattr(state, field) for field in type(state).__struct_fields__}
    view = SimpleNamespace(**{field: list(c) if isinstance(c, tuple) else c for field, c in columns.items()})
    keys = detector.rule_keys(view, request)
    assert detector.look(view, request, keys=keys, trusted=True) == detector.look(state, request)


@given(SITUATIONS)
def test_many_instances_are_looked_at_as_few_are(situation: tuple[ClusterState, Request]) -> None:
    state, request = situation
    few, many = detect(state, request), detect(repeated(state, 40), request)
    assert many.choice is not None
    assert few.choice is not None
    assert many.choice.score == few.choice.score
    same = {found.kind for found in few.findings} ^ {found.kind for found in many.findings}
    assert {kind.value for kind in same} <= {"contested", "stale"}  # a twin is no rival; unseen work is elsewhere too
