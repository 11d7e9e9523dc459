"""``theory.hotspot``: the answer against the formulas and direct integration, symbols, bad input."""

from fractions import Fraction
from typing import Any

import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from scheduler import formulas
from scheduler.errors import BadInput
from theory.hot_spots import hotspot

CLASS: dict[str, Any] = {
    "class_share": 0.9,
    "holder_count": 1,
    "instance_count": 16,
    "prompt_tokens": 1088,
    "hit_tokens": 1024,
}


def test_the_example_of_the_claims() -> None:
    found = hotspot(**CLASS)
    assert (found.copies_needed, found.copies_by_product, found.copies_missing, found.copies_left) == (15, 6, 14, 9)
    assert (found.leverage, found.fresh_waits_for) == (17, 17)
    assert (found.covered_by_count, found.spills_ever, found.silent) == (False, None, None)


def test_every_field_by_hand() -> None:
    found = hotspot(
        class_share=0.5,
        holder_count=2,
        instance_count=6,
        prompt_tokens=100,
        hit_tokens=80,
        queued_tokens_inside=20,
        queued_tokens_outside=60,
        start_residents=1,
        rate_per_s=8,
        residence_s=2,
        class_residence_s=6,
        elapsed_s=4,
    )
    assert found.leverage == Fraction(60 + 100, 20 + 20) == 4
    assert found.growth == Fraction(1 + 2 * 4, 1 + 1 * 4)
    assert found.growth_limit == 2
    assert found.imbalance == Fraction(2 * 6, 1 * 2)
    assert found.silent_up_to == 4 + Fraction(3, 2)
    assert (found.spills_ever, found.silent) == (True, False)
    assert found.work_share == Fraction(3, 4)
    # 3/4 of 6 instances are 4.5; 4.5 / (3/4 + 4/4) is 2.57.
    assert (found.copies_needed, found.copies_by_product, found.copies_missing, found.copies_left) == (5, 3, 3, 2)
    assert found.fresh_waits_for == 2, "a fresh one has no queue: 100 tokens against 40"


def test_a_covered_class_is_not_a_silent_hot_spot() -> None:
    found = hotspot(**CLASS | {"class_share": 0.25, "holder_count": 4}, rate_per_s=10, residence_s=3)
    assert (found.covered_by_work, found.spills_ever, found.silent) == (True, False, False)


def test_a_queue_on_the_holder_can_make_a_hit_worth_nothing() -> None:
    found = hotspot(**CLASS, queued_tokens_inside=5000, rate_per_s=10)
    assert found.leverage < 1
    assert (found.spills_ever, found.spill_time_s) == (True, 0)


def test_longer_residence_takes_coverage_away() -> None:
    given = CLASS | {"class_share": 0.25, "holder_count": 4, "rate_per_s": 10, "residence_s": 3}
    assert hotspot(**given).covered_by_work
    found = hotspot(**given, class_residence_s=9)
    assert (found.covered_by_count, found.covered_by_work, found.work_share) == (True, False, Fraction(1, 2))
    assert (found.silent, found.spills_ever, found.spill_time_s) == (True, False, None)
    assert "never" in str(found)
    assert r"\text{never}" in found.latex()


@given(
    st.fractions(Fraction(1, 20), Fraction(19, 20), max_denominator=20),
    st.integers(1, 4),
    st.integers(1, 60),
    st.integers(1, 8),
    st.integers(1, 8),
    st.integers(0, 6),
)
def test_the_first_spill_is_found_by_integration_too(
    share: Fraction, holders: int, rate: int, own_s: int, other_s: int, start: int
) -> None:
    found = hotspot(
        class_share=share,
        holder_count=holders,
        instance_count=holders + 3,
        prompt_tokens=96,
        hit_tokens=64,
        start_residents=start,
        rate_per_s=rate,
        residence_s=other_s,
        class_residence_s=own_s,
    )
    hot = float(formulas.hot_rate(share, holders, rate))
    cold = float(formulas.cold_rate(share, holders, holders + 3, rate))
    inside = outside = float(start)
    step_s, crossed, nearest = 0.02, None, -1e9
    for k in range(int(12 * max(own_s, other_s) / step_s)):
        nearest = max(nearest, inside + 1 - 3 * (outside + 1))
        if nearest > 0:
            crossed = k * step_s
            break
        inside += step_s * (hot - inside / own_s)
        outside += step_s * (cold - outside / other_s)
    if crossed is None:
        assert found.spill_time_s is None or nearest > -0.05, "integration may miss what only just happens"
    else:
        assert found.spill_time_s == pytest.approx(crossed, rel=0.1, abs=0.3)


def test_symbols_give_formulas() -> None:
    x = sp.Symbol("x", positive=True)
    rate, stay = sp.symbols("Q T", positive=True)
    found = hotspot(**CLASS | {"class_share": x, "holder_count": 4}, rate_per_s=rate, residence_s=stay)
    assert found.covered_by_count == (16 * x <= 4)
    values = {x: sp.Rational(9, 10), rate: 400, stay: 1}
    numeric = hotspot(**CLASS | {"holder_count": 4}, rate_per_s=400, residence_s=1)
    assert bool(found.spills_ever.subs(values)) is numeric.spills_ever is True
    assert float(found.spill_time_s.subs(values)) == pytest.approx(numeric.spill_time_s)
    assert found.copies_by_product.subs(values) == numeric.copies_by_product == 6
    assert "frac" in found.latex()


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"class_share": 1}, "class_share"),
        ({"class_share": float("nan")}, "class_share"),
        ({"class_share": -sp.Symbol("x", positive=True)}, "class_share"),
        ({"class_share": sp.Float(0.5)}, "class_share"),
        ({"holder_count": 16}, "holder_count"),
        ({"holder_count": 0}, "holder_count"),
        ({"instance_count": 1}, "instance_count"),
        ({"hit_tokens": 1089}, "hit_tokens"),
        ({"rate_per_s": 0}, "rate_per_s"),
        ({"class_residence_s": 2}, "residence_s"),
        ({"rate_per_s": 1, "residence_s": 2, "class_residence_s": sp.Symbol("T")}, "class_residence_s"),
    ],
)
def test_bad_input_is_named(changed: dict[str, Any], field: str) -> None:
    with pytest.raises(BadInput) as caught:
        hotspot(**CLASS | changed)
    assert caught.value.field == field
