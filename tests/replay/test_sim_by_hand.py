"""Timelines worked out by hand, and a queue with a known formula."""

from __future__ import annotations

import random
import statistics

import pytest

from replay.sim.cluster import Cluster
from replay.sim.parts import PLAIN, QUICK, Parts, prepare
from replay.sim.run import simulate
from scheduler import Level, Request, StepTime, policy

BOTH = pytest.mark.parametrize("parts", [PLAIN, QUICK], ids=["plain", "quick"])


def request(number: int, arrival_s: float, prompt: int, output: int, keys: tuple[int, ...] = ()) -> Request:
    """A request with blocks of ten tokens."""
    return Request(
        id=number,
        arrival_s=arrival_s,
        prompt_tokens=prompt,
        output_tokens=output,
        block_keys=keys or tuple(1000 * number + block for block in range(-(-prompt // 10))),
        block_tokens=10,
    )


def times(requests: list[Request], parts: Parts, **shape: int) -> list[tuple[float | None, float | None, int]]:
    """First token, last token and cached tokens of each request on one instance.

    A step takes 1 s, a prefill token 0.1 s, a decoding request 0.01 s, a KV token 0.001 s.
    """
    options = {"kv_tokens": 1000, "batch_tokens": 50, "max_batch": 4, **shape}
    cluster = Cluster((StepTime(1.0, 0.1, 0.01, 0.001),), level=Level.PROXY, **options)
    outcomes = [sim.outcome() for sim in simulate(prepare(requests, parts), policy("lmetric"), cluster).sims]
    return [(o.first_token_s, o.last_token_s, o.cached_tokens) for o in outcomes]


@BOTH
def test_one_request_alone(parts: Parts) -> None:
    # Chunks of 50, 50 and 20 tokens: 6 + 6 + 3 s. Then two decode steps over 121 and 122 tokens.
    [(first, last, cached)] = times([request(0, 2.0, 120, 3)], parts)
    assert first == pytest.approx(2 + 15)
    assert last == pytest.approx(2 + 15 + (1.01 + 0.121) + (1.01 + 0.122))
    assert cached == 0


@BOTH
def test_a_repeated_prompt_computes_its_last_block_again(parts: Parts) -> None:
    keys = tuple(range(4))
    rows = times(
        [request(0, 0.0, 40, 1, keys), request(1, 100.0, 40, 1, keys), request(2, 200.0, 45, 1, (*keys, 9))], parts
    )
    assert [cached for _, _, cached in rows] == [0, 30, 40]
    assert rows[1][0] == pytest.approx(100 + 1 + 10 * 0.1)
    assert rows[2][0] == pytest.approx(200 + 1 + 5 * 0.1)


@BOTH
def test_a_prefill_joins_at_the_next_step_and_slows_the_decode(parts: Parts) -> None:
    # Request 0 prefills 10 tokens: 2 s. It decodes over 11 tokens, [2, 3.021], then 12 tokens, [3.021, 4.043], when
    # request 1 is there (arrived at 2.5) and prefills 30 tokens in the step that began at 3.021.
    rows = times([request(0, 0.0, 10, 4), request(1, 2.5, 30, 1)], parts)
    joined = 3.021 + 1 + 3.0 + 0.01 + 0.012
    assert rows[0][0] == pytest.approx(2)
    assert rows[1][0] == pytest.approx(joined)
    assert rows[0][1] == pytest.approx(joined + 1.01 + 0.013)


@BOTH
def test_blocks_are_visible_only_once_computed(parts: Parts) -> None:
    # Both are admitted in the same step, so the second finds nothing of the first.
    keys = (1, 2)
    rows = times([request(0, 0.0, 20, 1, keys), request(1, 0.0, 25, 1, (*keys, 3))], parts)
    assert [cached for _, _, cached in rows] == [0, 20]  # arrives while the first step runs: admitted after it
    rows = times([request(0, 0.0, 5, 1), request(1, 0.5, 20, 1, keys), request(2, 0.6, 25, 1, (*keys, 3))], parts)
    assert [cached for _, _, cached in rows] == [0, 0, 0]


@BOTH
def test_the_batch_limit_makes_requests_wait(parts: Parts) -> None:
    rows = times([request(n, 0.0, 10, 1) for n in range(3)], parts, max_batch=1)
    assert [first for first, _, _ in rows] == pytest.approx([2, 4, 6])


@BOTH
def test_a_decode_without_room_preempts_the_last_admitted(parts: Parts) -> None:
    # Six blocks: two requests with prompts of 20 take two each. Both enter a third block with their second token; then
    # the first enters a fourth with its twelfth and finds none: the second is pushed out and recomputed later.
    record = simulate(
        prepare([request(0, 0.0, 20, 15), request(1, 0.0, 20, 15)], parts),
        policy("lmetric"),
        Cluster((StepTime(1.0, 0.1, 0.01, 0.001),), kv_tokens=60, batch_tokens=50, max_batch=4),
    )
    outcomes = [sim.outcome() for sim in record.sims]
    assert [outcome.preemptions for outcome in outcomes] == [0, 1]
    assert outcomes[1].last_token_s is not None
    assert outcomes[0].last_token_s is not None
    assert outcomes[0].last_token_s < outcomes[1].last_token_s
    assert [outcome.output_tokens for outcome in outcomes] == [15, 15]


def test_a_single_server_waits_as_the_formula_for_deterministic_service_says() -> None:
    """M/D/1: mean time in system = service (1 + load / (2 (1 - load))), Pollaczek-Khinchine."""
    service_s, load = 1.0 + 0.1 * 20, 0.6
    means = []
    for seed in range(8):
        rng, now, requests = random.Random(seed), 0.0, []
        for number in range(4000):
            now += rng.expovariate(load / service_s)
            requests.append(request(number, now, 20, 1))
        cluster = Cluster((StepTime(1.0, 0.1, 0.0, 0.0),), kv_tokens=1000, batch_tokens=50, max_batch=1)
        sims = simulate(requests, policy("lmetric"), cluster).sims
        means.append(statistics.fmean((sim.first_at or 0) - sim.arrival for sim in sims) / 1e12)
    expected = service_s * (1 + load / (2 * (1 - load)))
    error = statistics.stdev(means) / len(means) ** 0.5
    assert abs(statistics.fmean(means) - expected) < 3.5 * error, f"{means} against {expected}"
    assert error < 0.03 * expected, "the interval must be narrow enough to mean something"
