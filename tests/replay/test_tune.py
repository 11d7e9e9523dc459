"""Laws of tuning: the best is never worse than the default, a curve passes through both, processes do not matter."""

from __future__ import annotations

import itertools
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.experiment import Plan, run_one
from replay.objectives import OBJECTIVES
from replay.sim.cluster import roofline_cluster
from replay.sweep_axes import axes_of, beyond, goes_on, tunable
from replay.tune import regret, tune
from replay.tune_search import BEYOND_MAX
from replay.workloads import parse_workload
from scheduler.domains import Domain
from scheduler.errors import BadInput
from scheduler.policies.catalogue import CATALOGUE, policy
from scheduler.state import Request

PLAN = Plan((), (0, 1), roofline_cluster(3))


@cache
def requests_of(seed: int) -> list[Request]:
    workload, values = parse_workload("workload:chat:requests=120,rate_per_s=6")
    return list(workload.generate(seed, **values))


def one_token(seed: int) -> list[Request]:
    return [Request(id=i, arrival_s=i, prompt_tokens=10, output_tokens=1) for i in range(3)]


@pytest.mark.parametrize("objective", list(OBJECTIVES))
def test_the_best_is_never_worse_than_the_default(objective: str) -> None:
    found = tune("vllm_v1", requests_of, PLAN, objective=objective)
    values = [point.objective for point in found.points]
    assert None not in values
    assert found.best.objective == (max if OBJECTIVES[objective].more else min)(values)  # type: ignore[type-var]
    assert found.regret is not None
    assert found.regret >= 0
    assert found.default.policy == "vllm_v1"


def test_a_point_is_what_a_replay_of_its_policy_gives() -> None:
    found = tune("load_aware", requests_of, PLAN, values={"beta": ["0.5", 3]})
    assert [dict(point.values) for point in found.points] == [{"beta": 1.0}, {"beta": 0.5}, {"beta": 3}]
    for point in found.points:
        again = [run_one(point.policy, requests_of(seed), PLAN, seed).summary for seed in PLAN.seeds]
        assert [summary.ttft_s for summary in point.summaries] == [summary.ttft_s for summary in again]
        assert point.objective == sum(summary.ttft_s.mean or 0 for summary in again) / 2


def test_two_knobs_are_run_on_the_whole_grid() -> None:
    found = tune("linear", requests_of, PLAN, values={"weight": (0.2, 0.7, 0.9)})
    assert len(found.points) == 3 * 2
    assert {name: len(curve) for name, curve in found.curves.items()} == {"weight": 3, "form": 2}
    for name, curve in found.curves.items():
        assert found.best in curve
        others = {key for key in found.curves if key != name}
        assert all(point.values[key] == found.best.values[key] for point in curve for key in others)


def test_more_knobs_are_swept_one_after_the_other_to_a_best_along_every_axis() -> None:
    found = tune("bailian_argmax", requests_of, PLAN)
    assert found.settled
    assert len(found.points) < 8 * 3 * 3
    for name, curve in found.curves.items():
        swept = published(name)
        within = [point.values[name] for point in curve if swept[0] <= point.values[name] <= swept[-1]]
        assert within == sorted({0.15 if name != "alpha" else 0.7, *swept})
        assert len(curve) - len(within) <= 2 * BEYOND_MAX
        assert all((found.best.objective or 0) <= (point.objective or 0) for point in curve)


def published(name: str) -> tuple[float, ...]:
    return next(knob.sweep for knob in CATALOGUE["bailian_argmax"].knobs if knob.name == name)


