"""Marginal delay, its cross term with the product and the decode offset: shipped rules against direct simulation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler import formulas
from scheduler.ops import SCALAR
from scheduler.policies.catalogue import policy
from scheduler.policies.choosing import decide
from scheduler.state import ClusterState, Request
from scheduler.testing.strategies import situations

Drawn = tuple[ClusterState, Request]
tokens = st.integers(1, 40)
times = st.fractions(Fraction(1, 8), 50, max_denominator=8)


@dataclass
class Job:
    """A request of the toy engine: arrives, is prefilled, decodes for a while."""

    arrival: Fraction
    prefill: int
    decode: Fraction
    end: Fraction = Fraction(-1)


def run_toy(jobs: list[Job], tau: Fraction) -> None:
    """Prefill first come, first served, ahead of all decode; who is prefilled decodes whenever nothing is prefilled."""
    coming = sorted(jobs, key=lambda job: job.arrival)
    queue: list[Job] = []
    decoding: list[Job] = []
    left: dict[int, Fraction] = {id(job): job.decode for job in jobs}
    now = Fraction(0)
    while coming or queue or decoding:
        while coming and coming[0].arrival <= now:
            queue.append(coming.pop(0))
        if queue:
            job = queue.pop(0)
            now += tau * job.prefill
            decoding.append(job)
        else:
            events = [left[id(job)] for job in decoding] + [job.arrival - now for job in coming[:1]]
            span = min(events)
            now += span
            for job in decoding:
                left[id(job)] -= span
        for job in [job for job in decoding if left[id(job)] == 0]:
            decoding.remove(job)
            job.end = now


def latencies(jobs: list[Job], tau: Fraction) -> Fraction:
    run_toy(jobs, tau)
    return sum((job.end - job.arrival for job in jobs), Fraction(0))


def added(others: list[tuple[Fraction, int, Fraction]], new: int, tau: Fraction) -> Fraction:
    """Delay that a request with so many new tokens adds at time 0, behind the others that came then.

    It counts up to its own first token, so it decodes nothing.
    """
    before = [Job(*other) for other in others if other[0] == 0]
    later = [Job(*other) for other in others if other[0] > 0]
    own = Job(Fraction(0), new, Fraction(0))
    return latencies([*before, own, *later], tau) - latencies([Job(*other) for other in others], tau)


@given(
    running=st.lists(times, max_size=5),
    waiting=st.lists(st.tuples(tokens, times), max_size=5),
    new=tokens,
    tau=st.fractions(Fraction(1, 16), 4, max_denominator=16),
)
def test_a_request_adds_its_marginal_delay(
    running: list[Fraction], waiting: list[tuple[int, Fraction]], new: int, tau: Fraction
) -> None:
    others = [(Fraction(0), 0, decode) for decode in running]
    others += [(Fraction(0), prefill, decode) for prefill, decode in waiting]
    queue = sum(prefill for prefill, _ in waiting)
    state = ClusterState(
        ids=("A",), running=(len(running),), waiting=(len(waiting),), queued_prefill_tokens=(queue,), hit_tokens=(0,)
    )
    [score] = decide(policy("marginal_delay"), state, Request(id=0, arrival_s=0.0, prompt_tokens=new))[0].scores
    assert added(others, new, tau) == tau * Fraction(score)


@given(
    waiting=st.lists(st.tuples(tokens, st.just(Fraction(0)) | times), max_size=6), new=tokens, later=st.integers(0, 3)
)
def test_early_ends_and_later_arrivals_change_how_many_are_delayed(
    waiting: list[tuple[int, Fraction]], new: int, later: int
) -> None:
    queue = sum(prefill for prefill, _ in waiting)
    others = [(Fraction(0), prefill, decode) for prefill, decode in waiting]
    behind = later if queue > 0 else 0  # they must come before the queue is done
    others += [(Fraction(queue, place + 2), 5, Fraction(9)) for place in range(behind)]
    finished = sum(1 for _, decode in waiting if decode == 0)
    batch = len(waiting) + 1
    assert added(others, new, Fraction(1)) == formulas.marginal_delay(queue, new, batch - finished + behind)


def test_a_request_that_ends_with_its_prefill_is_not_delayed() -> None:
    others = [(Fraction(0), 10, Fraction(0)), (Fraction(0), 10, Fraction(3))]
    assert added(others, 4, Fraction(1)) == formulas.marginal_delay(20, 4, 2) < formulas.marginal_delay(20, 4, 3)


@given(
    st.lists(st.tuples(tokens, times), max_size=5),
    tokens,
    st.lists(st.tuples(times, tokens, times), min_size=1, max_size=5),
)
def test_arrivals_at_any_time_never_lower_the_delay(
    waiting: list[tuple[int, Fraction]], new: int, later: list[tuple[Fraction, int, Fraction]]
) -> None:
    others = [(Fraction(0), prefill, decode) for prefill, decode in waiting]
    assert added([*others, *later], new, Fraction(1)) >= added(others, new, Fraction(1))


@pytest.mark.parametrize("new", [200, 333, 400])
@pytest.mark.parametrize("load", [Fraction(1, 8), Fraction(3, 8), Fraction(3, 5)])
def test_steady_arrivals_amplify_the_delay_as_the_fluid_says(load: Fraction, new: int) -> None:
    later_tokens, queue = 2, 100
    every = later_tokens / load
    others = [(Fraction(0), queue, Fraction(900)), (Fraction(0), 0, Fraction(900))]
    others += [(every * place, later_tokens, Fraction(0)) for place in range(1, int(4000 / every))]
    # Arrivals end with their prefill here: they lose their wait behind the request, and nothing in decode.
    predicted = formulas.loaded_delay(Fraction(queue), Fraction(new), 3, load, Fraction(later_tokens))
    # The fluid may be wrong by one arrival at each end of the backlog; one loses at most n.
    assert added(others, new, Fraction(1)) == pytest.approx(float(predicted), abs=2 * new)
    assert predicted - formulas.marginal_delay(queue, new, 3) > 5 * new


@given(situations(1, 1, loose=True))
def test_the_product_is_least_harm_plus_queue_times_others(drawn: Drawn) -> None:
    state, request = drawn
    product, delay = (decide(policy(text), state, request)[0].scores[0] for text in ("lmetric", "marginal_delay"))
    batch = state.running[0] + state.waiting[0] + 1
    assert product - delay == formulas.cross_term(state.queued_prefill_tokens[0], batch)


@given(situations(2, 8, loose=True))
def test_the_product_costs_at_most_the_regret_at_the_best(drawn: Drawn) -> None:
    state, request = drawn
    delays = [Fraction(key) for key in decide(policy("marginal_delay"), state, request)[0].scores]
    best = min(range(len(delays)), key=delays.__getitem__)
    new = max(1, request.prompt_tokens - state.hit_tokens[best])
    batch = state.running[best] + state.waiting[best] + 1
    regret = formulas.product_regret(Fraction(state.queued_prefill_tokens[best]), new, batch)
    chosen = decide(policy("lmetric"), state, request)[0].instance
    assert delays[chosen] <= regret * delays[best]
    assert regret <= batch


def test_the_regret_is_reached() -> None:
    # Least harm is 90 + 30 * 4 = 210 on B; the product is 480 on both and takes the first.
    state = ClusterState(
        ids=("A", "B"), running=(0, 3), waiting=(0, 0), queued_prefill_tokens=(360, 90), hit_tokens=(0, 90)
    )
    request = Request(id=0, arrival_s=0.0, prompt_tokens=120)
    assert decide(policy("lmetric"), state, request)[0].instance == 0
    chosen, best = decide(policy("marginal_delay"), state, request)[0].scores
    assert Fraction(chosen) / Fraction(best) == formulas.product_regret(Fraction(90), 30, 4)


def pair_by_steps(steps: int, gamma: Fraction, reads: Fraction, prompt: int, kv: int) -> Fraction:
    """What one more request in the batch costs the other, both ways, added up over the shared steps."""
    lost = Fraction(0)
    for step in range(steps):
        lost += (gamma + reads * (prompt + step)) + (gamma + reads * (kv + step))
    return lost


@given(st.integers(0, 60), st.fractions(0, 3, max_denominator=9), st.fractions(0, 3, max_denominator=9), tokens, tokens)
def test_two_requests_cost_each_other_what_the_steps_add_up_to(
    steps: int, gamma: Fraction, reads: Fraction, prompt: int, kv: int
) -> None:
    assert formulas.pair_decode_delay(steps, gamma, reads, prompt, kv) == pair_by_steps(steps, gamma, reads, prompt, kv)


@given(st.integers(1, 60), st.integers(1, 60))
def test_the_overlap_with_a_uniform_residual_is_the_mean_over_residuals(own: int, other: int) -> None:
    # Midpoints of unit cells give the integral exactly: min(own, residual) is linear within each cell.
    mean = sum((min(Fraction(own), Fraction(2 * cell + 1, 2)) for cell in range(other)), Fraction(0)) / other
    assert formulas.uniform_overlap(SCALAR, Fraction(own), Fraction(other)) == mean / own


@pytest.mark.parametrize("mean", [50, 400])
def test_the_overlap_without_memory_depends_on_whether_the_own_length_is_known(mean: int) -> None:
    # An output without memory lasts k more steps with chance (1 - 1/mean)^k; shared steps are summed one by one.
    lasts = [(1 - 1 / mean) ** k for k in range(60 * mean)]
    own_given = sum(lasts[:mean]) / mean
    both_random = sum(chance * chance for chance in lasts) / mean
    assert own_given == pytest.approx(1 - math.exp(-1), abs=0.5 / mean)
    assert both_random == pytest.approx(1 / 2, abs=0.5 / mean)
    assert own_given > 5 / 4 * both_random


@given(st.integers(2, 2000), st.integers(1, 1999))
def test_shorter_others_lower_the_offset_below_one_slot(own: int, shorter: int) -> None:
    overlap = formulas.uniform_overlap(SCALAR, Fraction(own), Fraction(min(shorter, own - 1)))
    assert formulas.kappa(Fraction(1), Fraction(1), own, overlap) < own


@given(situations(1, 1, loose=True), st.integers(1, 300), st.integers(1, 5))
def test_the_offset_rule_counts_prefill_and_decode(drawn: Drawn, length: int, gamma: int) -> None:
    # All others outlive the request; times are small integers, so floats are exact.
    state, request = drawn
    batch = state.running[0] + state.waiting[0] + 1
    new = max(1, request.prompt_tokens - state.hit_tokens[0])
    rule = policy(f"marginal_delay_offset:kappa={int(formulas.kappa(Fraction(1), gamma, length))}")
    own = state.queued_prefill_tokens[0] + new + sum(gamma * batch for _ in range(length))
    others = (batch - 1) * (new + sum(gamma for _ in range(length)))
    constant = length * (0 - gamma)  # n_out (T0 - gamma), with T0 = 0
    assert decide(rule, state, request)[0].scores[0] + constant == own + others


@given(situations(2, 2, loose=True), st.integers(0, 500))
def test_the_offset_caps_the_leverage(drawn: Drawn, kappa: int) -> None:
    state, request = drawn
    rule = policy(f"marginal_delay_offset:kappa={kappa}")
    taken = decide(rule, state, request)[0].instance
    new = [max(1, request.prompt_tokens - hit) for hit in state.hit_tokens]
    batch = [r + w + 1 for r, w in zip(state.running, state.waiting, strict=True)]
    other = 1 - taken
    queue = Fraction(state.queued_prefill_tokens[other])
    cap = formulas.delay_leverage(new[other], queue, batch[other], new[taken], kappa)
    assert Fraction(batch[taken], batch[other]) <= cap
    assert cap <= formulas.delay_leverage(request.prompt_tokens, queue, batch[other], 1, kappa)


@given(situations(2, 6, loose=True), st.fractions(0, 2, max_denominator=16))
def test_chunks_mislead_by_at_most_the_overhead(drawn: Drawn, overhead: Fraction) -> None:
    state, request = drawn
    columns = zip(state.queued_prefill_tokens, state.hit_tokens, state.running, state.waiting, strict=True)
    true = [
        formulas.chunked_delay(queue, max(1, request.prompt_tokens - hit), r + w + 1, overhead)
        for queue, hit, r, w in columns
    ]
    chosen = decide(policy("marginal_delay"), state, request)[0].instance
    assert true[chosen] <= (1 + overhead) * min(true)
