"""Pools that do one thing, and instances of unequal speed."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from scheduler import formulas
from scheduler.policies.catalogue import policy
from scheduler.policies.choosing import decide
from scheduler.state import ClusterState, Request
from scheduler.testing.laws import product_indicators
from scheduler.testing.strategies import situations

Drawn = tuple[ClusterState, Request]
small = st.fractions(0, 3, max_denominator=8)
speeds = st.fractions(Fraction(1, 8), 8, max_denominator=8)


def queue_ends(prefills: list[int], tau: Fraction) -> list[Fraction]:
    """When each prefill of a first-come-first-served queue is done."""
    done, now = [], Fraction(0)
    for tokens in prefills:
        now += tau * tokens
        done.append(now)
    return done


@given(st.lists(st.lists(st.integers(1, 90), max_size=5), min_size=2, max_size=4), st.integers(1, 90), speeds)
def test_on_a_prefill_pool_the_least_p_token_adds_the_least(queues: list[list[int]], new: int, tau: Fraction) -> None:
    def added(queue: list[int]) -> Fraction:
        with_it, without = queue_ends([*queue, new], tau), queue_ends(queue, tau)
        assert with_it[:-1] == without, "who is ahead does not wait for who comes later"
        return sum(with_it, Fraction(0)) - sum(without, Fraction(0))

    nothing = (0,) * len(queues)
    state = ClusterState(
        ids=tuple(map(str, range(len(queues)))),
        running=nothing,
        waiting=tuple(map(len, queues)),
        queued_prefill_tokens=tuple(map(sum, queues)),
        hit_tokens=nothing,
    )
    request = Request(id=0, arrival_s=0.0, prompt_tokens=new)
    delays = [added(queue) for queue in queues]
    assert delays[decide(policy("least_p_token"), state, request)[0].instance] == min(delays)
    chosen, best = decide(policy("lmetric"), state, request)[0].instance, delays.index(min(delays))
    assert delays[chosen] <= Fraction(len(queues[best]) + 1, len(queues[chosen]) + 1) * delays[best]


@given(situations(2, 6, loose=True), st.integers(0, 300))
def test_on_a_decode_pool_three_rules_are_one(drawn: Drawn, kappa: int) -> None:
    state, request = drawn
    nothing = (0,) * len(state)
    state = ClusterState(
        ids=state.ids,
        running=state.running,
        waiting=state.waiting,
        queued_prefill_tokens=nothing,
        hit_tokens=(request.prompt_tokens,) * len(state),
    )
    rules = ("lmetric", f"marginal_delay_offset:kappa={kappa}", "join_shortest_queue")
    assert len({decide(policy(rule), state, request)[0].instance for rule in rules}) == 1


def decode_run(batch: list[tuple[int, int]], base: Fraction, gamma: Fraction, reads: Fraction) -> Fraction:
    """Sum of the ends of requests ``(KV tokens, steps)`` that decode together, one token a step each."""
    now, total = Fraction(0), Fraction(0)
    live = [[kv, steps] for kv, steps in batch if steps]
    while live:
        now += base + gamma * len(live) + reads * sum(kv for kv, _ in live)
        live = [[kv + 1, steps - 1] for kv, steps in live]
        total += now * sum(1 for _, steps in live if not steps)
        live = [row for row in live if row[1]]
    return total


@given(
    others=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), max_size=5),
    prompt=st.integers(1, 30),
    steps=st.integers(1, 8),
    base=small,
    gamma=small,
    reads=small,
)
def test_on_a_decode_pool_a_request_adds_the_score_and_a_constant(
    others: list[tuple[int, int]], prompt: int, steps: int, base: Fraction, gamma: Fraction, reads: Fraction
) -> None:
    others = [(kv, steps + more) for kv, more in others]  # all outlive it
    added = decode_run([*others, (prompt, steps)], base, gamma, reads) - decode_run(others, base, gamma, reads)
    score = formulas.decode_pool_delay(len(others) + 1, sum(kv for kv, _ in others), gamma, reads, prompt, steps)
    # The constant: its decode alone, less one pair.
    alone = decode_run([(prompt, steps)], base, gamma, reads)
    assert added == steps * score + alone - formulas.pair_decode_delay(steps, gamma, reads, prompt)


@given(
    residuals=st.lists(st.integers(1, 12), max_size=5),
    steps=st.integers(1, 12),
    base=small,
    gamma=small,
    queue=st.integers(0, 50),
    new=st.integers(1, 50),
    tau=speeds,
)
def test_on_any_instance_a_request_adds_its_timed_delay(
    residuals: list[int], steps: int, base: Fraction, gamma: Fraction, queue: int, new: int, tau: Fraction
) -> None:
    # Prefill stalls all decode, so the others lose one prefill each; then all decode together.
    others = [(0, residual) for residual in residuals]
    decode = decode_run([*others, (0, steps)], base, gamma, Fraction(0)) - decode_run(others, base, gamma, Fraction(0))
    prefill = tau * (queue + new) + tau * new * len(others)
    shared = sum(min(steps, residual) for residual in residuals)
    overlap = Fraction(shared, steps * len(others)) if others else Fraction(0)
    predicted = formulas.timed_delay(tau, queue, new, len(others) + 1, steps, base, gamma, overlap)
    # Nothing is shared beyond its end, but who ends later is late by what it lost: no more, no less.
    assert prefill + decode == predicted


@given(situations(2, 6, loose=True), st.data())
def test_ignoring_speeds_costs_at_most_their_ratio(drawn: Drawn, data: st.DataObject) -> None:
    tau = data.draw(st.lists(speeds, min_size=len(drawn[0]), max_size=len(drawn[0])))
    costs = [formulas.timed_product(t, p, b) for t, (p, b) in zip(tau, product_indicators(*drawn), strict=True)]
    chosen, best = decide(policy("lmetric"), *drawn)[0].instance, costs.index(min(costs))
    assert costs[chosen] <= tau[chosen] / tau[best] * costs[best]
    assert costs[chosen] * min(tau) <= max(tau) * costs[best]


def test_the_ratio_of_speeds_is_reached() -> None:
    state = ClusterState(
        ids=("slow", "fast"), running=(1, 3), waiting=(0, 0), queued_prefill_tokens=(100, 0), hit_tokens=(0, 0)
    )
    request = Request(id=0, arrival_s=0.0, prompt_tokens=100)
    (slow, fast), tau = product_indicators(state, request), (Fraction(4), Fraction(1))
    assert decide(policy("lmetric"), state, request)[0].instance == 0
    assert formulas.timed_product(tau[0], *slow) == 4 * formulas.timed_product(tau[1], *fast)


@given(situations(2, 2, loose=True), small, small, st.integers(0, 90), st.data())
def test_step_times_known_within_a_factor_cost_at_most_the_factor(
    drawn: Drawn, base: Fraction, gamma: Fraction, steps: int, data: st.DataObject
) -> None:
    factors = data.draw(st.lists(speeds, min_size=2, max_size=2))
    believed: list[Fraction] = []
    true: list[Fraction] = []
    columns = zip(product_indicators(*drawn), drawn[0].queued_prefill_tokens, factors, strict=True)
    for (tokens, batch), queue, factor in columns:
        for costs, f in ((believed, 1), (true, factor)):
            costs.append(formulas.timed_delay(f, queue, tokens - queue, batch, steps, f * base, f * gamma))
    chosen = believed.index(min(believed))
    assert true[chosen] * min(factors) <= max(factors) * min(true)


@given(st.integers(1, 10**6))
def test_the_timed_product_may_choose_a_slow_decoder_by_any_factor(factor: int) -> None:
    # A cached, idle instance with a slow step (T0) against one with a missing prompt: tau P B 1 against 1000.
    slow = formulas.timed_delay(Fraction(1), 0, 1, 1, 1, 2000 * factor, 0)
    fast = formulas.timed_delay(Fraction(1), 0, 1000, 1, 1, 0, 0)
    assert formulas.timed_product(1, 1, 1) < formulas.timed_product(1, 1000, 1)
    assert slow > factor * fast