@pytest.mark.parametrize("rule", ["vllm_v1", "linear", "dualmap", "bailian_argmax"])
@pytest.mark.parametrize("objective", ["ttft_mean", "tpot_mean"])
def test_a_best_value_lies_at_no_end_past_which_it_gets_better(rule: str, objective: str) -> None:
    found = tune(rule, requests_of, PLAN, objective=objective)
    assert found.settled
    before = axes_of(rule)
    for name, curve in found.curves.items():
        axis = tuple(point.values[name] for point in curve)
        if not goes_on(axis):
            assert axis == before[name]
            continue
        assert list(axis) == sorted(axis)
        for upper, end, beside in ((False, curve[0], curve[1]), (True, curve[-1], curve[-2])):
            tried = sum(value > before[name][-1] if upper else value < before[name][0] for value in axis)
            domain = next(knob.domain for knob in CATALOGUE[rule].knobs if knob.name == name)
            closed = domain is None or beyond(domain, axis, upper=upper) is None
            equal = end.objective == beside.objective
            assert end is not found.best or equal or closed or tried == BEYOND_MAX


def test_a_sweep_goes_past_its_end_unless_the_caller_gave_its_values() -> None:
    given = axes_of("dualmap")
    wide = tune("dualmap", requests_of, PLAN, objective="tpot_mean")
    narrow = tune("dualmap", requests_of, PLAN, objective="tpot_mean", values=given)
    assert all({point.values[name] for point in narrow.points} <= set(axis) for name, axis in given.items())
    assert wide.best.values["budget_tokens"] > given["budget_tokens"][-1]
    assert (wide.best.objective or 0) < (narrow.best.objective or 0)


@given(
    low=st.sampled_from([0, 1, -5]),
    high=st.one_of(st.none(), st.integers(6, 50)),
    integer=st.booleans(),
    low_open=st.booleans(),
    upper=st.booleans(),
    data=st.data(),
)
def test_the_next_value_lies_past_the_end_and_within_the_domain(
    *, low: int, high: int | None, integer: bool, low_open: bool, upper: bool, data: st.DataObject
) -> None:
    domain = Domain(low, high, integer=integer, low_open=low_open)
    numbers = (
        st.integers(low, high) if integer else st.floats(low, high, allow_nan=False, allow_infinity=False, width=32)
    )
    axis = sorted(data.draw(st.sets(numbers.filter(domain.contains), min_size=2, max_size=6)))
    further = beyond(domain, axis, upper=upper)
    if further is not None:
        assert domain.contains(further)
        assert further > axis[-1] if upper else further < axis[0]
    elif high is None:  # without a bound there is always a next value, but for numbers too close for four digits
        assert not upper or axis[-1] - axis[-2] < 0.001 * abs(axis[-1]) or axis[-1] > 1e300


@pytest.mark.parametrize("domain", [Domain(0, 11, integer=True), Domain(1, None, integer=True)])
def test_of_whole_numbers_there_is_a_next_one_up_to_the_bound(domain: Domain) -> None:
    for least, greatest in itertools.combinations(range(int(domain.low), 12), 2):
        for upper, beside in ((True, greatest + 1), (False, least - 1)):
            further = beyond(domain, (least, greatest), upper=upper)
            assert (further is not None) == domain.contains(beside), (least, greatest, upper)


def test_published_sweeps_of_numbers_ascend_after_none() -> None:
    sweeps = [
        (knob.name, knob.sweep) for rule in CATALOGUE.values() for knob in rule.knobs if knob.domain and knob.sweep
    ]
    assert len(sweeps) > 30
    for name, sweep in sweeps:
        numbers = [value for value in sweep if value is not None]
        assert numbers == sorted(set(numbers)), name
        assert sweep in (tuple(numbers), (None, *numbers)), name


def test_values_of_the_caller_are_put_in_order() -> None:
    assert axes_of("load_aware", values={"beta": (4, 1, 0.5)}) == {"beta": (0.5, 1, 4)}
    values = {"kappa": (64, "none", 16)}
    assert axes_of("marginal_delay_offset", ["kappa"], values) == {"kappa": (None, 16, 64)}


def test_a_sweep_with_none_goes_past_its_numbers_too() -> None:
    found = tune("preble", requests_of, PLAN, objective="tpot_mean", knobs=["prefill_s_per_token"])
    swept = axes_of("preble", ["prefill_s_per_token"])["prefill_s_per_token"]
    tried = tuple(point.values["prefill_s_per_token"] for point in found.curves["prefill_s_per_token"])
    assert (swept[0], tried[: len(swept)]) == (None, swept)
    assert len(tried) > len(swept)


