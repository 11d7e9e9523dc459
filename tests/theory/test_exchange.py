"""Product and line, on the shipped rules: pairs, the tuned line, the wedge, units. Weights are Fractions, so exact."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from scheduler import formulas
from scheduler.policies.catalogue import CATALOGUE, policy
from scheduler.policies.choosing import decide
from scheduler.policies.linear import BATCH_SCALE, TOKEN_SCALE
from scheduler.state import ClusterState, Decision, Request
from scheduler.testing.laws import product_indicators
from scheduler.testing.strategies import situations

Pairs = Sequence[tuple[int, int]]
ONE_TOKEN = Request(id=0, arrival_s=0.0, prompt_tokens=1)
RATES = st.fractions(Fraction(1, 200), 5000, max_denominator=200)


def state_of(pairs: Pairs) -> ClusterState:
    """A state whose instances have these ``(P, B)`` for a request of one token."""
    return ClusterState(
        ids=tuple(map(str, range(len(pairs)))),
        running=tuple(batch - 1 for _, batch in pairs),
        waiting=(0,) * len(pairs),
        queued_prefill_tokens=tuple(tokens - 1 for tokens, _ in pairs),
        hit_tokens=(0,) * len(pairs),
    )


def by_product(state: ClusterState, request: Request = ONE_TOKEN) -> Decision:
    return decide(policy("lmetric"), state, request)[0]


def by_line(rate: Fraction, state: ClusterState, request: Request = ONE_TOKEN) -> Decision:
    """The shipped line at the weight lambda that means this price."""
    weight = formulas.weight_of_rate(rate, TOKEN_SCALE, BATCH_SCALE)
    return decide(CATALOGUE["linear"].with_knobs({"form": "p_token", "weight": weight}), state, request)[0]


@st.composite
def unequal_pairs(draw: st.DrawFn, tokens_max: int = 5000, batch_max: int = 200) -> Pairs:
    """Two instances: the first has fewer tokens and the larger batch."""
    (p_i, p_j), (b_j, b_i) = (
        sorted(draw(st.lists(st.integers(1, most), min_size=2, max_size=2, unique=True)))
        for most in (tokens_max, batch_max)
    )
    return [(p_i, b_i), (p_j, b_j)]


def clusters(most: int, max_instances: int = 6) -> st.SearchStrategy[Pairs]:
    return st.lists(st.tuples(st.integers(1, most), st.integers(1, most)), min_size=1, max_size=max_instances)


@given(situations(2, 2, loose=True))
def test_in_a_pair_the_product_is_the_line_at_the_ratio_of_means(drawn: tuple[ClusterState, Request]) -> None:
    (p_i, b_i), (p_j, b_j) = product_indicators(*drawn)
    rate = formulas.pairwise_rate(Fraction(p_i), Fraction(b_i), Fraction(p_j), Fraction(b_j))
    lines = [formulas.line(p, b, rate) for p, b in ((p_i, b_i), (p_j, b_j))]
    assert by_product(*drawn).instance == min((0, 1), key=lines.__getitem__)
    assert by_line(rate, *drawn).ties == by_product(*drawn).ties


@given(unequal_pairs(9, 9))
def test_in_a_close_pair_the_line_at_the_ratio_of_means_ties_when_the_product_does(pair: Pairs) -> None:
    (p_i, b_i), (p_j, b_j) = pair
    rate = formulas.pairwise_rate(Fraction(p_i), b_i, p_j, b_j)
    line = formulas.line(p_j, b_j, rate) - formulas.line(p_i, b_i, rate)
    assert line * (b_i + b_j) == 2 * (p_j * b_j - p_i * b_i)
    assert by_line(rate, state_of(pair)).ties == by_product(state_of(pair)).ties


@given(unequal_pairs(), st.integers(1, 10**6))
def test_a_line_prefers_the_fuller_instance_below_the_rate_of_indifference(pair: Pairs, parts: int) -> None:
    state = state_of(pair)
    (p_i, b_i), (p_j, b_j) = pair
    threshold = formulas.indifference_rate(Fraction(p_i), b_i, p_j, b_j)
    assert threshold > 0
    assert by_line(threshold, state).ties == (0, 1)
    assert by_line(threshold * (1 - Fraction(1, parts + 1)), state).ties == (0,)
    assert by_line(threshold * (1 + Fraction(1, parts)), state).ties == (1,)


@given(RATES)
def test_no_line_orders_three_instances_as_the_product_does(rate: Fraction) -> None:
    state = state_of([(12, 1), (4, 4), (9, 2)])
    products, lines = by_product(state).scores, by_line(rate, state).scores
    assert all(a < b for a, b in pairwise(products))
    assert not all(a < b for a, b in pairwise(lines))


@given(situations(1, 8, loose=True))
def test_the_line_at_its_own_ratio_takes_the_product_choice(drawn: tuple[ClusterState, Request]) -> None:
    choice = by_product(*drawn).instance
    pairs = product_indicators(*drawn)
    rate = formulas.tuned_rate(Fraction(pairs[choice][0]), pairs[choice][1])
    line = by_line(rate, *drawn)
    assert line.instance == choice
    assert {pairs[index] for index in line.ties} == {pairs[choice]}


@given(clusters(12))
def test_the_line_at_its_own_ratio_takes_each_of_several_product_choices(pairs: Pairs) -> None:
    state = state_of(pairs)
    for choice in by_product(state).ties:
        rate = formulas.tuned_rate(Fraction(pairs[choice][0]), pairs[choice][1])
        assert {pairs[index] for index in by_line(rate, state).ties} == {pairs[choice]}


def test_another_ratio_does_not_find_the_product_choice() -> None:
    # The fault that the two tests above must catch: batch over tokens instead of tokens over batch.
    pairs = [(160, 1), (32, 4)]
    assert by_product(state_of(pairs)).instance == 1
    assert by_line(formulas.tuned_rate(Fraction(32), 4), state_of(pairs)).instance == 1
    assert by_line(Fraction(160), state_of(pairs)).instance == 0


@given(unequal_pairs(60, 60), RATES)
def test_product_and_line_differ_exactly_in_the_wedge(pair: Pairs, rate: Fraction) -> None:
    (p_i, b_i), (p_j, b_j) = pair
    u, v = Fraction(p_j, p_i), Fraction(b_i, b_j)
    ratio = formulas.wedge_ratio(p_i, b_j, rate)
    edge = formulas.wedge_edge(u, ratio)
    product, line = by_product(state_of(pair)).ties, by_line(rate, state_of(pair)).ties
    assert product == ((0,) if v < u else (1,) if v > u else (0, 1))
    assert line == ((0,) if v < edge else (1,) if v > edge else (0, 1))
    if not set(product) & set(line):
        assert ratio != 1
        assert (line == (0,)) == (ratio < 1)


@given(unequal_pairs(60, 60))
def test_the_wedge_is_empty_at_one(pair: Pairs) -> None:
    (p_i, _), (_, b_j) = pair
    assert by_line(Fraction(p_i, b_j), state_of(pair)).ties == by_product(state_of(pair)).ties


def scaled(pairs: Pairs, token_factor: int, batch_factor: int) -> ClusterState:
    return state_of([(tokens * token_factor, batch * batch_factor) for tokens, batch in pairs])


@given(clusters(50), st.integers(1, 1000), st.integers(1, 1000), RATES)
def test_rescaling_keeps_the_product_and_is_another_weight_for_a_line(
    pairs: Pairs, token_factor: int, batch_factor: int, rate: Fraction
) -> None:
    other = scaled(pairs, token_factor, batch_factor)
    assert by_product(other).ties == by_product(state_of(pairs)).ties
    assert by_line(rate, other).ties == by_line(rate * batch_factor / token_factor, state_of(pairs)).ties


@given(clusters(50), RATES)
def test_some_rescaling_changes_the_line_unless_an_instance_is_least_in_both(pairs: Pairs, rate: Fraction) -> None:
    # Indifference lies between 1/49 and 49; the factors put the weight on either side of all of it.
    token_factor, batch_factor = int(rate * 60) + 1, int(60 / rate) + 1
    choices = {
        by_line(rate, scaled(pairs, *factors)).ties for factors in ((1, 1), (token_factor, 1), (1, batch_factor))
    }
    least = (min(tokens for tokens, _ in pairs), min(batch for _, batch in pairs))
    assert (len(choices) > 1) == (least not in pairs)
