"""Laws of a whole simulation: quick equals plain, nothing is lost, runs repeat, closed loops wait."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.sim.cluster import Cluster, roofline_cluster
from replay.sim.parts import PLAIN, QUICK, prepare
from replay.sim.record import RunRecord
from replay.sim.run import simulate
from replay.sim.sequence import Sim
from replay.sim.ticks import StepTicks, to_ticks
from replay.sim.view import RouterView
from replay.workloads import WORKLOADS
from scheduler import BadInput, Level, Request, StepTime, policy
from scheduler.policies.catalogue import CATALOGUE
from scheduler.state import End

POLICIES = (
    "lmetric",
    "join_shortest_queue",
    "dynamo",
    "bailian",
    "round_robin",
    "llm_d_default",
    "vllm_v1_2026",
    "most_hit",
)


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Request], Cluster, str, int]:
    """Few requests with shared prefixes, some of them in closed loops, on a small tight cluster."""
    block = draw(st.sampled_from([4, 16]))
    count = draw(st.integers(1, 25))
    now, requests = 0.0, []
    chains: list[tuple[int, ...]] = []
    for number in range(count):
        now += draw(st.sampled_from([0.0, 0.001, 0.01, 0.3]))
        prompt = draw(st.integers(1, 150))
        blocks = -(-prompt // block)
        shared: tuple[int, ...] = ()
        again = draw(st.booleans())
        if chains and again:
            chain = chains[draw(st.integers(0, len(chains) - 1))]
            shared = chain[: draw(st.integers(0, min(len(chain), blocks)))]
        keys = shared + tuple(1000 * (number + 1) + depth for depth in range(len(shared), blocks))
        chains.append(keys)
        after = draw(st.none() | st.integers(0, number - 1)) if number else None
        requests.append(
            Request(
                id=number,
                arrival_s=now,
                prompt_tokens=prompt,
                output_tokens=draw(st.integers(1, 60)),
                block_keys=keys,
                block_tokens=block,
                after=after,
                think_s=draw(st.sampled_from([0.0, 0.02])),
            )
        )
    time = StepTime(0.001, 1e-4, 1e-5, 1e-7, 1e-8)
    cluster = Cluster(
        tuple(time.scaled(draw(st.sampled_from([1.0, 2.0]))) for _ in range(draw(st.integers(1, 4)))),
        kv_tokens=draw(st.integers(60, 400)),
        batch_tokens=draw(st.integers(9, 60)),
        max_batch=draw(st.integers(1, 8)),
        level=draw(st.sampled_from(list(Level))),
        delay_s=draw(st.sampled_from([0.0, 0.0, 0.015])),
        context_limit_tokens=draw(st.sampled_from([None, 120])),
    )
    return requests, cluster, draw(st.sampled_from(POLICIES)), draw(st.integers(0, 3))


def facts(record: RunRecord) -> Any:
    """Everything a run says."""
    return [sim.outcome() for sim in record.sims], record.imbalance, record.load, record.ended_at, record.steps


@settings(max_examples=300)
@given(situations(), st.booleans(), st.none() | st.floats(0, 1))
def test_quick_and_plain_parts_give_the_same_simulation(
    situation: tuple[list[Request], Cluster, str, int], closed_loop: bool, until_s: float | None
) -> None:
    requests, cluster, name, seed = situation
    runs = [
        simulate(prepare(requests, parts), policy(name), cluster, seed=seed, closed_loop=closed_loop, until_s=until_s)
        for parts in (PLAIN, QUICK)
    ]
    assert facts(runs[0]) == facts(runs[1])


@settings(max_examples=200)
@given(situations(), st.booleans(), st.none() | st.floats(0, 1))
def test_every_request_has_exactly_one_end_and_times_in_order(
    situation: tuple[list[Request], Cluster, str, int], closed_loop: bool, until_s: float | None
) -> None:
    requests, cluster, name, seed = situation
    record = simulate(requests, policy(name), cluster, seed=seed, closed_loop=closed_loop, until_s=until_s)
    outcomes = [sim.outcome() for sim in record.sims]
    assert len(outcomes) + record.not_arrived == len(requests)
    assert len({outcome.id for outcome in outcomes}) == len(outcomes)
    assert until_s is not None or not record.not_arrived
    spec = cluster.specs(requests[0].block_tokens)[0]
    for outcome in outcomes:
        request = requests[outcome.id]
        assert until_s is None or outcome.arrival_s <= until_s or outcome.end is End.FAILED
        assert isinstance(outcome.end, End)
        if outcome.end is End.FINISHED:
            assert outcome.first_token_s is not None
            assert outcome.last_token_s is not None
            assert outcome.arrival_s < outcome.first_token_s <= outcome.last_token_s
            assert outcome.output_tokens == request.output_tokens
            assert until_s is None or outcome.last_token_s <= until_s
        if outcome.end is not End.FINISHED:
            assert outcome.reason
            assert outcome.e2e_s is None
        limit = cluster.context_limit_tokens
        too_long = limit is not None and request.prompt_tokens + request.output_tokens > limit
        if until_s is None and not closed_loop:
            assert (outcome.end is End.REJECTED) == (too_long or not spec.fits(request))
        assert 0 <= outcome.cached_tokens < request.prompt_tokens


@settings(max_examples=60)
@given(situations())
def test_a_turn_arrives_its_thinking_time_after_the_reply_it_follows(
    situation: tuple[list[Request], Cluster, str, int],
) -> None:
    requests, cluster, name, seed = situation
    record = simulate(requests, policy(name), cluster, seed=seed, closed_loop=True)
    for sim in record.sims:
        after = sim.request.after
        if after is None:
            assert sim.arrival == to_ticks(sim.request.arrival_s)
            continue
        before = record.sims[after]
        if before.end is End.FINISHED:
            assert before.last_at is not None
            assert sim.arrival == before.last_at + to_ticks(sim.request.think_s)
        else:
            assert sim.end is End.FAILED
            assert str(after) in sim.reason


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_every_rule_runs_at_every_level_and_repeats_exactly(name: str) -> None:
    requests = list(WORKLOADS["chat"].generate(3, requests=150, rate_per_s=8.0))
    for level in Level:
        cluster = roofline_cluster(4, level=level, kv_tokens=200_000)
        first, second = (simulate(requests, policy(name), cluster, seed=5, closed_loop=True) for _ in range(2))
        assert facts(first) == facts(second)
        assert all(sim.end is End.FINISHED for sim in first.sims)


def test_the_router_books_itself_out_to_zero() -> None:
    requests = list(WORKLOADS["chat"].generate(1, requests=300, rate_per_s=10.0))
    for level in Level:
        views: dict[int, RouterView] = {}

        def keep(_sim: Sim, view: RouterView, _chosen: int, _at: int, views: dict[int, RouterView] = views) -> None:
            views[0] = view

        simulate(requests, policy("dynamo"), roofline_cluster(3, level=level, kv_tokens=150_000), observer=keep)
        accounting = views[0].accounting
        assert accounting.running == accounting.waiting == accounting.queued_prefill_tokens == [0, 0, 0]
        assert accounting.context_tokens == [0, 0, 0]
        assert accounting.ignored == 0
        assert views[0].active_blocks == [0, 0, 0]


def test_what_the_router_sees_late_is_late_but_complete() -> None:
    requests = list(WORKLOADS["chat"].generate(1, requests=300, rate_per_s=10.0))
    seen: dict[float, list[int]] = {}
    for delay_s in (0.0, 5.0):
        waiting = seen.setdefault(delay_s, [])

        def count(_sim: Sim, view: RouterView, _chosen: int, _at: int, waiting: list[int] = waiting) -> None:
            waiting.append(sum(view.waiting))

        simulate(requests, policy("round_robin"), roofline_cluster(3, delay_s=delay_s), observer=count)
    assert all(late >= fresh for late, fresh in zip(seen[5.0], seen[0.0], strict=True))
    assert sum(seen[5.0]) > sum(seen[0.0])


def test_a_faster_cluster_is_never_slower_for_a_rule_that_ignores_load() -> None:
    requests = list(WORKLOADS["chat"].generate(2, requests=200, rate_per_s=10.0))
    mean = []
    for speed in (1.0, 2.0, 4.0):
        record = simulate(requests, policy("round_robin"), roofline_cluster(2, speeds=[speed]))
        mean.append(sum(sim.last_at - sim.arrival for sim in record.sims if sim.last_at is not None))
    assert mean[0] > mean[1] > mean[2]


def test_blocks_of_two_sizes_in_one_run_are_refused() -> None:
    requests = [Request(id=i, arrival_s=0, prompt_tokens=9, block_tokens=size) for i, size in enumerate((16, 64))]
    with pytest.raises(BadInput, match=r"request 1: block_tokens: expected 16"):
        simulate(requests, policy("lmetric"), roofline_cluster(2))


def test_ids_that_repeat_and_turns_that_follow_later_ones_are_refused() -> None:
    for bad in ([(0, None), (0, None)], [(0, 0)], [(0, 1), (1, None)]):
        requests = [Request(id=i, arrival_s=0, prompt_tokens=9, after=after) for i, after in bad]
        with pytest.raises(BadInput, match="id"):
            simulate(requests, policy("lmetric"), roofline_cluster(2))


def test_a_long_session_whose_first_turn_is_rejected_fails_as_a_whole() -> None:
    turns = [Request(id=i, arrival_s=0, prompt_tokens=9, after=i - 1 if i else None) for i in range(3000)]
    turns[0] = Request(id=0, arrival_s=0, prompt_tokens=900)
    record = simulate(turns, policy("lmetric"), roofline_cluster(2, context_limit_tokens=100), closed_loop=True)
    assert [sim.end for sim in record.sims] == [End.REJECTED] + [End.FAILED] * 2999


def test_an_empty_run_is_an_empty_record() -> None:
    assert facts(simulate([], policy("lmetric"), roofline_cluster(2))) == ([], [], [], 0, [0, 0])


def mm1_like() -> Iterator[tuple[int, int, int]]:
    """Batches and KV lengths for the closed form."""
    for batch in (1, 3, 200):
        for kv_tokens in (0, 7, 10**6):
            for growth in (0, 1, 13):
                yield batch, kv_tokens, growth


@given(st.integers(0, 10**7), st.sampled_from(list(mm1_like())), st.integers(1, 1000), st.integers(0, 50))
def test_the_closed_form_of_decode_steps_is_their_sum_and_inverts(
    elapsed: int, shape: tuple[int, int, int], base: int, decode: int
) -> None:
    batch, kv_tokens, growth = shape
    ticks = StepTicks(base, 3, decode, growth, 1)
    steps = ticks.steps_beyond(elapsed, batch, kv_tokens)
    assert ticks.decode_steps(steps, batch, kv_tokens) > elapsed
    assert steps == 1 or ticks.decode_steps(steps - 1, batch, kv_tokens) <= elapsed
    few = min(steps, 50)
    assert ticks.decode_steps(few, batch, kv_tokens) == sum(
        ticks.step(0, batch, kv_tokens + s * batch, 0) for s in range(few)
    )


@given(st.integers(1, 9), st.integers(1, 40), st.integers(0, 9), st.integers(0, 300), st.integers(0, 200))
def test_the_closed_form_of_chunks_is_their_sum(count: int, tokens: int, batch: int, kv: int, done: int) -> None:
    ticks = StepTicks(11, 3, 5, 2, 7)
    total = 0
    for s in range(count):
        total += ticks.step(tokens, batch, kv + s * batch, tokens * (done + s * tokens) + tokens * (tokens + 1) // 2)
    assert ticks.chunk_steps(count, tokens, batch, kv, tokens * done + tokens * (tokens + 1) // 2) == total
