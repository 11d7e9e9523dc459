"""What the product heals by itself, the filter, and copies, on the shipped product and against brute force."""

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler import formulas
from scheduler.ops import SCALAR
from scheduler.policies.catalogue import policy
from scheduler.policies.choosing import decide
from scheduler.state import ClusterState, Request

shares = st.fractions(0, 1, max_denominator=60)
leverages = st.fractions(1, 40, max_denominator=12)
positive = st.fractions(Fraction(1, 12), 40, max_denominator=12)


def quiet(share: Fraction, holders: int, instances: int, rho: Fraction, load: Fraction) -> bool:
    """No steady spill at a load (requests resident in all) with this many holders; with all of them never."""
    if holders == instances:
        return True
    inside = formulas.steady_residents(formulas.hot_rate(share, holders, load), 1)
    outside = formulas.steady_residents(formulas.cold_rate(share, holders, instances, load), 1)
    return not formulas.spills(inside + 1, outside + 1, rho)


@given(st.fractions(0, Fraction(99, 100), max_denominator=100), st.integers(1, 12), st.integers(0, 12), leverages)
def test_the_products_copies_are_the_fewest_that_are_quiet_at_every_load(
    share: Fraction, holders: int, others: int, rho: Fraction
) -> None:
    instances = holders + others
    copies = formulas.product_copies(SCALAR, share, holders, instances, rho)
    heavy = Fraction(10) ** 9
    silent = [m for m in range(holders, instances + 1) if quiet(share, m, instances, rho, heavy)]
    assert copies == silent[0]
    assert silent == list(range(copies, instances + 1)), "once quiet, quiet with more"
    assert all(quiet(share, copies, instances, rho, load) for load in (Fraction(1), Fraction(50), heavy))
    assert copies <= max(holders, formulas.copies_needed(SCALAR, share, instances))


