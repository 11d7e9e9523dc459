"""The promise of an alarm's window against the binomial distribution itself."""

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from scheduler import formulas
from scheduler.errors import BadInput
from scheduler.ops import SCALAR
from theory.windows import alarm_window, exact_errors, exact_window

COVERAGES = st.integers(2, 64).flatmap(lambda n: st.integers(1, n - 1).map(lambda m: Fraction(m, n)))
SHARES = st.integers(1, 40).map(lambda part: Fraction(part, 41))
ERRORS = st.sampled_from([0.2, 0.05, 0.01, 1e-3, 1e-6])
DISTANCES = st.sampled_from([0.03, 0.05, 0.1, 0.2, 0.3])


def possible(eps: float, coverage: Fraction) -> bool:
    return Fraction(repr(eps)) <= max(coverage, 1 - coverage)


def upper_tail(window: int, needed: int, share: Fraction) -> Fraction:
    """P(needed successes or more), term by term."""
    terms = (math.comb(window, k) * share**k * (1 - share) ** (window - k) for k in range(max(needed, 0), window + 1))
    return sum(terms, Fraction(0))


@settings(max_examples=60)
@given(COVERAGES, DISTANCES, ERRORS, st.integers(0, 40))
def test_false_alarms_and_misses_stay_within_the_error(c: Fraction, eps: float, error: float, more: int) -> None:
    assume(possible(eps, c))
    window = alarm_window(eps, error, c).units + more
    assert max(exact_errors(window, eps, c)) <= error


@given(COVERAGES, DISTANCES, ERRORS, st.integers(0, 20))
def test_shares_farther_away_are_told_apart_too(c: Fraction, eps: float, error: float, steps: int) -> None:
    assume(possible(eps, c))
    window = alarm_window(eps, error, c).units
    needed = math.ceil(c * window)
    safe, unsafe = float(c) - eps - steps * 0.02, float(c) + eps + steps * 0.02
    if safe > 0:
        assert binom.sf(needed - 1, window, safe) <= error
    if unsafe < 1:
        assert binom.cdf(needed - 1, window, unsafe) <= error


@given(COVERAGES, DISTANCES, ERRORS)
def test_the_window_is_the_smallest_the_bound_promises(c: Fraction, eps: float, error: float) -> None:
    assume(possible(eps, c))
    found = alarm_window(eps, error, c)
    divergence = min(found.false_alarm_divergence, found.miss_divergence)
    assert math.exp(-found.units * divergence) <= error * (1 + 1e-12)
    assert found.units == 1 or math.exp(-(found.units - 1) * divergence) > error * (1 - 1e-9)


@given(st.integers(0, 10), st.integers(-2, 12), SHARES, st.fractions(1, 9, max_denominator=7))
def test_chernoffs_bound_holds_at_every_tilt(window: int, needed: int, share: Fraction, tilt: Fraction) -> None:
    bound = formulas.tilted_mean(share, tilt) ** window / tilt**needed
    assert upper_tail(window, needed, share) <= bound


@given(SHARES, SHARES, st.integers(1, 400))
def test_the_best_tilt_gives_the_divergence(share: Fraction, c: Fraction, window: int) -> None:
    assume(share < c)
    tilt = formulas.best_tilt(c, share)
    log_of_bound = window * math.log(formulas.tilted_mean(share, tilt)) - float(c * window) * math.log(tilt)
    assert log_of_bound == pytest.approx(-window * formulas.kl_divergence(SCALAR, c, share), rel=1e-9)
    assert binom.sf(math.ceil(c * window) - 1, window, float(share)) <= math.exp(log_of_bound) * (1 + 1e-9)


def test_threshold_and_truth_must_not_be_exchanged() -> None:
    c, share, window = 1 / 16, 0.2625, 64
    miss = binom.cdf(math.ceil(c * window) - 1, window, share)
    assert miss <= math.exp(-window * formulas.kl_divergence(SCALAR, c, share))
    rare, often = 0.02, 0.9
    wrong = math.exp(-formulas.kl_divergence(SCALAR, often, rare))
    assert binom.cdf(0, 1, often) > wrong  # nothing of the class in one request, at share 0.9


@given(SHARES, SHARES)
def test_the_simple_window_is_never_shorter(c: Fraction, share: Fraction) -> None:
    assume(share != c)
    assert formulas.kl_divergence(SCALAR, c, share) >= formulas.hoeffding_bound(float(c - share)) * (1 - 1e-12)
    eps = float(abs(c - share))
    found = alarm_window(eps, 0.01, c)
    assert found.units <= found.units_simple == alarm_window(eps, 0.01).units


@given(COVERAGES, DISTANCES)
def test_up_to_one_half_the_miss_sets_the_window(c: Fraction, eps: float) -> None:
    distance = Fraction(repr(eps))
    assume(distance < c < 1 - distance)
    found = alarm_window(eps, 0.01, c)
    difference = found.false_alarm_divergence - found.miss_divergence
    assert difference * float(1 - 2 * c) >= -1e-12


