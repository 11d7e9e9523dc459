"""What a fixed weight and noise cost, which weights agree, what an exponent buys: on the shipped rules, exactly."""

from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scheduler import formulas
from scheduler.ops import SCALAR
from scheduler.policies.catalogue import policy
from tests.theory.pairs import Pair, choice, line_at, pairs, rates, rule_of

LMETRIC = policy("lmetric")
FACTORS = [Fraction(9, 8), Fraction(5, 4), Fraction(3, 2), Fraction(2), Fraction(3), Fraction(4), Fraction(8)]
PERCENT = st.integers(0, 60)


def product(pair: Pair) -> int:
    return pair[0] * pair[1]


def line(pair: Pair, rate: Fraction) -> Fraction:
    return Fraction(formulas.line(*pair, rate))


def price_at(pair: Pair, rate: Fraction) -> Fraction:
    return Fraction(formulas.price_of_weight(formulas.relative_rate(rate, *pair)))


@given(pairs(), rates())
def test_a_fixed_weight_costs_no_more_than_its_price(state: list[Pair], rate: Fraction) -> None:
    taken, best = state[choice(line_at(rate), state)], state[choice(LMETRIC, state)]
    assert product(taken) <= price_at(best, rate) * product(best)
    assert all(product(taken) <= price_at(other, rate) * product(other) for other in state)
    assert line(best, rate) ** 2 <= price_at(best, rate) * line(taken, rate) ** 2


@pytest.mark.parametrize("relative", [2, 3, 7, 50, 999])
def test_the_price_of_a_weight_is_reached(relative: int) -> None:
    state = [(1 + relative, 1 + relative), (2, 2 * relative)]
    assert (choice(line_at(Fraction(1)), state), choice(LMETRIC, state)) == (0, 1)
    price = Fraction(formulas.price_of_weight(Fraction(relative)))
    assert product(state[0]) == price * product(state[1])
    assert product(state[0]) > price * Fraction(99, 100) * product(state[1])
    # Equal products: the line's own regret is the root.
    even = [(2 * relative, 2 * relative), (2, 2 * relative * relative)]
    assert product(even[0]) == product(even[1])
    price = price_at(even[1], Fraction(1))
    assert line(even[1], Fraction(1)) ** 2 == price * line(even[0], Fraction(1)) ** 2


@given(pairs(), rates())
def test_on_a_range_a_weight_costs_no_more_than_at_the_worse_end(state: list[Pair], rate: Fraction) -> None:
    tokens, batches = [Fraction(p) for p, _ in state], [Fraction(b) for _, b in state]
    bound = formulas.price_of_weight_on_range(SCALAR, rate, min(tokens), max(tokens), min(batches), max(batches))
    taken, best = state[choice(line_at(rate), state)], state[choice(LMETRIC, state)]
    assert product(taken) <= bound * product(best)
    assert line(best, rate) ** 2 <= bound * line(taken, rate) ** 2


@given(
    pairs(tokens=500, batch=40),
    PERCENT,
    PERCENT,
    st.lists(st.tuples(st.integers(-60, 60), st.integers(-60, 60)), min_size=8),
)
def test_noise_costs_no_more_than_its_factor(
    state: list[Pair], token_percent: int, batch_percent: int, noise: list[Pair]
) -> None:
    true = [(100 * p, 100 * b) for p, b in state]
    limits = token_percent, batch_percent
    clipped = [tuple(max(-limit, min(limit, x)) for x, limit in zip(n, limits, strict=True)) for n in noise]
    seen = [(p * (100 + x), b * (100 + y)) for (p, b), (x, y) in zip(state, clipped, strict=False)]
    factor = formulas.noise_factor(Fraction(token_percent, 100), Fraction(batch_percent, 100))
    taken = choice(LMETRIC, seen)
    assert all(product(true[taken]) <= factor * product(other) for other in true)
    others = [product(pair) for index, pair in enumerate(seen) if index != taken]
    if min(others) > factor * product(seen[taken]):
        assert all(product(true[taken]) < product(pair) for i, pair in enumerate(true) if i != taken)