@pytest.mark.parametrize("objective", ["ttft_mean", "tpot_mean"])
def test_a_search_that_is_stopped_names_no_open_end_and_keeps_its_best(
    objective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("replay.tune_search.ROUNDS_MAX", 1)
    found = tune("dualmap", requests_of, PLAN, objective=objective)
    values = [point.objective or 0.0 for point in found.points]
    assert found.best.objective == (max if OBJECTIVES[objective].more else min)(values)
    assert not found.settled
    assert found.open_ends == ()


def test_the_number_of_processes_does_not_matter() -> None:
    told: list[tuple[int, int]] = []
    one = tune("vllm_v1", requests_of, PLAN, progress=lambda done, known: told.append((done, known)))
    two = tune("vllm_v1", requests_of, PLAN, jobs=2)
    assert [(p.policy, p.objective) for p in one.points] == [(p.policy, p.objective) for p in two.points]
    assert one.best.policy == two.best.policy
    assert told[-1][0] == told[-1][1] == len(one.points) * len(PLAN.seeds)
    assert [done for done, _ in told] == list(range(1, len(told) + 1))


def test_a_knob_the_caller_fixed_stays() -> None:
    found = tune("bailian:gamma=0", requests_of, PLAN, values={"alpha": (0.3, 0.7)}, knobs=["alpha"])
    assert found.default.policy == "bailian:gamma=0.0"
    assert {point.policy for point in found.points} == {"bailian:gamma=0.0", "bailian:alpha=0.3,gamma=0.0"}


def test_every_policy_text_means_what_was_run() -> None:
    found = tune("marginal_delay_offset", requests_of, PLAN, values={"kappa": ("none", 64)}, knobs=["kappa"])
    assert [policy(point.policy).values["kappa"] for point in found.points] == [None, 64]


def test_regret_is_relative_to_the_best() -> None:
    assert regret(3.0, 2.0) == 0.5
    assert regret(0.5, 1.0) == 0.5
    assert regret(None, 1.0) is None
    assert regret(1.0, 0.0) is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"rule": "lmetric"}, "a rule with knobs to sweep"),
        ({"rule": "join_shortest_queue"}, ", ".join(tunable())),
        ({"rule": "load_aware:beta=2"}, "a rule with knobs to sweep"),
        ({"rule": "bailan"}, "nearest: bailian"),
        ({"rule": "bailian", "knobs": ["alhpa"]}, "nearest: alpha"),
        ({"rule": "bailian", "values": {"alpha": [float("nan")]}}, "bailian:alpha"),
        ({"rule": "bailian", "values": {"alpha": ["much"]}}, "much"),
        ({"rule": "bailian", "values": {"alpha": []}}, "values to try"),
        ({"rule": "bailian:alpha=1", "knobs": ["alpha"]}, "does not fix"),
        ({"rule": "bailian", "objective": "ttft"}, "nearest: ttft"),
    ],
)
def test_bad_input_is_named(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(BadInput) as caught:
        tune(requests_of=requests_of, plan=PLAN, **arguments)  # type: ignore[arg-type]
    assert said in str(caught.value)


def test_an_objective_nobody_has_is_bad_input() -> None:
    with pytest.raises(BadInput, match="objective"):
        tune("load_aware", one_token, PLAN, objective="tpot_mean")


def test_among_equal_points_the_first_tried_is_the_best() -> None:
    # On a single instance every knob is idle. The default is tried first, wherever it lies in a sweep.
    alone = Plan((), (0,), roofline_cluster(1))
    grid = tune("load_aware", requests_of, alone, values={"beta": (0.5, 1, 2)})
    assert [dict(point.values)["beta"] for point in grid.points] == [1.0, 0.5, 2.0]
    assert len({point.objective for point in grid.points}) == 1
    assert (grid.best, grid.regret) == (grid.default, 0)
    descent = tune("bailian_argmax", requests_of, alone)
    assert len(descent.curves) > 2
    assert descent.settled
    assert (descent.best, descent.regret) == (descent.default, 0)
