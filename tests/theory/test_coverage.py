"""Coverage of one class by count and by work, and of many classes, against the shipped product and brute force."""

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from itertools import combinations, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler import formulas
from scheduler.errors import BadInput
from theory.covering import Coverage, coverage

Classes = Mapping[str, tuple[Fraction, list[int]]]
shares = st.fractions(0, Fraction(99, 100), max_denominator=100)
positive = st.fractions(Fraction(1, 12), 40, max_denominator=12)


@given(shares, st.integers(1, 30), st.integers(1, 30), positive)
def test_flows_odds_and_shares_agree_on_coverage(share: Fraction, holders: int, others: int, rate: Fraction) -> None:
    instances = holders + others
    covered = formulas.covered(share, holders, instances)
    hot = formulas.hot_rate(share, holders, rate)
    assert (hot <= formulas.cold_rate(share, holders, instances, rate)) == covered
    assert (share / (1 - share) <= Fraction(holders, others)) == covered


def of_rounds(arrival: Any, own: int, other: int, rounds: int) -> Iterator[Any]:
    for second in range(rounds):
        for k in range(own + other):
            yield arrival(float(second), k < own)


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))
def test_a_covered_class_leaves_the_batches_level_and_no_other_does(
    routed: Callable[..., Any], arrival: Any, holders: int, others: int, each: int, each_other: int
) -> None:
    own, other, rounds = holders * each, others * each_other, 6
    instances = holders + others
    arrivals = of_rounds(arrival, own, other, rounds)
    *_, last = routed(instances, range(others, instances), arrivals, prompt=10**6, hit=10**6)
    spread = max(last.residents) - min(last.residents)
    if formulas.covered(Fraction(own, own + other), holders, instances):
        assert spread <= 1
    else:
        assert spread == rounds * (each - each_other)


@given(shares, st.integers(1, 30), st.integers(1, 30), positive, positive)
def test_level_residents_mean_a_covered_share_of_work(
    share: Fraction, holders: int, others: int, own_s: Fraction, other_s: Fraction
) -> None:
    instances = holders + others
    inside = formulas.steady_residents(formulas.hot_rate(share, holders, 1), own_s)
    outside = formulas.steady_residents(formulas.cold_rate(share, holders, instances, 1), other_s)
    work = formulas.work_share(share, own_s, other_s)
    assert work == holders * inside / (holders * inside + others * outside)
    assert (inside <= outside) == formulas.covered(work, holders, instances)
    if share:
        assert (work > share) == (own_s > other_s)


@pytest.mark.parametrize(("own_s", "ratio"), [(1.0, 1), (3.0, 3)])
def test_a_class_covered_by_count_fails_by_work(
    routed: Callable[..., Any], arrival: Any, own_s: float, ratio: int
) -> None:
    arrivals = [arrival(k / 40, k % 4 == 0, own_s if k % 4 == 0 else 1.0) for k in range(400)]
    *_, last = routed(4, [3], arrivals, prompt=10**6, hit=10**6)
    assert formulas.covered(Fraction(1, 4), 1, 4)
    assert last.residents[3] == ratio * max(last.residents[:3])


@given(positive, positive, st.fractions(0, 2, max_denominator=40))
def test_littles_law_settles_exactly_below_its_limit(rate: Fraction, base_s: Fraction, load: Fraction) -> None:
    slope = load / rate
    batch = [Fraction(0)]
    for _ in range(30):
        batch.append(rate * (base_s + slope * batch[-1]))
    if load < 1:
        steady = formulas.steady_residents(rate, base_s, slope)
        assert rate * (base_s + slope * steady) == steady
        assert steady - batch[-1] == steady * load**30
    else:
        assert all(after - before >= rate * base_s for before, after in pairwise(batch))


@st.composite
def clusters(draw: st.DrawFn) -> tuple[Classes, int]:
    instances = draw(st.integers(1, 6))
    weights = draw(st.lists(st.integers(0, 12), min_size=1, max_size=5))
    rest = draw(st.integers(0, 12))
    total = max(1, sum(weights) + rest)
    held = st.lists(st.integers(0, instances - 1), max_size=instances)
    return {f"c{k}": (Fraction(weight, total), draw(held)) for k, weight in enumerate(weights)}, instances


def excess(classes: Classes, names: tuple[str, ...], instances: int) -> Fraction:
    """Share of a set of classes less the share of the instances that hold one of them."""
    union = {i for name in names for i in classes[name][1]}
    return sum((classes[name][0] for name in names), Fraction(0)) - Fraction(len(union), instances)


def sets_of(classes: Classes) -> list[tuple[str, ...]]:
    return [chosen for size in range(1, len(classes) + 1) for chosen in combinations(classes, size)]