def test_the_noise_factor_is_reached() -> None:
    third = Fraction(1, 3)
    true, seen = [(30, 30), (15, 15)], [(20, 20), (20, 20)]  # a third less of the first, a third more of the second
    assert [30 * (1 - third), 15 * (1 + third)] == [Fraction(20)] * 2
    assert choice(LMETRIC, seen) == 0
    assert product(true[0]) == formulas.noise_factor(third, third) * product(true[1]) == 4 * product(true[1])


@given(pairs(), st.integers(0, 2_000), st.integers(0, 20), st.data())
def test_beyond_absolute_errors_the_choice_is_certain(
    seen: list[Pair], token_error: int, batch_error: int, data: st.DataObject
) -> None:
    errors = token_error, batch_error
    taken = choice(LMETRIC, seen)
    most = formulas.most_product(*seen[taken], *errors)
    others = [pair for index, pair in enumerate(seen) if index != taken]
    bare = all(formulas.most_product(*pair, -token_error, -batch_error) > most for pair in others)
    sure = all(formulas.least_product(SCALAR, *pair, *errors) > most for pair in others)
    assert sure or not bare
    if sure:
        off = st.tuples(st.integers(-token_error, token_error), st.integers(-batch_error, batch_error))
        drawn = data.draw(st.lists(off, min_size=len(seen), max_size=len(seen)))
        worst = [errors if index == taken else (-token_error, -batch_error) for index in range(len(seen))]
        for noise in (drawn, worst):
            true = [(max(1, p + x), max(1, b + y)) for (p, b), (x, y) in zip(seen, noise, strict=True)]
            assert choice(LMETRIC, true) == taken


def test_at_most_the_floor_keeps_a_choice_certain() -> None:
    # Batch 1 may not be less: with the floor the choice is certain, by bare differences it would not be.
    k, j, errors = (10, 1), (500, 1), (100, 1)
    assert formulas.least_product(SCALAR, *j, *errors) > formulas.most_product(*k, *errors)
    assert formulas.most_product(*j, -100, -1) <= formulas.most_product(*k, *errors)


@given(pairs(), st.fractions(Fraction(1, 8), 8))
def test_a_margin_covers_its_factor_of_the_weight(state: list[Pair], relative: Fraction) -> None:
    taken = choice(LMETRIC, state)
    tokens, batch = state[taken]
    margin = Fraction(min(product(p) for i, p in enumerate(state) if i != taken), product(state[taken]))
    for factor in FACTORS:
        if margin > formulas.price_of_weight(factor):
            for share in (1 / factor, factor, min(factor, max(1 / factor, relative))):
                assert choice(line_at(share * tokens / batch), state) == taken


@pytest.mark.parametrize("factor", [2, 3, 4, 9])
def test_no_smaller_margin_covers_the_factor(factor: int) -> None:
    taken, other = (2, 2 * factor), (1 + factor, 1 + factor)
    assert product(other) == formulas.price_of_weight(Fraction(factor)) * product(taken)
    at_factor = Fraction(factor * taken[0], taken[1])
    assert line(taken, at_factor) == 2 + 2 * factor == line(other, at_factor)
    assert choice(line_at(at_factor), [other, taken]) == 0
    assert choice(LMETRIC, [other, taken]) == 1


def test_the_margins_for_two_and_four_times_the_weight() -> None:
    assert [formulas.price_of_weight(s) for s in (2, 4)] == [1.125, 1.5625]


