"""What the monitor promises, against exact distributions and the monitor that runs."""

import json
import math
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import binom, poisson

from scheduler import BadInput, formulas
from scheduler.alarm import NEVER, least_alarming
from scheduler.monitor import Monitor, MonitorConfig
from scheduler.ops import SCALAR
from theory.monitoring import alarm_promise

SIZES = st.integers(2, 64).flatmap(lambda n: st.tuples(st.integers(1, n - 1), st.just(n)))
SHARES = st.integers(1, 40).map(lambda part: Fraction(part, 41))
#: Quick to alarm, so that few requests say something.
QUICK = MonitorConfig(window_max=64, window_min=16, error=0.5, levels=1, union_every=2**20, hold=False)


def tail(window: int, count: int, share: Fraction) -> Fraction:
    """P(count or more of the class), term by term."""
    terms = (math.comb(window, k) * share**k * (1 - share) ** (window - k) for k in range(count, window + 1))
    return sum(terms, Fraction(0))


@given(st.integers(2, 14), SHARES, SHARES, st.integers(1, 14))
def test_up_to_the_coverage_the_chance_of_an_alarm_is_below_its_chord(
    window: int, share: Fraction, coverage: Fraction, count: int
) -> None:
    assume(share <= coverage and count - 1 >= coverage * (window - 1))
    assert tail(window, count, share) <= share / coverage * tail(window, count, coverage)


def test_a_threshold_nearer_to_the_coverage_would_not_do() -> None:
    """One request of two: the chance bends downwards."""
    assert tail(2, 1, Fraction(1, 4)) > Fraction(1, 2) * tail(2, 1, Fraction(1, 2))


@given(st.integers(1, 4000), SIZES, st.sampled_from([1.0, 3.0, 15.0]))
def test_the_thresholds_of_the_monitor_lie_beyond_the_coverage(window: int, size: tuple[int, int], more: float) -> None:
    """With more than ``ln N`` of evidence, which the split of the error over N classes asks for anyway."""
    holders, instances = size
    least = least_alarming(window, holders, instances, math.log(instances) + more, 1.0)
    assert least == NEVER or (least - 1) * instances >= holders * (window - 1)


class Stream:
    """A monitor that is fed requests which are of one class or of none."""

    def __init__(self, instances: int, config: MonitorConfig = QUICK) -> None:
        self.monitor, self.active = Monitor(config), tuple(range(instances))

    def alarms(self, of_class: bool, holders: int, slot: int = 0) -> Any:
        """The class as a suspect, or None."""
        path = self.monitor.arrived((1, 2, 3) if of_class else (), 16, 56)
        found = self.monitor.suspects(path, lambda key: (1 << holders) - 1, self.active)
        self.monitor.decided(path, slot)
        return found[0] if found else None


@given(
    st.integers(2, 12),
    st.integers(1, 3),
    st.lists(st.tuples(st.sampled_from([True, True, False]), st.integers(0, 9)), min_size=60, max_size=150),
)
def test_an_alarm_under_changing_holders_is_one_with_the_fewest_of_them(
    instances: int, fewest: int, requests: list[Any]
) -> None:
    fewest = min(fewest, instances - 1)
    changing, fixed = Stream(instances), Stream(instances)
    for of_class, more in requests:
        seen = changing.alarms(of_class, min(fewest + more, instances))
        assert fixed.alarms(of_class, fewest) is not None or seen is None


@given(
    st.integers(2, 12),
    st.lists(st.booleans(), max_size=80),
    st.lists(st.sampled_from([True, True, True, False]), min_size=16, max_size=64),
)
def test_enough_requests_since_a_step_alarm_whatever_came_before(
    instances: int, before: list[bool], since: list[bool]
) -> None:
    stream = Stream(instances)
    for of_class in before:
        stream.alarms(of_class, 1)
    answers = [stream.alarms(of_class, 1) for of_class in since]
    leasts = dict(stream.monitor._active.row(1))
    alarmed = [answer is not None for answer, of_class in zip(answers, since, strict=True) if of_class]
    if any(w >= len(since) and sum(since) >= least for w, least in leasts.items()):
        assert alarmed[-1]


@settings(max_examples=60)
@given(SIZES, st.sampled_from([1.5, 2.0, 4.0, 8.0]), st.sampled_from([0.1, 0.01]))
def test_the_promise_holds_by_the_binomial_distribution_itself(
    size: tuple[int, int], imbalance: float, miss: float
) -> None:
    holders, instances = size
    odds = imbalance * holders / (instances - holders)
    share = odds / (1 + odds)
    promise = alarm_promise(share, holders, instances, miss)
    if promise is not None:
        assert promise.threshold <= promise.requests <= promise.window
        assert binom.cdf(promise.threshold - 1, promise.requests, share) <= miss


