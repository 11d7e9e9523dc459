"""`theory.divergence` on symbols: it says of all values what the numeric form says of each."""

from fractions import Fraction

import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.errors import BadInput
from theory.agreement import divergence
from theory.agreement_symbolic import SymbolicDivergence
from theory.solving import Solver
from theory.verdict import Verdict

P1, P2, P3, B1, B2, B3, W = sp.symbols("P_1 P_2 P_3 B_1 B_2 B_3 w", positive=True)
THREE = divergence([(P1, B1), (P2, B2), (P3, B3)])
VALUES = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 6)), min_size=3, max_size=3)


@settings(max_examples=40)
@given(VALUES)
def test_with_values_put_in_three_symbolic_instances_are_the_numeric_ones(pairs: list[tuple[int, int]]) -> None:
    values = dict(zip((P1, B1, P2, B2, P3, B3), (value for pair in pairs for value in pair), strict=True))
    numeric = divergence(pairs)
    for candidate in THREE.candidates:
        chosen = bool(candidate.condition.subs(values))
        assert chosen == (candidate.index in numeric.ties)
        if chosen:
            own = next(choice for choice in numeric.choices if candidate.index in choice.instances)
            ends = candidate.low.subs(values), candidate.high.subs(values)
            assert ends == (sp.Rational(own.low), sp.oo if own.high == float("inf") else sp.Rational(own.high))
            assert candidate.implied_rate.subs(values) == sp.Rational(own.implied_rate)


def test_assumptions_settle_the_ends() -> None:
    found = divergence([(P1, B1), (P2, B2)], assuming=[P1 < P2, B2 < B1])
    first, second = found.candidates
    assert (first.low, second.high) == (0, sp.oo)
    assert sp.simplify(first.high - (P2 - P1) / (B1 - B2)) == 0
    assert first.high.equals(second.low)
    assert (first.possible, second.possible) == (True, True)


def test_an_instance_that_can_never_be_the_choice_is_named() -> None:
    found = divergence([(P1, B1), (P1 + 1, B1)])
    assert [candidate.possible for candidate in found.candidates] == [True, False]
    assert "instance 1 is never the product's choice" in str(found)


@pytest.mark.parametrize(
    ("assuming", "asked", "verdict"),
    [
        ([P1 < P2, B1 < B2], {"rate": W}, Verdict.AGREES),
        ([P1 * B1 < P2 * B2], {"rate": P1 / B1}, Verdict.AGREES),
        ([P1 * B1 <= P2 * B2], {"rate": P1 / B1}, Verdict.DEPENDS),
        ([P1 < P2, B2 < B1, P1 * B1 < P2 * B2], {"rate": (P2 - P1) / (B1 - B2)}, Verdict.TIE),
        ([P1 < P2, B2 < B1, P1 * B1 < P2 * B2], {"rate": 1 + (P2 - P1) / (B1 - B2)}, Verdict.DIVERGES),
        ([P1 < P2, B2 < B1], {"rate": 256}, Verdict.DEPENDS),
        ([P1 < P2, B1 < B2], {"weight": (0.1, 1)}, Verdict.AGREES),
        ([P1 < P2, B1 < B2], {"rate": (3, float("inf"))}, Verdict.AGREES),
        ([P1 < P2, B1 < B2], {"weight": W}, Verdict.AGREES),
        ([], {}, None),
    ],
)
def test_the_verdict_holds_for_all_values(assuming: list[object], asked: dict[str, object], verdict: Verdict) -> None:
    assert divergence([(P1, B1), (P2, B2)], assuming=assuming, **asked).verdict is verdict  # type: ignore[call-overload]


def test_two_product_choices_on_one_own_line_depend_on_the_tie_rule() -> None:
    # With P_1 B_1 <= P_2 B_2 the products may be tied, and then the line at P_1/B_1 takes one of both only.
    found = divergence([(P1, B1), (P2, B2)], assuming=[sp.Eq(P1 * B1, P2 * B2), B1 < B2], rate=P1 / B1)
    assert found.verdict is Verdict.TIE


