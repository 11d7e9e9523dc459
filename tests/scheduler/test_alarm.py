"""Thresholds of windows: the least count that alarms, how thresholds are ordered, and what the errors add up to."""

import itertools
import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from scheduler import BadInput, formulas
from scheduler.active_slots import ActiveSlots
from scheduler.alarm import (
    NEVER,
    alarms,
    divergence_nats,
    evidence_nats,
    fluid_imbalance,
    least_alarming,
    least_residents,
    needed_nats,
)
from scheduler.monitor_config import MonitorConfig
from scheduler.ops import SCALAR

SIZES = st.integers(2, 64).flatmap(lambda n: st.tuples(st.integers(1, n - 1), st.just(n)))
NATS = st.sampled_from([0.5, 3.0, 10.0, 19.0])
ALLOWED = st.sampled_from([1.0, 1.25, 2.0])
TOTALS = st.integers(1, 300)


@given(TOTALS, SIZES, NATS, ALLOWED)
def test_from_the_least_count_on_everything_alarms_and_nothing_below(
    total: int, size: tuple[int, int], nats: float, allowed: float
) -> None:
    holders, instances = size
    least = least_alarming(total, holders, instances, nats, allowed)
    alarming = [k for k in range(total + 1) if alarms(k, total, holders, instances, nats, allowed)]
    assert alarming == list(range(least, total + 1)) if least != NEVER else alarming == []


@given(TOTALS, SIZES, NATS, ALLOWED, st.data())
def test_an_alarm_is_above_the_coverage_by_evidence_and_by_flow(
    total: int, size: tuple[int, int], nats: float, allowed: float, data: st.DataObject
) -> None:
    holders, instances = size
    count = data.draw(st.integers(0, total))
    share, coverage = Fraction(count, total), Fraction(holders, instances)
    if share < 1:
        flows = formulas.hot_rate(share, holders, 1), formulas.cold_rate(share, holders, instances, 1)
        divergence = formulas.kl_divergence(SCALAR, share, coverage) if share else 0
        expected = share > coverage and total * divergence >= nats and flows[0] > Fraction(allowed) * flows[1]
    else:
        expected = total * math.log(1 / coverage) >= nats
    assert alarms(count, total, holders, instances, nats, allowed) == expected