@given(pairs(), st.fractions(0, 1))
def test_weights_around_the_choice_agree_in_every_state(state: list[Pair], place: Fraction) -> None:
    taken = choice(LMETRIC, state)
    tokens, batch = state[taken]
    low = Fraction(formulas.sure_rate_low(Fraction(tokens), batch))
    high = Fraction(formulas.sure_rate_high(Fraction(tokens), batch)) if batch > 1 else 1000 * low
    for rate in (low, high, low + place * (high - low)):
        assert line(state[taken], rate) == min(line(pair, rate) for pair in state)
    inside = low + (high - low) * (1 + place) / 3
    assert state[choice(line_at(inside), state)] == state[taken]


def test_just_outside_the_sure_weights_a_state_disagrees() -> None:
    state = [(24, 5), (20, 6), (30, 4)]  # three equal products
    low, high = formulas.sure_rate_low(Fraction(24), 5), formulas.sure_rate_high(Fraction(24), 5)
    assert (low, high) == (4, 6)
    assert choice(LMETRIC, state) == 0
    assert [choice(line_at(rate), state) for rate in (low, high)] == [0, 0]
    assert [choice(line_at(rate), state) for rate in (low - Fraction(1, 99), high + Fraction(1, 99))] == [1, 2]


@given(pairs(tokens=300, batch=30), st.integers(1, 4), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9))
def test_no_rescaling_affects_a_power_score(state: list[Pair], a: int, b: int, u: int, v: int) -> None:
    power = rule_of(lambda tokens, batch: formulas.power_score(tokens, batch, a, b))
    taken = choice(power, state)
    assert choice(power, [(u * tokens, v * batch) for tokens, batch in state]) == taken
    tokens, batch = state[taken]
    for other_tokens, other_batch in state:
        rho = formulas.leverage(Fraction(other_tokens), tokens)
        assert Fraction(batch, other_batch) ** b <= rho**a
        assert batch / other_batch <= formulas.leverage_cap(float(rho), a, b) * (1 + 1e-9)


@given(pairs(), st.integers(1, 4), st.integers(1, 4), st.integers(2, 5))
def test_one_cancelling_pair_of_factors_tells_the_order(state: list[Pair], a: int, b: int, base: int) -> None:
    # base^b on P cancels base^-a on B. From that alone: which of two scores is less, by whole powers of the base.
    power = rule_of(lambda tokens, batch: formulas.power_score(tokens, batch, a, b))
    assert choice(power, [(base**b, 1), (1, base**a)]) == 0 == choice(power, [(1, base**a), (base**b, 1)])
    (tokens_i, batch_i), (tokens_j, batch_j) = state[:2]
    assume(tokens_i**a * batch_i**b != tokens_j**a * batch_j**b)
    first = (Fraction(tokens_j, tokens_i) ** a) > (Fraction(batch_i, batch_j) ** b)
    assert (choice(power, [(tokens_i, batch_i), (tokens_j, batch_j)]) == 0) == first


@pytest.mark.parametrize("key", [lambda p, b: p + b, lambda p, b: p * b + p, lambda p, b: p + 100 * b])
def test_a_score_that_is_no_power_is_affected_by_some_rescaling(key: object) -> None:
    rule = rule_of(key)
    states = [[(x, 1), (y, z)] for x in range(1, 60, 3) for y in range(1, 40, 3) for z in range(2, 9)]
    scaled = [choice(rule, [(u * p, v * b) for p, b in s]) for s in states for u, v in ((1, 1), (9, 1), (1, 9))]
    assert any(len(set(scaled[i : i + 3])) > 1 for i in range(0, len(scaled), 3))


def test_the_exponent_caps_what_a_hit_buys() -> None:
    # A hit of 15/16 of the prompt: the product lets go above 16 times the batch, the batch squared above 4 times.
    for exponent, cap in ((1, 16), (2, 4)):
        power = rule_of(lambda tokens, batch, b=exponent: formulas.power_score(tokens, batch, 1, b))
        assert formulas.leverage_cap(16, 1, exponent) == cap
        assert [choice(power, [(64, batch), (1024, 1)]) for batch in (cap, cap + 1)] == [0, 1]
