"""Growth, leverage, silence and starvation, on the shipped product and on the formulas."""

import math
import statistics
from collections.abc import Callable, Iterator
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
from scheduler.testing.laws import product_indicators
from scheduler.testing.strategies import situations

Drawn = tuple[ClusterState, Request]
PRODUCT = policy("lmetric")

small = st.fractions(0, 40, max_denominator=12)
positive = st.fractions(Fraction(1, 12), 40, max_denominator=12)


def state_of(residents: list[int], hits: list[int], queued: list[int] | None = None) -> ClusterState:
    zeros = (0,) * len(residents)
    return ClusterState(
        ids=tuple(str(i) for i in range(len(residents))),
        running=tuple(residents),
        waiting=zeros,
        queued_prefill_tokens=tuple(queued) if queued else zeros,
        hit_tokens=tuple(hits),
    )


def request(prompt: int) -> Request:
    return Request(id=0, arrival_s=0.0, prompt_tokens=prompt)


def of_round(arrival: Any, own: int, other: int, rounds: int) -> Iterator[Any]:
    """Rounds of one second: first the class, then the others."""
    for second in range(rounds):
        for k in range(own + other):
            yield arrival(float(second), k < own)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 3), st.integers(1, 3), st.integers(0, 5))
def test_batches_grow_apart_as_the_fluid_says(
    routed: Callable[..., Any], arrival: Any, holders: int, others: int, each_other: int, more: int, start: int
) -> None:
    own, other, rounds = holders * (each_other + more), others * each_other, 3
    instances = holders + others
    *_, last = routed(
        instances, range(others, instances), of_round(arrival, own, other, rounds), prompt=10**6, hit=10**6, start=start
    )
    share = Fraction(own, own + other)
    flows = (
        formulas.hot_rate(share, holders, own + other),
        formulas.cold_rate(share, holders, instances, own + other),
    )
    hot, cold = set(last.residents[others:]), set(last.residents[:others])
    assert hot == {start + flows[0] * rounds}
    assert cold == {start + flows[1] * rounds}
    if start + flows[1]:
        assert Fraction(hot.pop(), cold.pop()) == formulas.hotspot_growth(start, *flows, rounds)


@given(situations(2, 8, loose=True))
def test_the_chosen_batch_is_within_the_leverage_of_every_other(drawn: Drawn) -> None:
    indicators = product_indicators(*drawn)
    chosen = decide(PRODUCT, *drawn)[0].instance
    tokens, batch = indicators[chosen]
    for other_tokens, other_batch in indicators:
        assert batch <= formulas.leverage(Fraction(other_tokens), tokens) * other_batch
        assert batch <= other_tokens * other_batch, "a hit buys at most the whole prompt and the queue"


@given(situations(2, 2, loose=True))
def test_the_first_is_left_exactly_above_the_leverage(drawn: Drawn) -> None:
    (p_i, b_i), (p_j, b_j) = product_indicators(*drawn)
    assert decide(PRODUCT, *drawn)[0].instance == formulas.spills(b_i, b_j, formulas.leverage(Fraction(p_j), p_i))


def test_a_completion_elsewhere_exceeds_the_leverage() -> None:
    hits, prompt = [1024, 0], 1088
    assert decide(PRODUCT, state_of([33, 1], hits), request(prompt))[0].instance == 0
    batch, other = 33 + 1, 0 + 1  # the resident of the other has finished
    assert batch > formulas.leverage(prompt, prompt - 1024) * other


@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 12))
def test_a_steady_imbalance_is_left_exactly_above_its_limit(cold: int, rho: int, beside: int) -> None:
    limit = formulas.silent_imbalance(Fraction(cold), rho)
    at_limit = rho * (cold + 1) - 1
    assert limit == Fraction(at_limit, cold)
    for hot in {max(0, at_limit + step) for step in (-beside, 0, 1, beside)}:
        left = decide(PRODUCT, state_of([hot, cold], [32 * (rho - 1), 0]), request(32 * rho))[0].instance == 1
        assert left == (Fraction(hot, cold) > limit) == formulas.spills(hot + 1, cold + 1, rho)


@given(small, positive, small, positive.map(lambda x: x + 1), positive)
def test_without_completions_the_first_spill_is_where_the_lines_meet(
    start: Fraction, hot: Fraction, cold: Fraction, rho: Fraction, step: Fraction
) -> None:
    def spilled(time_s: Fraction) -> bool:
        return bool(formulas.spills(start + hot * time_s + 1, start + cold * time_s + 1, rho))

    if hot <= rho * cold:
        assert not any(spilled(step * 10**k) for k in range(6))
        return
    time_s = formulas.spill_time_s(start, hot, cold, rho)
    assert not spilled(time_s)
    assert spilled(time_s + step)
    assert not spilled(time_s * Fraction(999, 1000))


