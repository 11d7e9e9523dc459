"""`theory.divergence_region`: shares of states counted exactly, curves that lie where the claims say."""

import math
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.errors import BadInput
from scheduler.policies.catalogue import CATALOGUE, policy
from scheduler.policies.choosing import decide
from scheduler.state import ClusterState, Request
from scheduler.state_json import StateFile
from scheduler.testing.laws import product_indicators
from scheduler.testing.strategies import situations
from theory.agreement import divergence
from theory.hull import least_on_line
from theory.regions import divergence_region
from theory.verdict import Verdict

Drawn = tuple[ClusterState, Request]
STATES = st.lists(
    st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=1, max_size=6), min_size=1, max_size=12
)
RATES = st.lists(st.sampled_from([Fraction(0), *(Fraction(a, b) for a in (1, 2, 3, 7) for b in (1, 2, 3))]), min_size=1)


@given(STATES, RATES)
def test_every_state_is_counted_as_the_choices_say(states: list[list[tuple[int, int]]], rates: list[Fraction]) -> None:
    region = divergence_region(iter(states), rates=rates)
    assert region.count == len(states)
    for rate, share in zip(rates, region.shares, strict=True):
        kinds = {"same": 0, "none": 0, "some": 0}
        for pairs in states:
            products = [tokens * batch for tokens, batch in pairs]
            best = {index for index, product in enumerate(products) if product == min(products)}
            line = set(least_on_line(pairs, rate))
            kinds["same" if line == best else "some" if line & best else "none"] += 1
        assert (share.agrees, share.ties, share.diverges) == (kinds["same"], kinds["some"], kinds["none"])
        assert share.diverging == Fraction(kinds["none"], len(states))


@settings(max_examples=40)
@given(st.lists(situations(1, 4, loose=True), min_size=1, max_size=4), st.sampled_from([0.05, 0.3, 0.7, 1.0]))
def test_a_trace_of_states_is_counted_as_the_shipped_rules_choose(trace: list[Drawn], weight: float) -> None:
    (share,) = divergence_region(trace, weights=weight).shares
    line = CATALOGUE["linear"].with_knobs({"form": "p_token", "weight": Fraction(repr(weight))})
    differ = sum(
        decide(policy("lmetric"), *drawn)[0].instance != decide(line, *drawn)[0].instance
        for drawn in trace
        if divergence(*drawn, weight=weight).verdict is not Verdict.TIE
    )
    assert share.diverges == differ
    assert share.weight == Fraction(repr(weight))
    files = [StateFile(state=state, request=request) for state, request in trace]
    assert divergence_region(files, weights=weight).shares == (share,)


@given(st.fractions(Fraction(1, 20), 20, max_denominator=20), st.integers(2, 60))
def test_the_wedge_has_the_product_on_the_diagonal_and_meets_it_at_one(ratio: Fraction, points: int) -> None:
    (wedge,) = divergence_region(ratios=ratio, points=points).wedges
    assert wedge.token_ratio[0] == wedge.product_edge[0] == wedge.line_edge[0] == 1
    assert len(wedge.line_edge) == points
    gap = wedge.line_edge[1:] - wedge.product_edge[1:]
    assert (gap > 0).all() if ratio < 1 else (gap < 0).all() if ratio > 1 else np.allclose(gap, 0)


@given(situations(1, 8, loose=True))
def test_no_instance_lies_below_the_hyperbola_and_the_hull_is_convex(drawn: Drawn) -> None:
    outline = divergence_region([drawn]).outline
    assert outline is not None
    product = outline.hyperbola_tokens * outline.hyperbola_batch
    assert np.allclose(product, (outline.tokens * outline.batch).min())
    slopes = -np.diff(outline.hull_tokens) / np.diff(outline.hull_batch)
    assert (np.diff(slopes) > 0).all()
    assert len(outline.tokens) == len(drawn[0])
    assert set(zip(outline.hull_tokens, outline.hull_batch, strict=True)) <= set(product_indicators(*drawn))


def test_without_states_there_are_wedges_only() -> None:
    region = divergence_region()
    assert (region.count, region.outline, region.shares) == (0, None, ())
    assert [wedge.ratio for wedge in region.wedges] == [Fraction(1, 4), 4]


def test_it_says_so_in_words_and_in_latex() -> None:
    region = divergence_region([[(160, 1), (32, 4)]], weights=[0.1, 0.9])
    assert "w = 2304 (lambda = 0.1): differs on 1, tie on 0, agrees on 0" in str(region)
    assert "28.4444 & 0.9 & 0 & 0 & 1" in region.latex()


@pytest.mark.parametrize(
    ("states", "asked", "message"),
    [
        ([], {"rates": 1}, "states: expected at least one state"),
        ([[(1, 1)], [(1, 0)]], {}, r"states\[1\].instances\[0\].batch_size: .* got 0"),
        ([[]], {}, r"states\[0\].instances: expected at least one instance"),
        ([[(1, 1)]], {"rates": [1, -1]}, r"rates\[1\]: .* got -1"),
        ([[(1, 1)]], {"weights": 0}, "weights: .* got 0"),
        ([[(1, 1)]], {"weights": 0.5, "rates": 1}, "not both"),
        ([[(1, 1)]], {"ratios": 0}, "ratios: .* got 0"),
        ([[(1, 1)]], {"points": 1}, "points: expected an integer >= 2"),
        ([[(1, 1)]], {"token_ratio_max": 1}, "token_ratio_max: expected a finite number > 1"),
        ([[(1, 1)]], {"rates": math.inf}, "rates: .* got inf"),
        ([[(sp.Symbol("P", positive=True), 1)]], {}, r"states\[0\]: expected numbers"),
        (3, {}, "states: expected a sequence of states"),
    ],
)
def test_bad_input_is_named(states: object, asked: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        divergence_region(states, **asked)  # type: ignore[arg-type]
