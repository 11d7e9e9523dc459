"""`theory.divergence` on numbers: against brute force, against its plain version, and what it refuses."""

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.errors import BadInput
from scheduler.policies.catalogue import policy
from scheduler.policies.choosing import decide
from scheduler.state import ClusterState, Request
from scheduler.testing.laws import product_indicators
from scheduler.testing.strategies import situations
from theory import hull
from theory.agreement import Divergence, divergence
from theory.hull import Point, least_on_line, stretches, stretches_by_pairs
from theory.verdict import Verdict

Pairs = list[tuple[int, int]]
Drawn = tuple[ClusterState, Request]
RATES = st.fractions(Fraction(1, 100), 5000, max_denominator=100)
#: Weights lambda = 1/1000 .. 999/1000.
GRID = np.arange(1, 1000)


@st.composite
def clusters(draw: st.DrawFn, min_instances: int = 2, max_instances: int = 64) -> Pairs:
    """Pairs ``(P, B)`` of as many instances as a size that is drawn first; small ranges make ties."""
    size = draw(st.integers(min_instances, max_instances))
    tokens_max, batch_max = draw(st.sampled_from([(5, 5), (40, 12), (2_000, 40), (60_000, 128)]))
    rng = draw(st.randoms(use_true_random=False))
    return [(rng.randint(1, tokens_max), rng.randint(1, batch_max)) for _ in range(size)]


def agrees_with_brute_force(pairs: Pairs) -> None:
    """Compare with the least of all scores at every weight of the grid, in whole numbers."""
    found = divergence(pairs)
    tokens, batch = np.array(pairs, dtype=np.int64).T
    products = tokens * batch
    best = products == products.min()
    assert found.ties == tuple(np.flatnonzero(best))
    # lambda P/8192 + (1 - lambda) B/32, times 8192000: far below 2**63.
    scores = np.outer(GRID, tokens) + np.outer(1000 - GRID, 256 * batch)
    least = scores == scores.min(axis=1, keepdims=True)
    own = least[:, found.choice]
    low, high = math.ceil(found.own.weight_low * 1000), math.floor(found.own.weight_high * 1000)
    assert (own == ((low <= GRID) & (high >= GRID))).all()
    same, common = (least == best).all(axis=1), (least & best).any(axis=1)
    for place in (0, len(GRID) // 2, len(GRID) - 1, *np.flatnonzero(np.diff(own))):
        comparison = found.compare(weight=Fraction(int(GRID[place]), 1000))
        assert comparison.verdict is (
            Verdict.AGREES if same[place] else Verdict.TIE if common[place] else Verdict.DIVERGES
        )
        assert comparison.instances == tuple(np.flatnonzero(least[place]))


@settings(max_examples=1000)
@given(clusters(2, 64))
def test_divergence_agrees_with_brute_force_over_a_fine_grid(pairs: Pairs) -> None:
    agrees_with_brute_force(pairs)


def staircase(points: Sequence[Point]) -> list[Point]:
    """A seeded fault: every undominated instance taken for a vertex."""
    return sorted({x for x in points if not any(y != x and y[0] <= x[0] and y[1] <= x[1] for y in points)})


def test_a_hull_that_is_only_a_staircase_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(1000, 1), (900, 5), (500, 6), (400, 40)]
    agrees_with_brute_force(pairs)
    monkeypatch.setattr(hull, "vertices", staircase)
    with pytest.raises(AssertionError):
        agrees_with_brute_force(pairs)


@given(clusters(1, 24))
def test_the_sorted_pass_finds_what_the_formulas_say(pairs: Pairs) -> None:
    assert stretches(pairs) == stretches_by_pairs(pairs)


@given(clusters(1, 24))
def test_the_stretches_cover_all_weights_once(pairs: Pairs) -> None:
    found = stretches(pairs)
    assert found[0].low == 0
    assert found[-1].high == math.inf
    assert all(a.high == b.low and a.low < a.high for a, b in pairwise(found))
    for stretch in found:
        middle = (stretch.low + min(stretch.high, stretch.low + 2)) / 2
        assert least_on_line(pairs, Fraction(middle)) == stretch.instances


