"""Requests in sessions: what a window of them is worth."""

import itertools
import math
from fractions import Fraction

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from scheduler import formulas
from scheduler.ops import SCALAR
from theory.windows import alarm_window

SHARES = st.integers(1, 20).map(lambda part: Fraction(part, 21))


@st.composite
def sessions(draw: st.DrawFn) -> list[Fraction]:
    """Chances that 0, 1, ... m requests of a session belong to the class: dependent in any way."""
    weights = draw(st.lists(st.integers(0, 9), min_size=2, max_size=6))
    assume(sum(weights) > 0)
    return [Fraction(weight, sum(weights)) for weight in weights]


def mean_of(chances: list[Fraction]) -> Fraction:
    return sum((j * chance for j, chance in enumerate(chances)), Fraction(0)) / (len(chances) - 1)


@settings(max_examples=60)
@given(sessions(), SHARES, st.integers(1, 60))
def test_the_promise_holds_with_sessions_counted(chances: list[Fraction], c: Fraction, count: int) -> None:
    x, size = mean_of(chances), len(chances) - 1
    assume(0 < x < 1 and x != c)
    total = np.ones(1)
    for _ in range(count):
        total = np.convolve(total, [float(chance) for chance in chances])
    needed = math.ceil(c * count * size)
    error = total[needed:].sum() if x < c else total[: math.floor(c * count * size) + 1].sum()
    assert error <= math.exp(-count * formulas.kl_divergence(SCALAR, c, x)) * (1 + 1e-9)


@given(sessions(), st.fractions(1, 9, max_denominator=5))
def test_a_session_is_tilted_no_more_than_a_request(chances: list[Fraction], root: Fraction) -> None:
    size = len(chances) - 1
    mean = sum((chance * root**j for j, chance in enumerate(chances)), Fraction(0))
    assert mean <= formulas.tilted_mean(mean_of(chances), root**size)


@given(st.integers(1, 40), st.sampled_from([0.05, 0.1]))
def test_a_window_of_sessions_is_that_many_times_longer(size: int, eps: float) -> None:
    found, alone = alarm_window(eps, 0.01, 0.25, session_requests=size), alarm_window(eps, 0.01, 0.25)
    assert (found.units, found.requests) == (alone.units, alone.units * size)


@given(st.integers(1, 6), SHARES, SHARES, SHARES)
def test_the_design_effect_is_the_ratio_of_the_variances(
    size: int, often: Fraction, rare: Fraction, mix: Fraction
) -> None:
    """A session throws one of two coins for all its requests: exact, over all outcomes."""
    x = mix * often + (1 - mix) * rare
    between = mix * (often - x) ** 2 + (1 - mix) * (rare - x) ** 2  # the covariance of two requests
    icc = between / (x * (1 - x))
    variance = Fraction(0)
    for bits in itertools.product((0, 1), repeat=size):
        chance = sum(
            (part * math.prod(p if bit else 1 - p for bit in bits) for part, p in ((mix, often), (1 - mix, rare))),
            Fraction(0),
        )
        variance += chance * (sum(bits) - size * x) ** 2
    assert variance == size * x * (1 - x) * formulas.design_effect(size, icc)
    effective = formulas.effective_requests(Fraction(7 * size), size, icc)
    assert 7 * variance / (7 * size) ** 2 == x * (1 - x) / effective


def test_the_design_effect_does_not_keep_the_promise() -> None:
    """Windows of one session of two requests, icc 1/2, share 1/100: an alarm if both are of the class."""
    x, icc = Fraction(1, 100), Fraction(1, 2)
    both = x * x + icc * x * (1 - x)
    effective = formulas.effective_requests(2, 2, icc)
    assert both > float(x) ** float(effective)  # the bound at the threshold 1
    assert both <= x  # with the session counted as one