@settings(max_examples=40)
@given(COVERAGES, DISTANCES, st.sampled_from([0.2, 0.05, 1e-3]))
def test_from_the_exact_window_on_every_window_keeps_both_errors(c: Fraction, eps: float, error: float) -> None:
    assume(possible(eps, c))
    window = exact_window(eps, error, c)
    assert window <= alarm_window(eps, error, c).units
    assert all(max(exact_errors(window + more, eps, c)) <= error for more in range(20))
    assert window == 1 or max(exact_errors(window - 1, eps, c)) > error


@given(st.integers(1, 30), st.sampled_from([0.1, 0.2]), st.sampled_from([Fraction(1, 4), Fraction(3, 8)]))
def test_exact_errors_are_sums_of_the_distribution(window: int, eps: float, c: Fraction) -> None:
    low, high, needed = c - Fraction(repr(eps)), c + Fraction(repr(eps)), math.ceil(c * window)
    false_alarm, miss = exact_errors(window, eps, c)
    assert false_alarm == pytest.approx(float(upper_tail(window, needed, low)), rel=1e-9)
    assert miss == pytest.approx(float(1 - upper_tail(window, needed, high)), rel=1e-9)


@given(st.integers(1, 6), SHARES, st.integers(1, 6), st.integers(1, 30))
@settings(max_examples=25)
def test_overlapping_windows_err_together_by_their_sum_at_most(
    window: int, share: Fraction, needed: int, decisions: int
) -> None:
    """Exact over all arrivals: the state is what the last W arrivals were."""
    one = float(upper_tail(window, needed, share))
    x = float(share)
    states = {
        bits: x ** sum(bits) * (1 - x) ** (window - sum(bits)) for bits in itertools.product((0, 1), repeat=window)
    }
    quiet = {bits: chance for bits, chance in states.items() if sum(bits) < needed}
    for _ in range(decisions - 1):
        after: dict[tuple[int, ...], float] = {}
        for bits, chance in quiet.items():
            for new, part in ((1, x), (0, 1 - x)):
                moved = (*bits[1:], new)
                if sum(moved) < needed:
                    after[moved] = after.get(moved, 0.0) + chance * part
        quiet = after
    assert 1 - sum(quiet.values()) <= decisions * one + 1e-9


@given(st.integers(1, 50), st.integers(1, 10_000), ERRORS)
def test_classes_and_decisions_share_the_error(classes: int, decisions: int, error: float) -> None:
    shared = alarm_window(0.1, error, 0.25, classes=classes, decisions=decisions)
    assert shared.error * classes * decisions == pytest.approx(error)
    assert shared.units == alarm_window(0.1, shared.error, 0.25).units
    assert formulas.error_share(Fraction(1, 100), classes, decisions) * classes * decisions == Fraction(1, 100)


@given(st.integers(1, 300))
def test_endless_decisions_use_up_less_than_the_error(last: int) -> None:
    parts = [formulas.error_of_decision(Fraction(1, 100), n) for n in range(1, last + 1)]
    assert sum(parts) == Fraction(1, 100) * Fraction(last, last + 1) < Fraction(1, 100)
    windows = [alarm_window(0.1, 0.01, 0.25, decisions=None, decision=n).units for n in (last, last + 1)]
    assert windows[0] <= windows[1]


def test_where_no_share_lies_the_alarm_cannot_err() -> None:
    found = alarm_window(0.3, 0.01, 0.25)  # no share is 0.3 below 0.25
    assert found.false_alarm_divergence == math.inf
    assert exact_errors(found.units, 0.3, 0.25)[0] == 0
    assert alarm_window(0.5, 0.01, 0.5).units == 1
    assert exact_errors(1, 0.5, 0.5) == (0, 0)


def test_a_decimal_means_what_it_prints() -> None:
    assert exact_errors(30, 0.1, 0.1) == exact_errors(30, 0.1, Fraction(1, 10))
    assert exact_errors(30, 0.1, 0.1)[1] == pytest.approx(binom.cdf(2, 30, 0.2))


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"eps": 0.0, "error": 0.1}, "eps"),
        ({"eps": 1.0, "error": 0.1}, "eps"),
        ({"eps": math.nan, "error": 0.1}, "eps"),
        ({"eps": 0.1, "error": 0.0}, "error"),
        ({"eps": 0.1, "error": 1.0}, "error"),
        ({"eps": 0.1, "error": 0.1, "coverage": 0.0}, "coverage"),
        ({"eps": 0.1, "error": 0.1, "coverage": 1.0}, "coverage"),
        ({"eps": 0.8, "error": 0.1, "coverage": 0.5}, "eps"),
        ({"eps": 0.1, "error": 0.1, "classes": 0}, "classes"),
        ({"eps": 0.1, "error": 0.1, "decisions": 0}, "decisions"),
        ({"eps": 0.1, "error": 0.1, "decisions": 5, "decision": 2}, "decision"),
        ({"eps": 0.1, "error": 0.1, "session_requests": 0}, "session_requests"),
    ],
)
def test_what_cannot_be_is_refused(arguments: dict[str, float], field: str) -> None:
    with pytest.raises(BadInput, match=f"^{field}: "):
        alarm_window(**arguments)  # type: ignore[arg-type]
