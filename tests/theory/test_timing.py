"""How late a sliding window alarms, how long a run takes: against counting and against chains solved exactly."""

import itertools
import math
import random
from fractions import Fraction

from hypothesis import assume, given
from hypothesis import strategies as st

from scheduler import formulas

SHARES = st.integers(1, 40).map(lambda part: Fraction(part, 41))


@st.composite
def clusters(draw: st.DrawFn) -> tuple[int, int]:
    """Holders and instances."""
    instances = draw(st.integers(2, 9))
    return draw(st.integers(1, instances - 1)), instances


@given(clusters(), st.lists(st.booleans(), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_a_window_is_above_the_coverage_exactly_if_the_gap_grew_over_it(
    cluster: tuple[int, int], hot: list[bool], rng: random.Random
) -> None:
    holders, instances = cluster
    batches = [0] * instances
    for of_class in hot:  # anywhere among the holders, or among the others
        batches[rng.randrange(holders) if of_class else rng.randrange(holders, instances)] += 1
    gap = Fraction(sum(batches[:holders]), holders) - Fraction(sum(batches[holders:]), instances - holders)
    share = Fraction(sum(hot), len(hot))
    assert gap == len(hot) * formulas.gap_growth(share, holders, instances)
    assert (gap > 0) == (share > Fraction(holders, instances)) == (not formulas.covered(share, holders, instances))


@given(st.integers(1, 50), st.lists(SHARES, min_size=3, max_size=3, unique=True).map(sorted))
def test_a_sliding_window_alarms_after_its_share_of_the_step(window: int, shares: list[Fraction]) -> None:
    before, c, after = shares
    arrivals = [before] * window  # what each adds to the class, as in a fluid
    while sum(arrivals[-window:]) < c * window:
        arrivals.append(after)
    late = len(arrivals) - window
    assert late == math.ceil(formulas.alarm_delay(before, after, window, c))
    assert 0 <= late <= window


@given(clusters(), st.integers(1, 50), SHARES, SHARES, st.integers(0, 60))
def test_slack_of_the_rest_of_the_window_makes_up_for_the_delay(
    cluster: tuple[int, int], window: int, before: Fraction, after: Fraction, slack: int
) -> None:
    holders, instances = cluster
    c = Fraction(holders, instances)
    assume(before < c < after)
    delay = formulas.alarm_delay(before, after, window, c)
    change = slack * formulas.gap_growth(before, holders, instances)
    change += delay * formulas.gap_growth(after, holders, instances)
    assert (change <= 0) == (slack >= window - delay)


@given(SHARES, st.integers(1, 12))
def test_the_mean_wait_for_a_run_solves_its_chain(p: Fraction, length: int) -> None:
    """From j successes in a row: one trial, then j + 1 or 0. Written as ``E_j = a_j + b_j E_0`` from the end."""
    a, b = Fraction(0), Fraction(0)
    for _ in range(length):
        a, b = 1 + p * a, p * b + (1 - p)
    wait = a / (1 - b)
    assert wait == formulas.run_wait(p, formulas.run_chance(p, length))


@given(SHARES, st.integers(1, 8))
def test_the_chance_of_a_run_is_that_of_its_one_outcome(p: Fraction, length: int) -> None:
    outcomes = {
        bits: math.prod(p if bit else 1 - p for bit in bits) for bits in itertools.product((0, 1), repeat=length)
    }
    assert sum(outcomes.values()) == 1
    assert outcomes[(1,) * length] == formulas.run_chance(p, length)


def test_phase_two_alone_confirms_balanced_traffic() -> None:
    """Two holders that are the argmin for 97 of 100 class requests: the run of four is there after five requests."""
    p = Fraction(97, 100)
    assert formulas.run_chance(p, 4) > Fraction(88, 100)
    assert formulas.run_wait(p, formulas.run_chance(p, 4)) < Fraction(44, 10)
