"""Rounded keys: where a float choice is the exact one, where it is not, and how far off it can be."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler import formulas
from scheduler.domains import REQUESTS_MAX, TOKENS_MAX
from scheduler.indicators import Indicators, indicators_of
from scheduler.ops import ARRAY, SCALAR
from scheduler.policies.catalogue import policy
from scheduler.policies.choosing import decide, observe
from scheduler.policies.reading import best, exact, read
from scheduler.policies.rule import Policy
from scheduler.state import ClusterState, Request
from tests.theory.pairs import REQUEST, Pair, pairs, state_of

#: Roundings on the way to a key: 1 - lambda, the quotient, w B and the sum; n + kappa, its product with B, the sum;
#: three more where kappa is derived (two products and a quotient).
LINE, OFFSET, DERIVED = 4, 3, 6
GREATEST_BATCH = 2 * REQUESTS_MAX + 1
EXACT_MAX = 2**53


def as_written(rule: Policy) -> Policy:
    """The same binary numbers in exact arithmetic: only rounding is taken away."""
    values = {n: Fraction(v) if isinstance(v, int | float) else v for n, v in rule.values.items()}
    return Policy(rule.rule, values)


def exact_keys(rule: Policy, where: ClusterState, request: Request) -> list[Fraction]:
    """Keys of a rule whose knobs are exact, every float of the state taken as the number it is."""
    rows = [
        Indicators(**{name: _exact(getattr(x, name)) for name in Indicators.__slots__ if name != "recalled"})
        for x in observe(where, request, {})
    ]
    return [key[0] for key in read(rule, SCALAR, rows)[0]]


def _exact(value: Any) -> Any:
    return Fraction(value) if isinstance(value, int | float) else value


def regret(keys: list[Fraction], taken: int) -> Fraction:
    return keys[taken] / min(keys)


def assert_near(rule: Policy, where: ClusterState, request: Request, margin: Fraction, as_exact: Policy) -> None:
    decision = decide(rule, where, request)[0]
    keys = exact_keys(as_exact, where, request)
    assert regret(keys, decision.instance) <= margin
    for key, rounded in zip(keys, decision.scores, strict=True):
        assert key / margin <= Fraction(rounded) <= key * margin
    others = [Fraction(s) for i, s in enumerate(decision.scores) if i != decision.instance]
    if others and min(others) > margin * Fraction(decision.scores[decision.instance]):
        assert best([(key,) for key in keys], [True] * len(keys)) == [decision.instance]


def near_ties(weight: float) -> st.SearchStrategy[list[Pair]]:
    """Instances close to one line of that weight, where rounding decides."""
    rate = 256 * (1 - weight) / weight

    def on_the_line(parts: tuple[int, list[Pair]]) -> list[Pair]:
        total, offsets = parts
        return [(max(1, round(total - rate * batch) + nudge), batch) for batch, nudge in offsets]

    offset = st.tuples(st.integers(1, 200), st.integers(-1, 1))
    return st.tuples(st.integers(1, 10**6), st.lists(offset, min_size=2, max_size=6)).map(on_the_line)


def decimal_roundings(weight: float) -> int:
    """Roundings that cover reading lambda as the decimal that was written: 1 - lambda makes its error c times as great.

    ``c = lambda/(1 - lambda)``; one more because lambda divides too, one because an error below may be a reciprocal.
    """
    return LINE + 2 + math.ceil(weight / (1 - weight))


@given(st.sampled_from([0.05, 0.3, 0.55, 0.7, 0.9, 0.98, 0.3333333333333333, 0.99610894941634]), st.data())
def test_a_line_in_floats_is_near_the_exact_one(weight: float, data: st.DataObject) -> None:
    rule = policy(f"linear:form=p_token,weight={weight!r}")
    where = state_of(data.draw(near_ties(weight) | pairs(max_size=6)))
    assert_near(rule, where, REQUEST, Fraction(formulas.rounding_margin(LINE)), as_written(rule))
    assert_near(rule, where, REQUEST, Fraction(formulas.rounding_margin(decimal_roundings(weight))), exact(rule))


@given(pairs(max_size=6), st.floats(0, 1000, allow_subnormal=False), st.sampled_from([0.5, 0.75, 1.0]), st.data())
def test_least_harm_in_floats_is_near_the_exact_one(
    drawn: list[Pair], kappa: float, overlap: float, data: st.DataObject
) -> None:
    where = state_of(drawn)
    rule = policy(f"marginal_delay_offset:kappa={kappa!r}")
    assert_near(rule, where, REQUEST, Fraction(formulas.rounding_margin(OFFSET)), as_written(rule))
    assert_near(rule, where, REQUEST, Fraction(formulas.rounding_margin(OFFSET + 1)), exact(rule))
    times = st.floats(1e-6, 1e-3)
    count = len(where)
    timed = ClusterState(
        ids=where.ids,
        running=where.running,
        waiting=where.waiting,
        queued_prefill_tokens=where.queued_prefill_tokens,
        hit_tokens=where.hit_tokens,
        prefill_s_per_token=tuple(data.draw(st.lists(times, min_size=count, max_size=count))),
        decode_s_per_request=tuple(data.draw(st.lists(times, min_size=count, max_size=count))),
    )
    request = Request(id=0, arrival_s=0.0, prompt_tokens=1, expected_output_tokens=data.draw(st.floats(1, 2000)))
    derived = policy(f"marginal_delay_offset:overlap={overlap}")
    assert_near(derived, timed, request, Fraction(formulas.rounding_margin(DERIVED)), as_written(derived))


def test_rounding_flips_a_choice_of_the_line() -> None:
    # lambda = 256/257 cut to 14 digits prices a slot at one token and a bit; at 10^6 tokens the bit is rounded away.
    rule = policy("linear:form=p_token,weight=0.99610894941634")
    where = state_of([(1_000_000, 2), (1_000_001, 1)])
    decision = decide(rule, where, REQUEST)[0]
    assert (decision.instance, decision.ties) == (0, (0, 1))
    for as_exact, roundings in ((as_written(rule), LINE), (exact(rule), decimal_roundings(0.99610894941634))):
        keys = exact_keys(as_exact, where, REQUEST)
        assert best([(key,) for key in keys], [True, True]) == [1]
        assert formulas.rounding_margin(0) < regret(keys, decision.instance) <= formulas.rounding_margin(roundings)


def test_a_margin_without_roundings_would_be_broken() -> None:
    rule = policy("linear:form=p_token,weight=0.99610894941634")
    where = state_of([(1_000_000, 2), (1_000_001, 1)])
    with pytest.raises(AssertionError):
        assert_near(rule, where, REQUEST, Fraction(formulas.rounding_margin(0)), as_written(rule))


def test_a_margin_is_noise_of_the_unit_roundoff() -> None:
    unit = formulas.UNIT_ROUNDOFF
    assert float(1 + unit) == 1 < float(1 + 2 * unit)
    assert formulas.rounding_margin(2) == formulas.noise_factor(unit, unit)
    assert formulas.rounding_margin(5) == formulas.rounding_margin(2) * formulas.rounding_margin(3)


def array_products(rows: list[Pair]) -> list[float]:
    """Products in binary64, as the array world computes them: (P, B) with P up to twice TOKENS_MAX."""
    queued = [min(p - 1, TOKENS_MAX) for p, _ in rows]
    running = [min(b - 1, REQUESTS_MAX) for _, b in rows]
    prompt = max(p - q for (p, _), q in zip(rows, queued, strict=True))
    columns = indicators_of(
        ARRAY,
        running=np.array(running),
        waiting=np.array([b - 1 - r for (_, b), r in zip(rows, running, strict=True)]),
        queued_prefill_tokens=np.array(queued),
        hit_tokens=np.array([prompt - (p - q) for (p, _), q in zip(rows, queued, strict=True)]),
        prompt_tokens=prompt,
    )
    return [key[0] for key in read(policy("lmetric"), ARRAY, columns)[0]]


EXTREME_TOKENS = st.integers(1, 2 * TOKENS_MAX) | st.integers(2 * TOKENS_MAX - 5000, 2 * TOKENS_MAX)
EXTREME_BATCHES = st.integers(1, GREATEST_BATCH) | st.integers(GREATEST_BATCH - 3, GREATEST_BATCH)


@given(st.lists(st.tuples(EXTREME_TOKENS, EXTREME_BATCHES), min_size=2, max_size=6))
def test_the_product_chooses_exactly_within_the_domains(rows: list[Pair]) -> None:
    products = [p * b for p, b in rows]
    floats = array_products(rows)
    assert [products[i] <= products[j] for i in range(len(rows)) for j in range(len(rows))] == [
        floats[i] <= floats[j] for i in range(len(rows)) for j in range(len(rows))
    ]
    for product, rounded, (_, batch) in zip(products, floats, rows, strict=True):
        assert rounded == product or (batch == GREATEST_BATCH and product > EXACT_MAX)


def test_where_products_stop_being_exact() -> None:
    first = EXACT_MAX // GREATEST_BATCH + 1
    assert first == 2 * TOKENS_MAX - 2**11 + 1
    last = [(2 * TOKENS_MAX, GREATEST_BATCH - 1), (first - 1, GREATEST_BATCH)]
    assert array_products(last) == [EXACT_MAX, (first - 1) * GREATEST_BATCH]
    # Both counts at their limit and a queue and a prompt of 2^31 tokens: Python's whole numbers stay exact.
    beyond = (2 * TOKENS_MAX - 2, GREATEST_BATCH)
    odd = (2 * TOKENS_MAX - 1, GREATEST_BATCH)
    assert array_products([beyond, odd])[1] != odd[0] * odd[1]
    where = ClusterState(
        ids=("i",),
        running=(REQUESTS_MAX,),
        waiting=(REQUESTS_MAX,),
        queued_prefill_tokens=(TOKENS_MAX - 1,),
        hit_tokens=(0,),
    )
    request = Request(id=0, arrival_s=0.0, prompt_tokens=TOKENS_MAX)
    assert decide(policy("lmetric"), where, request)[0].scores == (odd[0] * odd[1],)


@given(st.integers(0, TOKENS_MAX), st.integers(1, TOKENS_MAX), st.integers(1, GREATEST_BATCH))
def test_least_harm_without_decode_is_exact_in_floats(queued: int, new_tokens: int, batch: int) -> None:
    whole = formulas.marginal_delay(queued, new_tokens, batch)
    assert whole <= EXACT_MAX
    assert formulas.marginal_delay(float(queued), float(new_tokens), float(batch)) == whole