@given(clusters(1, 8), RATES, RATES)
def test_the_pieces_of_a_range_are_what_the_line_takes(pairs: Pairs, one: Fraction, other: Fraction) -> None:
    found = divergence(pairs, rate=sorted((one, other)))
    assert found.comparison is not None
    pieces = found.comparison.pieces
    assert (pieces[0].low, pieces[-1].high) == (min(one, other), max(one, other))
    assert all(a.high == b.low and a.instances != b.instances for a, b in pairwise(pieces))
    for piece in pieces:
        assert found.line_takes((piece.low + Fraction(piece.high)) / 2) == piece.instances
    assert found.comparison.instances == tuple(sorted({index for piece in pieces for index in piece.instances}))


@given(clusters(1, 12), st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_single_weights_of_a_range_are_what_the_line_takes(pairs: Pairs, one: int, other: int) -> None:
    found = divergence(pairs)
    ends = [Fraction(0), *(stretch.low for stretch in found.stretches)]
    low, high = sorted((Fraction(ends[one % len(ends)]), Fraction(ends[other % len(ends)])))
    pieces = found.compare(rate=(low, high)).pieces
    assert (pieces[0].low, pieces[-1].high) == (low, high)
    for rate in (end for end in ends if low <= end <= high):
        at = next(piece for piece in pieces if piece.low == rate == piece.high or piece.low <= rate < piece.high)
        assert at.instances == found.line_takes(rate)


def test_a_range_looks_at_all_instances_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Fraction | int] = []

    def counted(points: Sequence[Point], rate: Fraction | int) -> tuple[int, ...]:
        calls.append(rate)
        return least_on_line(points, rate)

    monkeypatch.setattr("theory.verdict.least_on_line", counted)
    found = divergence([(i * i + 1, 64 - i) for i in range(64)], weight=(0.3, 1))
    assert found.comparison is not None
    assert len(found.comparison.pieces) == 127
    assert len(calls) <= 1


@given(situations(1, 8, loose=True))
def test_a_state_and_its_pairs_tell_the_same(drawn: Drawn) -> None:
    found, decision = divergence(*drawn), decide(policy("lmetric"), *drawn)[0]
    again = divergence(product_indicators(*drawn))
    assert (found.choices, found.stretches, found.margin) == (again.choices, again.stretches, again.margin)
    assert (found.choice, found.ties) == (decision.instance, decision.ties)
    assert found.margin == pytest.approx(decision.margin)


@given(clusters(1, 8), st.integers(1, 50), st.integers(1, 50))
def test_units_change_the_weights_and_nothing_else(pairs: Pairs, token_unit: int, batch_unit: int) -> None:
    found = divergence(pairs)
    scaled = divergence([(Fraction(p, token_unit), Fraction(b, batch_unit)) for p, b in pairs])
    assert (scaled.choice, scaled.ties, scaled.margin) == (found.choice, found.ties, found.margin)
    factor = Fraction(batch_unit, token_unit)
    assert [s.low for s in scaled.stretches] == [s.low * factor for s in found.stretches]


def test_a_range_is_certain_tied_at_an_end_or_mixed() -> None:
    found = divergence([(160, 1), (32, 4), (20, 10)])
    asked = {
        (3, 42): Verdict.AGREES,
        (2, 42): Verdict.TIE,
        (2, Fraction(128, 3)): Verdict.TIE,
        (0, 1): Verdict.DIVERGES,
        (0, 2): Verdict.TIE,
        (1, 3): Verdict.DEPENDS,
        (50, math.inf): Verdict.DIVERGES,
        (0, math.inf): Verdict.DEPENDS,
    }
    assert {ends: found.compare(rate=ends).verdict for ends in asked} == asked
    assert found.compare(rate=(0, math.inf)).instances == (0, 1, 2)
    assert found.compare(weight=(0.9, 0.95)).verdict is Verdict.AGREES
    assert found.compare(weight=1).pieces[0].instances == (2,)