def evenly(arrival: Any, count: int, share: Fraction, rate_per_s: int) -> list[Any]:
    """Arrivals at equal distances with the class evenly among them; each stays one second."""
    whole = [k * share.numerator // share.denominator for k in range(count + 1)]
    return [arrival(k / rate_per_s, whole[k + 1] > whole[k], 1.0) for k in range(count)]


@pytest.mark.parametrize(
    ("share", "prompt", "hit", "made", "needed"),
    [
        (Fraction(9, 10), 1088, 1024, 6, 15),
        (Fraction(1, 2), 1088, 1024, 1, 8),
        (Fraction(19, 20), 1088, 1024, 9, 16),
        (Fraction(9, 10), 160, 128, 11, 15),
    ],
)
def test_the_shipped_product_stops_at_its_copies(
    routed: Callable[..., Any], arrival: Any, share: Fraction, prompt: int, hit: int, made: int, needed: int
) -> None:
    rho = formulas.leverage(Fraction(prompt), prompt - hit)
    assert formulas.product_copies(SCALAR, share, 1, 16, rho) == made
    assert formulas.copies_needed(SCALAR, share, 16) == needed
    *_, last = routed(16, [0], evenly(arrival, 1200, share, 300), prompt=prompt, hit=hit)
    assert len(last.holders) == made
    assert max(last.residents) > 2 * min(last.residents), "the imbalance stays"


def test_few_whole_residents_make_the_product_copy_a_little_more(routed: Callable[..., Any], arrival: Any) -> None:
    # The emptiest of the others has fewer than their mean, which the fluid does not see.
    assert formulas.product_copies(SCALAR, Fraction(9, 10), 1, 16, 17) == 6
    made = {}
    for residents_in_all in (20, 60, 100, 120, 140, 150, 160, 230, 250, 350, 450):
        *_, last = routed(16, [0], evenly(arrival, 4 * residents_in_all, Fraction(9, 10), residents_in_all))
        made[residents_in_all] = len(last.holders)
    assert made == {20: 2, 60: 4, 100: 6, 120: 7, 140: 7, 150: 8, 160: 6, 230: 7, 250: 7, 350: 7, 450: 6}


@pytest.mark.slow
def test_whole_residents_cost_at_most_two_copies_more_over_the_range(routed: Callable[..., Any], arrival: Any) -> None:
    for residents_in_all in range(20, 460, 10):
        *_, last = routed(16, [0], evenly(arrival, 4 * residents_in_all, Fraction(9, 10), residents_in_all))
        made = len(last.holders)
        assert made in (6, 7) if residents_in_all >= 160 else made <= 8


def test_random_arrivals_copy_further_than_the_fluid(routed: Callable[..., Any], poisson: Callable[..., Any]) -> None:
    assert formulas.product_copies(SCALAR, Fraction(1, 2), 1, 4, 3) == 1
    for seed in range(5):
        *_, last = islice(routed(4, [0], poisson(seed, 0.5, 12.0, 1.0), prompt=96, hit=64, start=2), 3000)
        assert len(last.holders) > 1


residents = st.lists(st.integers(0, 12), min_size=2, max_size=10)


def filtered(batches: list[int], held: set[int]) -> int:
    """Where the shipped product sends a request of the class if it sees only instances without the prefix."""
    outside = [i for i in range(len(batches)) if i not in held]
    zeros = (0,) * len(outside)
    state = ClusterState(
        ids=tuple(map(str, outside)),
        running=tuple(batches[i] for i in outside),
        waiting=zeros,
        queued_prefill_tokens=zeros,
        hit_tokens=zeros,
    )
    return outside[decide(policy("lmetric"), state, Request(id=0, arrival_s=0.0, prompt_tokens=100))[0].instance]


@given(residents, st.data())
def test_a_filtered_request_keeps_the_peak_exactly_if_it_goes_below_it(batches: list[int], data: st.DataObject) -> None:
    outside = data.draw(st.integers(1, len(batches) - 1))
    held = set(range(outside, len(batches)))
    target = filtered(batches, held)
    assert batches[target] == min(batches[:outside]), "the product among those without the prefix takes the least batch"
    after = [b + (i == target) for i, b in enumerate(batches)]
    assert (max(after) <= max(batches)) == formulas.keeps_the_peak(min(batches[:outside]), max(batches))


@pytest.mark.parametrize("batches", [[3, 3, 3], [0, 3, 3], [0, 0]])
def test_the_filter_raises_the_peak_of_level_batches(batches: list[int]) -> None:
    after = list(batches)
    after[filtered(batches, {0})] += 1
    assert max(after) == max(batches) + 1


def filtered_below_the_peak(batches: list[int], holders: int, *, frozen: bool) -> int:
    """Requests that the filter sends elsewhere before it has nowhere to send them or raises the largest batch."""
    batches, held, peak, sent = list(batches), set(range(holders)), max(batches), 0
    while len(held) < len(batches):
        target = filtered(batches, held)
        batches[target] += 1
        if batches[target] > peak:
            break
        sent += 1
        if not frozen:
            held.add(target)
    return sent


@given(residents, st.integers(1, 3))
def test_a_filter_that_does_not_freeze_the_holders_runs_out_of_instances(batches: list[int], holders: int) -> None:
    holders = min(holders, len(batches) - 1)
    room = [max(batches) - b for b in batches[holders:]]
    assert filtered_below_the_peak(batches, holders, frozen=True) == sum(room)
    assert filtered_below_the_peak(batches, holders, frozen=False) == sum(1 for r in room if r > 0) <= len(room)


@given(shares, st.integers(0, 20), st.integers(1, 20))
def test_missing_copies_are_the_fewest_that_cover(share: Fraction, holders: int, instances: int) -> None:
    missing = formulas.copies_missing(SCALAR, share, holders, instances)
    enough = [k for k in range(instances + 1) if formulas.covered(share, holders + k, instances)]
    assert missing == enough[0]
    assert formulas.copies_needed(SCALAR, share, instances) <= instances


def test_a_binary_float_can_cost_a_copy() -> None:
    assert formulas.copies_needed(SCALAR, Fraction(55, 100), 100) == 55
    assert formulas.copies_needed(SCALAR, 0.55, 100) == 56


@given(positive, positive, positive, positive, positive, st.fractions(0, Fraction(99, 100), max_denominator=100))
def test_the_gap_decays_once_the_flows_are_level(
    inside: Fraction, outside: Fraction, hot: Fraction, cold: Fraction, stay: Fraction, passed: Fraction
) -> None:
    later = [
        formulas.residents_between(start, formulas.steady_residents(flow, stay), passed)
        for start, flow in ((inside, hot), (outside, cold))
    ]
    gap = formulas.gap_between(inside - outside, hot, cold, stay, passed)
    assert gap == later[0] - later[1]
    if hot <= cold:
        assert gap <= (inside - outside) * (1 - passed)


def test_added_copies_level_the_batches(routed: Callable[..., Any], arrival: Any) -> None:
    share, arrivals = Fraction(9, 10), evenly(arrival, 900, Fraction(9, 10), 300)
    needed = formulas.copies_needed(SCALAR, share, 16)
    for holders, level in ((needed, True), (needed - 9, False)):
        *_, last = routed(16, range(holders), arrivals)
        assert (max(last.residents) - min(last.residents) <= 2) == level
    assert math.ceil(share * 16) == needed