@given(small, positive, small, positive.map(lambda x: x + 1), positive)
def test_with_completions_the_first_spill_is_where_the_solutions_meet(
    start: Fraction, hot: Fraction, cold: Fraction, rho: Fraction, residence: Fraction
) -> None:
    def over(passed: Fraction) -> Fraction:
        inside, outside = (
            formulas.residents_between(start, formulas.steady_residents(flow, residence), passed)
            for flow in (hot, cold)
        )
        return Fraction(inside + 1 - rho * (outside + 1))

    if (hot - rho * cold) * residence <= rho - 1:
        assert all(over(Fraction(k, 50)) <= 0 for k in range(50))
        return
    passed = formulas.spill_progress(start, hot, cold, rho, residence)
    assert 0 < passed < 1
    assert over(passed) == 0
    assert over(passed * Fraction(99, 100)) < 0 < over((1 + passed) / 2)
    time_s = formulas.spill_time_with_completions_s(SCALAR, start, hot, cold, rho, residence)
    assert -math.expm1(-time_s / residence) == pytest.approx(float(passed), rel=1e-9)


def test_random_arrivals_spill_where_the_fluid_never_does(
    routed: Callable[..., Any], poisson: Callable[..., Any]
) -> None:
    share, rate, stay, rho = 0.5, 12.0, 1.0, 3
    hot, cold = formulas.hot_rate(share, 1, rate), formulas.cold_rate(share, 1, 4, rate)
    assert (hot - rho * cold) * stay <= rho - 1, "the flows alone never spill"
    times = []
    for seed in range(20):
        walk = routed(4, [0], poisson(seed, share, rate, stay), prompt=96, hit=64, start=2)
        times.append(next(step.arrival.time_s for step in islice(walk, 2000) if step.spilled) / stay)
    assert [round(t, 1) for t in (min(times), statistics.median(times), max(times))] == [1.0, 4.6, 35.3]


@given(st.integers(1, 9), st.lists(st.integers(0, 20), min_size=2, max_size=6), st.data())
def test_a_long_enough_burst_ends_every_silence(
    routed: Callable[..., Any], arrival: Any, rho: int, residents: list[int], data: st.DataObject
) -> None:
    holders = data.draw(st.integers(1, len(residents) - 1))
    hits = [32 * (rho - 1)] * holders + [0] * (len(residents) - holders)
    least = min(residents[holders:]) + 1
    left = sum(max(0, rho * least - residents[i]) for i in range(holders))
    stayed = 0
    while (chosen := decide(PRODUCT, state_of(residents, hits), request(32 * rho))[0].instance) < holders:
        residents[chosen] += 1
        stayed += 1
        assert stayed <= left
    assert stayed == left


@given(
    st.lists(
        st.just((0, 0, 0)) | st.tuples(st.integers(0, 40), st.integers(0, 64), st.integers(0, 80)),
        min_size=1,
        max_size=6,
    ),
    st.integers(0, 6),
)
def test_a_fresh_instance_waits_for_every_other_one(others: list[tuple[int, int, int]], place: int) -> None:
    prompt, place = 64, min(place, len(others))
    rows = [*others[:place], (0, 0, 0), *others[place:]]
    state = state_of([r for r, _, _ in rows], [h for _, h, _ in rows], [q for _, _, q in rows])
    enough = []
    for i, (residents, hit, queued) in enumerate(rows):
        if i != place:
            rho = formulas.leverage(Fraction(prompt), queued + max(1, prompt - hit))
            enough.append(residents >= formulas.residents_to_share(SCALAR, rho, cold_is_first=place < i))
    assert (decide(PRODUCT, state, request(prompt))[0].instance == place) == all(enough)


def test_of_two_fresh_instances_only_the_first_gets_the_request() -> None:
    # 20 residents are above the leverage of 17 on the one warm instance: enough for the first fresh one alone.
    assert decide(PRODUCT, state_of([20, 0, 0], [1024, 0, 0]), request(1088))[0].instance == 1
    assert decide(PRODUCT, state_of([20, 0], [1024, 0]), request(1088))[0].instance == 1


@pytest.mark.parametrize(("place", "needed"), [(3, 17), (0, 16)])
def test_the_live_example_starves_up_to_16_residents(place: int, needed: int) -> None:
    for residents in (needed - 1, needed):
        rows = [residents] * 3
        rows.insert(place, 0)
        hits = [0 if i == place else 1024 for i in range(4)]
        taken = decide(PRODUCT, state_of(rows, hits), request(1088))[0].instance == place
        assert taken == (residents == needed)


@pytest.mark.parametrize(("rate_per_s", "served"), [(32, False), (40, True)])
def test_a_replaced_replica_idles_for_ever_below_the_leverage(
    routed: Callable[..., Any], arrival: Any, rate_per_s: int, served: bool
) -> None:
    arrivals = [arrival(k / rate_per_s, True, 1.0) for k in range(12 * rate_per_s)]
    steps = list(routed(3, [0, 1], arrivals, copies=False))
    assert any(step.instance == 2 for step in steps) == served