@pytest.mark.parametrize(("share", "holders", "instances"), [(0.5, 1, 16), (0.4, 1, 8), (0.6, 4, 16), (0.3, 8, 64)])
def test_the_alarm_comes_within_the_promise(share: float, holders: int, instances: int) -> None:
    """Of 60 runs with a chance of 1% each, four late ones have a chance below 1 in 200; the bound is far from tight."""
    promise = alarm_promise(share, holders, instances, 0.01)
    assert promise is not None
    rng, late = random.Random(holders), 0
    for _ in range(60):
        stream = Stream(instances, MonitorConfig(hold=False))
        for _ in range(100):
            stream.alarms(False, holders)
        late += not any(stream.alarms(rng.random() < share, holders) for _ in range(promise.requests))
    assert late <= 3


def test_the_saved_delays_are_within_their_promise() -> None:
    """Each run is late with a chance of 1%; of all runs with a promise, 1 in 1000 times more are late than this."""
    path = Path(__file__).parents[2] / "benchmarks" / "results" / "detector_quality.json"
    saved = json.loads(path.read_text(encoding="utf-8"))
    rows = [row for row in saved["rows"] if row["promised_requests_p99"] is not None]
    assert len(rows) >= 12
    for row in rows:
        promise = alarm_promise(_share(row), row["holders"], row["instances"])
        assert promise is not None
        assert promise.requests == row["promised_requests_p99"]
    late = sum(row["missed"] or row["delay_requests"]["max"] > row["promised_requests_p99"] for row in rows)
    assert late <= binom.ppf(0.999, sum(row["runs"] for row in rows), 0.01)
    budget_per_100k = 1e5 * MonitorConfig().error / MonitorConfig().window_max
    assert max(saved["false_alarms_per_100k_requests"]["independent"].values()) <= budget_per_100k


def _share(row: Any) -> float:
    odds = row["imbalance"] * row["holders"] / (row["instances"] - row["holders"])
    return float(odds / (1 + odds))


@given(st.sampled_from([0.3, 2.0, 9.0]), st.sampled_from([0.4, 5.0]), st.integers(1, 20), st.data())
def test_residents_given_their_total_are_binomial(hot: float, other: float, total: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, total))
    given_total = poisson.pmf(count, hot) * poisson.pmf(total - count, other) / poisson.pmf(total, hot + other)
    assert given_total == pytest.approx(binom.pmf(count, total, hot / (hot + other)), rel=1e-9)


def test_a_confirmation_comes_after_its_alarm_and_takes_its_run() -> None:
    """All traffic is of the class: from the alarm on the run grows by one a request while the rule takes a holder."""
    stream, run = Stream(16), []
    for _ in range(100):
        found = stream.alarms(True, 2, slot=1)
        run.append(None if found is None else found.streak)
    first = run.index(0)
    assert run == [None] * first + list(range(100 - first))
    assert stream.alarms(True, 2, slot=5).streak == 100 - first  # the rule took another
    assert stream.alarms(True, 2).streak == 0


@pytest.mark.parametrize("chance", [0.8, 0.95])
def test_the_mean_wait_for_a_confirmation_is_that_of_the_run(chance: float) -> None:
    """Two holders, a run of four; 600 waits, four standard errors."""
    rng, share, waits, last = random.Random(3), 0.7, list[int](), 0
    stream = Stream(16, MonitorConfig(window_max=256, union_every=2**20))
    for _ in range(400):
        stream.alarms(rng.random() < share, 2, slot=9)  # in alarm, never on a holder
    number = 0
    while len(waits) < 600:
        number += 1
        found = stream.alarms(rng.random() < share, 2, slot=0 if rng.random() < chance else 9)
        streak = None if found is None else stream.monitor._tree.root.children[1].streak
        if streak == 4:
            waits.append(number - last)
            last = number
            stream.monitor._tree.root.children[1].streak = 0
    mean = sum(waits) / len(waits)
    error = math.sqrt(sum((wait - mean) ** 2 for wait in waits) / len(waits) ** 2)
    expected = formulas.run_wait(chance, formulas.run_chance(chance, 4)) / share
    assert abs(mean - expected) <= 4 * error


def test_the_evidence_falls_with_every_further_holder() -> None:
    for share in (0.3, 0.6, 0.9):
        evidence = [float(formulas.kl_divergence(SCALAR, share, m / 16)) for m in range(1, 16) if m / 16 < share]
        assert evidence == sorted(evidence, reverse=True)


@pytest.mark.parametrize("bad", [(0.0, 1, 4), (1.0, 1, 4), (0.5, 0, 4), (0.5, 4, 4), (0.5, 1, 4, 0.0)])
def test_numbers_outside_their_domain_are_refused(bad: Any) -> None:
    with pytest.raises(BadInput):
        alarm_promise(*bad)
