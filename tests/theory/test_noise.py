"""What noise can do to the product's choice, against all errors of a grid."""

from fractions import Fraction
from itertools import product

import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.errors import BadInput
from theory.noise import noise_margin

PAIRS = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 12)), min_size=1, max_size=4)
ERRORS = st.sampled_from([Fraction(0), Fraction(1, 20), Fraction(1, 10), Fraction(1, 4)])


@settings(max_examples=200)
@given(PAIRS, ERRORS, ERRORS)
def test_a_certain_choice_survives_every_relative_error_and_a_rival_wins_by_one(
    seen: list[tuple[int, int]], e: Fraction, d: Fraction
) -> None:
    found = noise_margin(seen, token_error=e, batch_error=d)
    k, (tokens, batch) = found.choice, seen[found.choice]
    worst = Fraction(tokens, 1 - e) * Fraction(batch, 1 - d)  # k truly as bad as it can be
    for index, (p, b) in enumerate(seen):
        truths = [Fraction(p, 1 + s * e) * Fraction(b, 1 + t * d) for s, t in product((-1, 0, 1), repeat=2)]
        if index != k:
            assert (min(truths) < worst) == (index in found.rivals)
            assert found.factor is not None
            assert worst <= found.factor * min(truths)


@settings(max_examples=200)
@given(PAIRS, st.integers(0, 30), st.integers(0, 4))
def test_a_certain_choice_survives_every_absolute_error_and_a_rival_wins_by_one(
    seen: list[tuple[int, int]], tokens: int, requests: int
) -> None:
    found = noise_margin(seen, tokens=tokens, requests=requests)
    p_k, b_k = seen[found.choice]
    worst = (p_k + tokens) * (b_k + requests)
    for index, (p, b) in enumerate(seen):
        truths = [
            (p + x) * (b + y)
            for x, y in product((-tokens, 0, tokens), (-requests, 0, requests))
            if p + x >= 1 and b + y >= 1
        ]
        floors = max(1, p - tokens) * max(1, b - requests)
        if index != found.choice:
            assert (min([*truths, floors]) < worst) == (index in found.rivals)


def test_without_noise_only_the_order_counts() -> None:
    assert noise_margin([(3, 2), (6, 1), (7, 1)]).certain
    assert noise_margin([(3, 2)]).margin is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"state": []}, "at least one instance"),
        ({"state": [(1, 1)], "token_error": 1}, "token_error: expected a number >= 0 and < 1"),
        ({"state": [(1, 1)], "batch_error": -0.1}, "batch_error"),
        ({"state": [(1, 1)], "token_error": 0.1, "tokens": 3}, "give one kind of errors"),
        ({"state": [(1, 1)], "requests": -1}, "requests"),
        ({"state": [(0.5, 2), (0.6, 2)], "tokens": 0.2}, r"instances\[0\].p_token: expected a number >= 1"),
        ({"state": [(3, 1), (3, 0.5)], "requests": 0}, r"instances\[1\].batch_size: expected a number >= 1"),
        ({"state": [(sp.Symbol("P"), 1)]}, "argprod derive noise_margin"),
    ],
)
def test_bad_input_is_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        noise_margin(**arguments)  # type: ignore[arg-type]
