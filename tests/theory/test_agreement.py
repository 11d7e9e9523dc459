"""The interval of weights in which a line takes the product choice, too: the shipped rules and the formulas."""

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from scheduler import formulas
from scheduler.ops import SCALAR
from scheduler.policies.catalogue import CATALOGUE, policy
from scheduler.policies.choosing import decide
from scheduler.policies.linear import BATCH_SCALE, TOKEN_SCALE
from scheduler.state import ClusterState, Decision, Request
from scheduler.testing.laws import product_indicators
from scheduler.testing.strategies import situations
from theory.agreement import divergence
from theory.hull import least_on_line

Pairs = list[tuple[int, int]]
Drawn = tuple[ClusterState, Request]
CLUSTERS = st.sampled_from([(5, 5), (40, 12), (60_000, 128)]).flatmap(
    lambda most: st.lists(st.tuples(*(st.integers(1, high) for high in most)), min_size=1, max_size=12)
)
RATES = st.fractions(Fraction(1, 100), 5000, max_denominator=100)


def by_line(rate: Fraction, drawn: Drawn) -> Decision:
    """The shipped line at the exact weight lambda that means this price."""
    weight = formulas.weight_of_rate(rate, TOKEN_SCALE, BATCH_SCALE)
    return decide(CATALOGUE["linear"].with_knobs({"form": "p_token", "weight": weight}), *drawn)[0]


def ends(pairs: Sequence[tuple[int, int]], choice: int) -> tuple[Fraction, Fraction | float]:
    exact = [(Fraction(tokens), Fraction(batch)) for tokens, batch in pairs]
    low = formulas.agreement_low(SCALAR, exact[choice], exact)
    return Fraction(low), formulas.agreement_high(SCALAR, exact[choice], exact, math.inf)


@given(situations(1, 8, loose=True), RATES)
def test_the_line_takes_the_product_choice_exactly_within_its_interval(drawn: Drawn, rate: Fraction) -> None:
    pairs = product_indicators(*drawn)
    choice = decide(policy("lmetric"), *drawn)[0].instance
    low, high = ends(pairs, choice)
    assert (choice in by_line(rate, drawn).ties) == (low <= rate <= high)
    if low < rate < high:
        assert by_line(rate, drawn).instance == choice
    assert low < formulas.tuned_rate(Fraction(pairs[choice][0]), pairs[choice][1]) < high


@given(situations(2, 8, loose=True))
def test_at_an_end_the_line_ties_and_beyond_it_differs(drawn: Drawn) -> None:
    pairs = product_indicators(*drawn)
    choice = decide(policy("lmetric"), *drawn)[0].instance
    low, high = ends(pairs, choice)
    for end, beyond in ((low, low / 2), (high, high * 2)):
        if 0 < end < math.inf:
            assert len({pairs[index] for index in by_line(Fraction(end), drawn).ties}) > 1
            assert choice in by_line(Fraction(end), drawn).ties
            assert choice not in by_line(Fraction(beyond), drawn).ties


@given(situations(2, 8, loose=True), st.integers(1, 999))
def test_the_float_line_agrees_away_from_the_ends(drawn: Drawn, thousandths: int) -> None:
    choice = decide(policy("lmetric"), *drawn)[0].instance
    low, high = ends(product_indicators(*drawn), choice)
    rate = formulas.exchange_rate(Fraction(thousandths, 1000), TOKEN_SCALE, BATCH_SCALE)
    line = decide(policy(f"linear:form=p_token,weight={thousandths / 1000}"), *drawn)[0]
    # Scores below 2**31 carry a relative rounding error under 2**-50; at this distance none can change the order.
    if low * Fraction(1_000_001, 1_000_000) < rate < high * Fraction(999_999, 1_000_000):
        assert line.instance == choice
    if rate < low * Fraction(999_999, 1_000_000) or rate > high * Fraction(1_000_001, 1_000_000):
        assert line.instance != choice


@given(CLUSTERS)
def test_the_end_that_one_instance_sets_lies_beyond_the_tokens_over_its_batch(pairs: Pairs) -> None:
    choice = divergence(pairs).choice
    tokens, batch = pairs[choice]
    for other_tokens, other_batch in pairs:
        if other_batch == batch:
            continue
        excess = other_tokens * other_batch - tokens * batch
        end = formulas.agreement_end(Fraction(tokens), Fraction(batch), Fraction(other_batch), Fraction(excess))
        assert end == formulas.indifference_rate(Fraction(tokens), batch, other_tokens, other_batch)
        assert (end <= Fraction(tokens, other_batch)) if other_batch > batch else (end >= Fraction(tokens, other_batch))


@given(CLUSTERS, RATES, RATES)
def test_in_lambda_the_interval_is_reversed(pairs: Pairs, one: Fraction, other: Fraction) -> None:
    weights = [formulas.weight_of_rate(rate, TOKEN_SCALE, BATCH_SCALE) for rate in (one, other)]
    assert (one < other) == (weights[0] > weights[1])
    own = divergence(pairs).own
    assert 0 <= own.weight_low < own.implied_weight < own.weight_high <= 1
    assert own.low == formulas.exchange_rate(own.weight_high, Fraction(TOKEN_SCALE), BATCH_SCALE)


def test_tied_choices_can_have_separate_intervals() -> None:
    state = ClusterState(
        ids=("a", "b", "c"),
        running=(89, 9, 30),
        waiting=(0, 0, 0),
        queued_prefill_tokens=(9, 89, 30),
        hit_tokens=(0, 0, 0),
    )
    drawn = state, Request(id=0, arrival_s=0.0, prompt_tokens=1)
    assert decide(policy("lmetric"), *drawn)[0].ties == (0, 1)
    taken = [by_line(rate, drawn).ties for rate in (Fraction(21, 60), Fraction(1), Fraction(60, 21))]
    assert taken == [(0,), (2,), (1,)]
    found = divergence([(1, 9), (9, 1), (Fraction("3.1"), Fraction("3.1"))])
    assert [(choice.low, choice.high) for choice in found.choices] == [
        (0, Fraction(21, 59)),
        (Fraction(59, 21), math.inf),
    ]
    assert not found.connected


@given(CLUSTERS)
def test_two_intervals_meet_unless_a_third_undercuts_the_line_through_both(pairs: Pairs) -> None:
    found = divergence(pairs)
    for first, second in pairwise(found.choices):
        rate = formulas.indifference_rate(first.p_token, first.batch_size, second.p_token, second.batch_size)
        undercut = first.instances[0] not in least_on_line(pairs, rate)
        assert (first.high == second.low) == (not undercut)