def test_at_weight_zero_only_tokens_count() -> None:
    assert divergence([(5, 2), (5, 9)], rate=0).verdict is Verdict.TIE
    assert divergence([(5, 2), (6, 9)], rate=0).verdict is Verdict.AGREES
    assert divergence([(5, 2), (4, 9)], rate=0).verdict is Verdict.DIVERGES


def test_floats_mean_their_decimals() -> None:
    assert divergence([(0.1, 3), (0.3, 1)]).ties == (0, 1)
    numpy = divergence([(np.float64(0.1), np.int32(3)), (np.float32(0.3), 1)])
    assert numpy.ties == (0, 1)


def test_several_choices_and_one_instance() -> None:
    twins = divergence([(4, 2), (4, 2)], rate=7)
    assert (twins.ties, len(twins.choices), twins.verdict) == ((0, 1), 1, Verdict.AGREES)
    assert twins.margin == 0
    single = divergence([(4, 2)])
    assert single.margin is None
    assert (single.low, single.high, single.implied_rate) == (Fraction(0), math.inf, Fraction(2))
    two = divergence([(1, 9), (9, 1)], rate=1)
    assert two.connected
    assert two.verdict is Verdict.AGREES
    assert two.compare(rate=2).verdict is Verdict.TIE


def test_it_says_so_in_words_and_in_latex() -> None:
    found = divergence([(1, 9), (9, 1), (3.1, 3.1)], rate=(Fraction(1, 10), 1))
    assert "between these intervals a line takes none of the tied choices" in str(found)
    assert "instance 0 from 1/10 to 21/59" in found.unicode()
    assert r"w &\in \left[\frac{59}{21}, \infty\right)" in found.latex()
    assert found.latex().count("{") == found.latex().count("}")


BUSY = ClusterState(ids=("a",), running=(0,), waiting=(0,), queued_prefill_tokens=(0,), hit_tokens=(0,))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), "instances: expected at least one instance, got 0"),
        (([(5, 1), (0, 2)],), r"instances\[1\].p_token: expected a finite number > 0 \[token\], got 0"),
        (([(5, -1)],), r"instances\[0\].batch_size: .* got -1"),
        (([(5, math.nan)],), r"instances\[0\].batch_size: .* got nan"),
        (([(True, 1)],), r"instances\[0\].p_token: .* got True"),
        (([("5", 1)],), r"instances\[0\].p_token: .* got '5'"),
        (([(5, 1, 2)],), r"instances\[0\]: expected a pair \(P, B\)"),
        ((3,), "state: expected a ClusterState with its request"),
        ((BUSY,), "request: expected the request at hand"),
        (([(5, 1)], Request(id=0, arrival_s=0.0, prompt_tokens=1)), "request: expected nothing"),
    ],
)
def test_a_bad_state_is_named(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        divergence(*arguments)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"weight": 0}, "weight: expected a finite number > 0 and <= 1"),
        ({"weight": (0.2, 1.5)}, r"weight\[1\]: .* got 1.5"),
        ({"weight": 0.5, "rate": 3}, "either a weight or a rate"),
        ({"rate": -1}, "rate: expected a finite number >= 0"),
        ({"rate": (5, 2)}, "low <= high"),
        ({"rate": (1, 2, 3)}, "one number, or a pair"),
        ({"token_scale": 0}, "token_scale"),
        ({"assuming": [True]}, "assuming: expected nothing"),
    ],
)
def test_a_bad_question_is_named(asked: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        divergence([(5, 1), (2, 3)], **asked)  # type: ignore[call-overload]
    if "token_scale" not in asked and "assuming" not in asked:
        with pytest.raises(BadInput, match=message):
            divergence([(5, 1), (2, 3)]).compare(**asked)


def test_a_comparison_needs_a_weight() -> None:
    found = divergence([(5, 1)])
    assert isinstance(found, Divergence)
    assert found.verdict is None
    with pytest.raises(BadInput, match="a weight or a rate"):
        found.compare()
