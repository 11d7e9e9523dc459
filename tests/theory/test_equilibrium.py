"""Where routing settles if P-tokens stay as they are: the shipped rules, one arrival after another."""

from __future__ import annotations

import math
import random
from fractions import Fraction

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from scheduler import formulas
from scheduler.ops import SCALAR
from scheduler.policies.catalogue import policy
from scheduler.policies.choosing import decide
from scheduler.policies.linear import BATCH_SCALE, TOKEN_SCALE
from scheduler.policies.rule import Policy
from scheduler.state import ClusterState, Request

REQUEST = Request(id=0, arrival_s=0.0, prompt_tokens=2000)
p_tokens = st.lists(st.integers(1, 2000), min_size=2, max_size=6)
WEIGHTS = [0.3, 0.5, 0.75]


def choose(rule: Policy, tokens: list[int], requests: list[int]) -> int:
    """The shipped decision on instances whose P-tokens come from their hits alone."""
    nothing = (0,) * len(tokens)
    state = ClusterState(
        ids=tuple(map(str, range(len(tokens)))),
        running=tuple(requests),
        waiting=nothing,
        queued_prefill_tokens=nothing,
        hit_tokens=tuple(REQUEST.prompt_tokens - token for token in tokens),
    )
    return decide(rule, state, REQUEST)[0].instance


def fill(rule: Policy, tokens: list[int], total: int, start: list[int] | None = None) -> list[int]:
    """Route so many requests, none of which ends."""
    requests = list(start or [0] * len(tokens))
    for _ in range(total):
        requests[choose(rule, tokens, requests)] += 1
    return requests


def is_at_rest(tokens: list[int], requests: list[int]) -> bool:
    rows = list(zip(tokens, requests, strict=True))
    return all(p * k <= other * (more + 1) for p, k in rows for other, more in rows)


@settings(max_examples=40)
@given(p_tokens, st.integers(0, 60))
def test_routing_one_by_one_stays_at_rest(tokens: list[int], total: int) -> None:
    requests = [0] * len(tokens)
    for _ in range(total):
        requests[choose(policy("lmetric"), tokens, requests)] += 1
        assert is_at_rest(tokens, requests)


@settings(max_examples=40)
@given(p_tokens, st.integers(1, 60))
def test_whole_requests_are_dealt_as_seats_by_highest_averages(tokens: list[int], total: int) -> None:
    # D'Hondt with votes 1/P: sort all quotients votes/(seats + 1), give out the first T. Ties in order of the index.
    quotients = sorted((Fraction(p * seat), i) for i, p in enumerate(tokens) for seat in range(1, total + 1))
    dealt = [sum(1 for _, i in quotients[:total] if i == instance) for instance in range(len(tokens))]
    assert fill(policy("lmetric"), tokens, total) == dealt


@settings(max_examples=40)
@given(p_tokens, st.integers(1, 60))
def test_whole_requests_stay_near_the_shares(tokens: list[int], total: int) -> None:
    inverse = sum(Fraction(1, p) for p in tokens)
    for p, k in zip(tokens, fill(policy("lmetric"), tokens, total), strict=True):
        assert formulas.hyperbolic_share(Fraction(total), p, inverse) - 1 <= k
        assert k <= formulas.hyperbolic_share(Fraction(total + len(tokens)), p, inverse)


@settings(max_examples=30)
@given(st.lists(st.integers(1, 30), min_size=2, max_size=3), st.integers(0, 9))
def test_a_rest_is_the_least_potential_and_unique_up_to_ties(tokens: list[int], total: int) -> None:
    states = [[total]] if len(tokens) == 1 else _splits(total, len(tokens))
    sums = [sum(formulas.potential(Fraction(p), k) for p, k in zip(tokens, s, strict=True)) for s in states]
    found = fill(policy("lmetric"), tokens, total)
    assert sums[states.index(found)] == min(sums)
    resting = [state for state in states if is_at_rest(tokens, state)]
    assert all(sums[states.index(state)] == min(sums) for state in resting)
    assert all(abs(a - b) <= 1 for state in resting for a, b in zip(state, found, strict=True))


def _splits(total: int, parts: int) -> list[list[int]]:
    if parts == 1:
        return [[total]]
    return [[first, *rest] for first in range(total + 1) for rest in _splits(total - first, parts - 1)]


@settings(max_examples=30)
@given(p_tokens, st.data())
def test_from_any_start_an_arrival_brings_its_instance_to_rest(tokens: list[int], data: st.DataObject) -> None:
    start = data.draw(st.lists(st.integers(0, 30), min_size=len(tokens), max_size=len(tokens)))
    requests = list(start)
    for _ in range(20):
        chosen = choose(policy("lmetric"), tokens, requests)
        requests[chosen] += 1
        mine = tokens[chosen] * requests[chosen]
        assert all(mine <= p * (k + 1) for p, k in zip(tokens, requests, strict=True))