@given(clusters())
def test_many_classes_are_covered_exactly_if_every_set_is(drawn: tuple[Classes, int]) -> None:
    classes, instances = drawn
    found, worst = coverage(classes, instances), max(excess(*drawn[:1], names, instances) for names in sets_of(classes))
    assert found.feasible == (worst <= 0)
    assert found.slack == -worst
    assert (found.overloaded is None) == found.feasible
    if found.overloaded is not None:
        names = found.overloaded.classes
        assert found.overloaded.share - found.overloaded.bound == excess(classes, names, instances) == worst
        assert set(found.overloaded.holders) == {i for name in names for i in classes[name][1]}


@given(clusters())
def test_a_routing_has_no_misses_and_equal_work(drawn: tuple[Classes, int]) -> None:
    classes, instances = drawn
    found = coverage(classes, instances)
    load = dict.fromkeys(range(instances), Fraction(0))
    for name, (share, held) in classes.items():
        assert set(found.routing[name]) <= set(held)
        assert all(part > 0 for part in found.routing[name].values())
        if found.feasible and share:
            assert sum(found.routing[name].values()) == 1
        for i, part in found.routing[name].items():
            load[i] += share * part
    assert max(load.values()) <= Fraction(1, instances)


@given(clusters())
def test_headroom_is_what_a_class_may_grow(drawn: tuple[Classes, int]) -> None:
    classes, instances = drawn
    for name, more in coverage(classes, instances).headroom.items():
        assert more == -max(excess(classes, names, instances) for names in sets_of(classes) if name in names)


def with_copies(classes: Classes, copies: tuple[tuple[str, int], ...], instances: int) -> Coverage:
    added = {name: [i for copied, i in copies if copied == name] for name in classes}
    return coverage({name: (share, [*held, *added[name]]) for name, (share, held) in classes.items()}, instances)


@given(clusters())
def test_the_copies_make_it_feasible_and_fewer_than_the_bound_do_not(drawn: tuple[Classes, int]) -> None:
    classes, instances = drawn
    found = coverage(classes, instances)
    assert with_copies(classes, found.copies, instances).feasible
    assert len(found.copies) >= found.copies_at_least
    places = [(name, i) for name, (_, held) in classes.items() for i in range(instances) if i not in held]
    if 0 < found.copies_at_least <= 2:
        for copies in combinations(places, found.copies_at_least - 1):
            assert not with_copies(classes, copies, instances).feasible


@given(st.fractions(0, 1, max_denominator=60), st.integers(1, 20), st.data())
def test_one_class_needs_the_copies_of_the_closed_form(share: Fraction, instances: int, data: st.DataObject) -> None:
    holders = data.draw(st.integers(0, instances))
    found = coverage({"only": (share, range(holders))}, instances)
    missing = max(0, -((-share.numerator * instances) // share.denominator) - holders)
    assert len(found.copies) == found.copies_at_least == missing


def test_single_classes_do_not_suffice() -> None:
    found = coverage({"a": (0.5, [0]), "b": (0.5, [0])}, 2)
    assert all(coverage({name: (0.5, [0])}, 2).feasible for name in "ab")
    assert found.overloaded is not None
    assert found.overloaded.classes == ("a", "b")
    assert found.slack == Fraction(-1, 2)


def test_an_answer_can_be_read() -> None:
    good = coverage({"a": (0.5, [0]), "b": (0.25, [0, 1])}, 2)
    assert str(good) == "feasible\na: 1 to 0\nb: 1 to 1\nslack: 0"
    assert good.latex() == ("\\begin{array}{ll}\n\\text{a} & 0\\colon 1 \\\\\n\\text{b} & 1\\colon 1\n\\end{array}")
    bad = coverage({"a": (0.5, [0]), "b": (0.5, [0])}, 2)
    assert str(bad).splitlines() == [
        "not feasible",
        "a: 1 to 0",
        "b: nowhere",
        "overloaded: a, b with 1 of the traffic on 1/2",
        "copies (at least 1): b to 1",
    ]
    assert bad.latex() == r"x_C = 1 > \tfrac{1}{2} = |M_C|/N"


@pytest.mark.parametrize(
    ("classes", "instances", "field"),
    [
        ({}, 2, "classes"),
        ({"a": (0.5, [0])}, 0, "instance_count"),
        ({"a": (1.5, [0])}, 2, "classes['a'].share"),
        ({"a": (0.5, [2])}, 2, "classes['a'].holders"),
        ({"a": 0.5}, 2, "classes['a']"),
        ({"a": (0.5, 1)}, 2, "classes['a'].holders"),
        ({1: (0.5, [0])}, 2, "classes"),
        (2, 8, "classes"),
        ({"a": (0.5, [0])}, 5000, "instance_count"),
        ({"a": (0.7, [0]), "b": (0.7, [1])}, 2, "classes"),
    ],
)
def test_bad_classes_are_named(classes: Any, instances: int, field: str) -> None:
    with pytest.raises(BadInput) as caught:
        coverage(classes, instances)
    assert caught.value.field == field