@given(TOTALS, SIZES, st.data())
def test_a_count_alarms_up_to_its_own_evidence_and_below_its_own_imbalance(
    total: int, size: tuple[int, int], data: st.DataObject
) -> None:
    holders, instances = size
    count = data.draw(st.integers(total * holders // instances + 1, total))
    evidence = evidence_nats(count, total, holders, instances)
    assert alarms(count, total, holders, instances, evidence, 1.0)
    assert not alarms(count, total, holders, instances, evidence * 1.001, 1.0)
    if count < total:
        imbalance = fluid_imbalance(count / total, holders, instances)
        assert not alarms(count, total, holders, instances, evidence, imbalance)
        assert alarms(count, total, holders, instances, evidence, imbalance * 0.999)


@given(st.integers(1, 99))
def test_the_divergence_reaches_its_limits(percent: int) -> None:
    coverage = percent / 100
    for end, near in ((0.0, 1e-12), (1.0, 1 - 1e-12)):
        assert divergence_nats(end, coverage) == pytest.approx(divergence_nats(near, coverage), rel=1e-6)


@given(TOTALS, SIZES)
def test_share_one_is_the_limit_of_shares_below(total: int, size: tuple[int, int]) -> None:
    holders, instances = size
    near = formulas.kl_divergence(SCALAR, 1 - 1e-12, holders / instances)
    assert evidence_nats(total, total, holders, instances) == pytest.approx(total * near, rel=1e-6)
    assert fluid_imbalance(1, holders, instances) == math.inf


@given(TOTALS, st.integers(2, 40), NATS, ALLOWED)
def test_more_holders_and_longer_windows_ask_for_more_requests(
    total: int, instances: int, nats: float, allowed: float
) -> None:
    leasts = [least_alarming(total, m, instances, nats, allowed) for m in range(1, instances)]
    assert leasts == sorted(leasts)
    one = least_alarming(total, 1, instances, nats, allowed)
    assert one == NEVER or least_alarming(2 * total, 1, instances, nats, allowed) >= one


@given(st.integers(1, 300), st.integers(2, 300), st.integers(0, 60), NATS)
def test_fewer_residents_than_the_least_never_alarm(instances: int, total: int, count: int, nats: float) -> None:
    least = least_residents(instances, nats)
    if count < min(least, total + 1):
        assert all(not alarms(count, total, m, instances, nats, 1.0) for m in range(1, instances))


@given(st.integers(1, 40), st.sampled_from([MonitorConfig(), MonitorConfig(window_max=100, window_min=10)]))
def test_the_least_of_all_thresholds_is_that_of_one_holder(instances: int, config: MonitorConfig) -> None:
    active = ActiveSlots(tuple(range(instances)), config)
    leasts = [least for m in range(1, instances) for _, least in active.row(m)]
    assert active.least == min(leasts, default=NEVER)


@settings(max_examples=40)
@given(st.integers(4, 300), SIZES, st.sampled_from([0.05, 1e-3, 1e-6]))
def test_a_covered_class_alarms_with_less_than_the_error(total: int, size: tuple[int, int], error: float) -> None:
    """Against the binomial distribution itself, at the coverage."""
    holders, instances = size
    least = least_alarming(total, holders, instances, math.log(1 / error), 1.0)
    if least != NEVER:
        assert binom.sf(least - 1, total, holders / instances) <= error


@settings(max_examples=40)
@given(st.integers(4, 200), st.integers(2, 40), st.lists(st.integers(1, 20), min_size=1, max_size=20), st.data())
def test_classes_that_exclude_each_other_count_as_n(
    total: int, instances: int, weights: list[int], data: st.DataObject
) -> None:
    """However many covered classes there are, with whatever holders, all together err by N parts at most."""
    error = 1e-3
    scale = data.draw(st.integers(sum(weights), 3 * sum(weights)))
    chance = 0.0
    for weight in weights:
        share = Fraction(weight, scale)
        enough = max(1, math.ceil(share * instances))  # the fewest holders that cover it: the loudest case
        if enough < instances:
            least = least_alarming(total, enough, instances, math.log(1 / error), 1.0)
            chance += binom.sf(least - 1, total, float(share)) if least != NEVER else 0.0
    assert chance <= instances * error


@given(st.sampled_from([0.01, 0.2]), st.integers(1, 100), st.integers(1, 10_000))
def test_all_tests_together_err_by_the_error(error: float, classes: int, tests: int) -> None:
    assert classes * tests * math.exp(-needed_nats(error, classes, tests)) == pytest.approx(error)


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_windows_halve_down_to_the_shortest(one: int, other: int) -> None:
    longest, shortest = max(one, other), min(one, other)
    windows = MonitorConfig(window_max=longest, window_min=shortest).checked().windows
    assert windows[-1] == longest
    assert all(low == high // 2 for low, high in itertools.pairwise(windows))
    assert windows[0] >= shortest > windows[0] // 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("window_max", 0),
        ("window_min", 4096),
        ("error", 0.0),
        ("error", 0.6),
        ("levels", 0),
        ("imbalance_allowed", 0.5),
        ("imbalance_allowed", math.nan),
        ("union_every", 0),
        ("union_masks", 1.5),
    ],
)
def test_settings_outside_their_domain_are_refused(name: str, value: Any) -> None:
    with pytest.raises(BadInput, match=name):
        MonitorConfig(**{name: value}).checked()


def test_with_one_instance_or_all_as_holders_nothing_alarms() -> None:
    assert least_alarming(100, 1, 1, 1.0, 1.0) == least_alarming(100, 4, 4, 1.0, 1.0) == NEVER
    assert least_alarming(100, 0, 4, 1.0, 1.0) == least_alarming(0, 1, 4, 1.0, 1.0) == NEVER
    assert least_residents(1, 1.0) == ActiveSlots((3,), MonitorConfig()).least == NEVER
