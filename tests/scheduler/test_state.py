"""Values by hand: outcomes, requests, states, reducers, draws, margins, and what SymPy and Z3 are told of a domain."""

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import z3

from proofs.terms import premises
from scheduler import BadInput, ClusterState, Domain, End, Outcome, Request, checked_request
from scheduler.ops import ARRAY, SCALAR, Over
from scheduler.policies.catalogue import policy
from scheduler.policies.choosing import Chooser, _margin, decide
from scheduler.policies.reading import draw
from theory.symbols import symbol


def outcome(end: End = End.FINISHED, **changed: Any) -> Outcome:
    times: dict[str, Any] = {"arrival_s": 2.0, "first_token_s": 5.0, "last_token_s": 11.0, "output_tokens": 4}
    fields = {"prompt_tokens": 9, "cached_tokens": 0, "predicted_hit_tokens": 0, **times, **changed}
    return Outcome(id=0, end=end, instance=0, **fields)


def test_times_of_an_outcome() -> None:
    assert (outcome().ttft_s, outcome().tpot_s, outcome().e2e_s) == (3.0, 2.0, 9.0)
    assert outcome(output_tokens=2).tpot_s == 6.0
    assert outcome(output_tokens=1).tpot_s is None
    assert outcome(first_token_s=None).ttft_s is outcome(first_token_s=None).tpot_s is None
    assert outcome(last_token_s=None).tpot_s is outcome(last_token_s=None).e2e_s is None
    assert outcome(End.FAILED).e2e_s is None


def request(**changed: Any) -> Request:
    return Request(**{"id": 0, "arrival_s": 0.0, "prompt_tokens": 33, "block_tokens": 16, **changed})


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("prompt_tokens", 2**31, 2**31 + 1),
        ("prompt_tokens", 1, 0),
        ("block_tokens", 33, 0),
        ("output_tokens", 1, 0),
        ("expected_output_tokens", 1.5, -1.0),
        ("arrival_s", 1e9, 1.1e9),
        ("arrival_s", 0.0, -0.1),
        ("block_keys", (1, 2, 3), (1, 2, 3, 4)),
    ],
)
def test_limits_of_a_request(name: str, good: Any, bad: Any) -> None:
    checked_request(request(**{name: good}))
    with pytest.raises(BadInput, match=rf"request\.{name}"):
        checked_request(request(**{name: bad}))


def state(**changed: Any) -> ClusterState:
    zeros = dict.fromkeys(("running", "waiting", "queued_prefill_tokens", "hit_tokens"), (0, 0))
    return ClusterState(**{"ids": ("a", "b"), **zeros, **changed})


@pytest.mark.parametrize(
    ("name", "bad"),
    [("running", 3), ("running", [1, 2]), ("ids", ("a", [])), ("ids", (1, 2)), ("ids", 5), ("ids", "ab")],
)
def test_a_state_of_wrong_types_is_refused_by_name(name: str, bad: Any) -> None:
    with pytest.raises(BadInput, match=r"running|id"):
        state(**{name: bad}).checked()


def test_numpy_numbers_become_python_numbers() -> None:
    drawn = state(running=(np.int64(3), 1), prefill_s_per_token=(np.float64(0.5), 0.5))
    checked = drawn.checked()
    assert checked == drawn
    assert checked.prefill_s_per_token is not None
    assert [type(checked.running[0]), type(checked.prefill_s_per_token[0])] == [int, float]
    assert state().checked().ids == ("a", "b")


def test_decide_refuses_what_is_outside_the_domains() -> None:
    rule = policy("lmetric")
    for wrong, one, field in (
        (state(running=(-1, 0)), request(), "running"),
        (state(), request(prompt_tokens=0), "prompt_tokens"),
        (state(hit_tokens=(0, 34)), request(), r"instances\[1\]\.hit_tokens"),
    ):
        with pytest.raises(BadInput, match=field):
            decide(rule, wrong, one)


@pytest.mark.parametrize("text", ["random", "bailian", "lmetric:ties=random", "power_of_two"])
def test_a_rule_that_draws_needs_a_source(text: str) -> None:
    full = state(context_tokens=(0, 0), kv_used_fraction=(0.0, 0.0))
    with pytest.raises(BadInput, match=r"rng: expected a random\.Random"):
        decide(policy(text), full, request(expected_output_tokens=1.0))


def test_a_chooser_names_a_missing_column() -> None:
    with pytest.raises(BadInput, match=r"prefill_s_per_token|decode_s_per_request|expected_output_tokens"):
        Chooser(policy("marginal_delay_offset"), 2, random.Random(0)).choose(state(), request())


@pytest.mark.parametrize("ops", [SCALAR, ARRAY])
def test_reducers_by_hand(ops: Any) -> None:
    values = [1, 2, 6]
    many: Any = [SimpleNamespace(running=value) for value in values]
    over = Over(ops, many if ops is SCALAR else SimpleNamespace(running=np.array(values)))
    assert over.mean(lambda x: x.running) == 3
    assert over.variance(lambda x: x.running) == 7
    assert over.count(lambda x: x.running > 1) == 2
    assert over.spread(lambda x: x.running) == 5
    one: Any = SimpleNamespace(running=np.array([4]))
    assert Over(ops, [SimpleNamespace(running=4)] if ops is SCALAR else one).variance(lambda x: x.running) == 0


def test_draw_by_hand() -> None:
    assert draw([0, 0, 0], [False, True, True], 0.9) == 1
    assert [draw([-5, 1, 3], [True] * 3, uniform) for uniform in (0.0, 0.24, 0.26, 0.999)] == [1, 1, 2, 2]
    assert draw([9, 1], [False, True], 0.0) == 1
    assert draw([9, 1], [False, False], 0.0) == 0


def test_margin_by_hand() -> None:
    assert _margin((2, 3, 4), (True, True, True), 0) == 0.5
    assert _margin((2, 3, 4), (True, False, True), 0) == 1.0
    assert _margin((2, 3, 4), (True, False, False), 0) is None
    assert _margin((2, 3, 4), (False, False, False), 0) == 0.5
    assert _margin((0, 3), (True, True), 0) is None
    assert _margin(((1, 2), (3, 4)), (True, True), 0) is None


def test_premises_are_the_bounds() -> None:
    term, open_domain = z3.Real("t"), Domain(0, 5, low_open=True)
    for value, holds in ((0, False), (0.5, True), (5, True), (6, False)):
        solver = z3.Solver()
        solver.add(*premises(term, open_domain), term == value)
        assert (solver.check() == z3.sat) is holds
    assert symbol("t", open_domain).is_positive is True
    assert symbol("t", Domain(0, 5)).is_positive is None
    assert symbol("t", Domain(0, 5)).is_nonnegative is True