@pytest.mark.parametrize(
    ("pairs", "assuming", "message"),
    [
        ([(P1, B1), (P2, B2)], [P1 < P2, B1 < 3, P2 < P1], r"assuming: .* \[P_1 < P_2, P_2 < P_1\]"),
        ([(P1, B1), (P2, B2)], [P1 * B1 < P2, P2 < P1, B1 > 1], r"assuming: .* together"),
        ([(P1, B1)], [P1 < -1], r"assuming\[0\]: expected a condition that can hold"),
        ([(P1, B1)], [P1], r"assuming\[0\]: expected a SymPy condition"),
        ([(sp.Symbol("x", negative=True), 1), (P1, 1)], [], r"instances\[0\].p_token: expected a positive .* got x"),
        ([(P1, -B1), (P2, 1)], [], r"instances\[0\].batch_size: expected a positive quantity"),
        ([(P1, 1), (1 - P1, 1), (P1 - 1, 1)], [], "instances: expected indicators that can all be positive"),
        ([(P1, 1)] * 4, [], "instances: expected at most 3 instances"),
        ([(sp.sin(P1), 1), (P1, 1)], [], r"sin could not be read"),
        ([(P1, 0)], [], r"instances\[0\].batch_size: .* got 0"),
    ],
)
def test_what_cannot_be_is_named(pairs: list[tuple[object, object]], assuming: list[object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        divergence(pairs, assuming=assuming)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"rate": -W}, "rate: .* w >= 0"),
        ({"weight": 1 + W}, "weight: .* 0 < lambda <= 1"),
        ({"weight": 0.5, "rate": 1}, "not both"),
        ({"rate": (1, W)}, r"rate\[1\]: expected a finite number"),
    ],
)
def test_a_weight_that_cannot_be_is_named(asked: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        divergence([(P1, B1), (P2, B2)], **asked)  # type: ignore[call-overload]


def test_it_says_so_in_words_and_in_latex() -> None:
    found = divergence([(P1, B1), (P2, B2)], assuming=[P1 < P2, B2 < B1], rate=W)
    assert isinstance(found, SymbolicDivergence)
    assert "instance 1 is the product's choice" in found.unicode()
    assert found.latex().count("{") == found.latex().count("}")
    assert r"k &= 0 \text{ if }" in found.latex()


def test_numbers_among_symbols_are_exact() -> None:
    found = divergence([(P1, 0.1), (Fraction(1, 3), B2)])
    assert found.candidates[0].implied_rate == 10 * P1
    assert found.candidates[1].implied_rate == 1 / (3 * B2)


def test_the_solver_knows_what_sympy_assumes_of_symbols() -> None:
    low, high = sp.Symbol("low", nonpositive=True), sp.Symbol("high", nonnegative=True)
    solver = Solver([])
    assert solver.implies(low <= high)
    assert not solver.implies(low < high)
    assert Solver([sp.Ne(low, high)]).implies(low < high)


def test_the_solver_knows_which_symbols_are_whole() -> None:
    i, even, odd = sp.Symbol("i", integer=True), sp.Symbol("e", even=True), sp.Symbol("o", odd=True)
    part = sp.Symbol("f", integer=False, real=True)
    assert Solver([i > 1, i < 3]).implies(sp.Eq(i, 2))
    assert Solver([even > 0]).implies(even >= 2)
    assert Solver([odd > 1]).implies(odd >= 3)
    assert Solver([part >= 1]).implies(part > 1)
    assert not Solver([P1 > 1]).implies(P1 >= 2)
    with pytest.raises(BadInput, match="assuming: expected assumptions that can hold together"):
        divergence([(i, 1), (3, 2)], assuming=[i > 1, i < 2])
    assert divergence([(i, 1), (3, 2)], assuming=[i > 1, i < 3]).candidates[0].possible