@settings(max_examples=20)
@given(st.lists(st.integers(1, 200), min_size=2, max_size=4), st.integers(1, 20), st.data())
def test_routing_residents_again_settles_at_a_rest(tokens: list[int], total: int, data: st.DataObject) -> None:
    requests = [0] * len(tokens)
    requests[data.draw(st.integers(0, len(tokens) - 1))] = total
    for _ in range(total * len(tokens) + 1):
        movable = [
            i
            for i, k in enumerate(requests)
            if k and not all(tokens[i] * k <= p * (n + 1) for p, n in zip(tokens, requests, strict=True))
        ]
        if not movable:
            break
        requests[movable[0]] -= 1
        requests[choose(policy("lmetric"), tokens, requests)] += 1
    assert is_at_rest(tokens, requests)


def test_under_completions_the_mean_batch_follows_the_shares() -> None:
    """One request at random ends, one arrives, 4,000 times over; the total is kept."""
    tokens, total, rng = [100, 200, 400, 800], 90, random.Random(1)
    requests = fill(policy("lmetric"), tokens, total)
    sums = [0] * len(tokens)
    for _ in range(4000):
        leaving = rng.choices(range(len(tokens)), weights=requests)[0]
        requests[leaving] -= 1
        requests[choose(policy("lmetric"), tokens, requests)] += 1
        sums = [held + k for held, k in zip(sums, requests, strict=True)]
    inverse = sum(Fraction(1, p) for p in tokens)
    for p, held in zip(tokens, sums, strict=True):
        assert abs(held / 4000 - formulas.hyperbolic_share(total, p, inverse)) < 1


@settings(max_examples=40)
@given(st.lists(st.integers(1, 2000), min_size=2, max_size=6), st.integers(1, 60), st.sampled_from(WEIGHTS))
def test_a_line_fills_to_the_level(tokens: list[int], total: int, weight: float) -> None:
    rate = Fraction(formulas.exchange_rate(Fraction(repr(weight)), TOKEN_SCALE, BATCH_SCALE))
    requests = fill(policy(f"linear:form=p_token,weight={weight}"), tokens, total)
    rows = list(zip(tokens, requests, strict=True))
    assert all(p + rate * k <= other + rate * (more + 1) for p, k in rows if k for other, more in rows)
    low, high = (formulas.water_level(SCALAR, sorted(tokens), Fraction(t), rate) for t in (total, total + len(tokens)))
    for p, k in rows:
        assert formulas.flooded_share(SCALAR, low, p, rate) - 1 <= k <= formulas.flooded_share(SCALAR, high, p, rate)


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=64), st.integers(1, 500), st.integers(1, 900))
def test_flooded_shares_add_up_and_agree_with_the_formula_where_it_holds(
    tokens: list[int], total: int, rate: int
) -> None:
    level = formulas.water_level(SCALAR, sorted(tokens), Fraction(total), rate)
    shares = [formulas.flooded_share(SCALAR, level, p, rate) for p in tokens]
    assert sum(shares) == total
    mean = Fraction(sum(tokens), len(tokens))
    linear = [formulas.linear_share(Fraction(total), len(tokens), p, mean, rate) for p in tokens]
    assert (min(linear) >= 0) == (linear == shares)


@settings(max_examples=30)
@given(st.lists(st.integers(100, 2000), min_size=2, max_size=4), st.sampled_from(WEIGHTS), st.integers(0, 9))
def test_the_product_starves_nobody_and_a_line_does(tokens: list[int], weight: float, more: int) -> None:
    inverse = sum(Fraction(1, p) for p in tokens)
    total = math.floor(max(tokens) * inverse) + 1 + more
    assert formulas.hyperbolic_share(total, max(tokens), inverse) > 1
    assert min(fill(policy("lmetric"), tokens, total)) >= 1
    rate = Fraction(formulas.exchange_rate(Fraction(repr(weight)), TOKEN_SCALE, BATCH_SCALE))
    few = math.floor((max(tokens) - min(tokens)) / rate)
    level = formulas.water_level(SCALAR, sorted(tokens), Fraction(max(1, few)), rate)
    assume(few >= 1 and formulas.flooded_share(SCALAR, level, max(tokens), rate) == 0)
    filled = fill(policy(f"linear:form=p_token,weight={weight}"), tokens, few)
    assert [k for p, k in zip(tokens, filled, strict=True) if p == max(tokens)] == [0] * tokens.count(max(tokens))


def test_with_the_same_requests_the_line_starves_an_instance_that_the_product_serves() -> None:
    tokens = [100, 2000]
    total = math.floor(2000 * (Fraction(1, 100) + Fraction(1, 2000))) + 1
    assert fill(policy("lmetric"), tokens, total) == [21, 1]
    assert fill(policy("linear:form=p_token,weight=0.9"), tokens, total) == [22, 0]
