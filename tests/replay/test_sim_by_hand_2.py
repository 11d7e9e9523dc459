"""More timelines by hand: preemption and the queue, the budget of a step, and caches after thousands of requests."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from replay.sim.cluster import Cluster
from replay.sim.parts import PLAIN, QUICK, Parts, prepare
from replay.sim.run import simulate
from replay.sim.sequence import Sim, Sinks
from replay.sim.ticks import TICKS_PER_S
from scheduler import Level, Request, StepTime, policy

BOTH = pytest.mark.parametrize("parts", [PLAIN, QUICK], ids=["plain", "quick"])
STEP = StepTime(1.0, 0.0, 0.0, 0.0)  # a step takes a second, whatever is in it


def request(number: int, arrival_s: float, prompt: int, output: int, keys: tuple[int, ...] | None = None) -> Request:
    """A request with blocks of ten tokens, shared with nobody unless keys say so."""
    own = tuple(1000 * (number + 1) + block for block in range(-(-prompt // 10)))
    return Request(
        id=number,
        arrival_s=arrival_s,
        prompt_tokens=prompt,
        output_tokens=output,
        block_keys=own if keys is None else keys,
        block_tokens=10,
    )


def times(requests: list[Request], parts: Parts, **shape: int) -> list[tuple[float | None, float | None, int]]:
    """First token, last token and preemptions of each request on one instance."""
    options = {"kv_tokens": 1000, "batch_tokens": 50, "max_batch": 4, **shape}
    outcomes = [
        sim.outcome()
        for sim in simulate(
            prepare(requests, parts), policy("lmetric"), Cluster((STEP,), level=Level.PROXY, **options)
        ).sims
    ]
    return [(o.first_token_s, o.last_token_s, o.preemptions) for o in outcomes]


def story(requests: list[Request], parts: Parts, **shape: int) -> list[tuple[float, str, int]]:
    """What one instance tells: time, event, request."""
    options = {"kv_tokens": 1000, "batch_tokens": 50, "max_batch": 4, **shape}
    [spec] = Cluster((STEP,), level=Level.PROXY, **options).specs(10)
    told: list[tuple[float, str, int]] = []

    def teller(event: str) -> Callable[..., None]:
        return lambda _i, sim, *rest: told.append((rest[-1] / TICKS_PER_S, event, sim.request.id))

    sinks = Sinks(first_token=teller("token"), finished=teller("end"), admitted=teller("in"), preempted=teller("out"))
    engine = parts.engine(0, spec, sinks, parts.pool(spec.kv_blocks, False))
    prepared = prepare(requests, parts)
    for one, at, path, blocks in zip(requests, prepared.arrivals, prepared.paths, prepared.blocks, strict=True):
        while engine.next_at is not None and engine.next_at <= at:
            engine.fire()
        engine.arrive(at, Sim(one, at, path, blocks))
    while engine.next_at is not None:
        engine.fire()
    return told


@BOTH
def test_a_preempted_request_is_the_first_to_come_back(parts: Parts) -> None:
    # Six blocks. Request 0 runs from 0 s, request 1 from 1 s; each grows by a token a second. Their prompts take two
    # blocks each; request 0 enters a third at 1 s, request 1 at 2 s. At 11 s request 0 has 31 tokens, none of the six
    # is left for its fourth block, and request 1 is pushed out with 30 tokens. Request 0 ends at 15 s. Request 1 comes
    # back with two of its blocks still cached, so at 16 s it has its 11th token, at 20 s its 15th.
    # Request 2 waits since 5 s and needs four blocks: beside the three of request 1 they do not fit before 20 s.
    requests = [request(0, 0.0, 20, 15), request(1, 0.0, 20, 15), request(2, 5.0, 35, 1)]
    assert times(requests, parts, kv_tokens=60) == [(1, 15, 0), (2, 20, 1), (21, 21, 0)]


@BOTH
def test_nobody_overtakes_a_preempted_request(parts: Parts) -> None:
    # As above; request 3 would fit into the two blocks that are left from 11 s on, but request 1 stands before it.
    requests = [request(0, 0.0, 20, 15), request(1, 0.0, 20, 15), request(3, 5.0, 15, 1)]
    told = story(requests, parts, kv_tokens=60)
    assert told == [
        (0, "in", 0),
        (1, "token", 0),
        (1, "in", 1),
        (2, "token", 1),
        (11, "out", 1),
        (15, "end", 0),
        (15, "in", 1),
        (15, "in", 3),
        (16, "token", 1),
        (16, "token", 3),
        (16, "end", 3),
        (20, "end", 1),
    ]


@BOTH
def test_nobody_is_admitted_in_the_step_of_a_preemption(parts: Parts) -> None:
    # Eleven blocks, 45 tokens a step. Request 0 holds three from 1 s. Requests 1 and 2, of four blocks each, begin with
    # the same three; at 10 s both are admitted, 1 computes its 35 tokens and 2 the 9 that are left of the budget. At
    # 11 s request 0 needs a fourth block, so 2 is pushed out. It could be back at once: three blocks are free, and it
    # needs one now that request 1 has computed the others. But it comes at 12 s, computes 6 tokens and ends at 13 s.
    requests = [request(0, 0.0, 20, 20), request(1, 9.5, 35, 3, (1, 2, 3, 8)), request(2, 9.5, 36, 1, (1, 2, 3, 9))]
    assert story(requests, parts, kv_tokens=110, batch_tokens=45) == [
        (0, "in", 0),
        (1, "token", 0),
        (10, "in", 1),
        (10, "in", 2),
        (11, "token", 1),
        (11, "out", 2),
        (12, "in", 2),
        (13, "end", 1),
        (13, "token", 2),
        (13, "end", 2),
        (20, "end", 0),
    ]


@BOTH
def test_the_one_admitted_last_is_pushed_out_for_the_one_before(parts: Parts) -> None:
    # Eight blocks of ten tokens: prompts of 19, 30, 30 take 2 + 3 + 3. Requests 1 and 2 are admitted at 1 s; at their
    # first token (2 s) each needs a fourth block, and request 0 (20 tokens at 2 s, 21 at 3 s) a third at 3 s.
    # At 2 s request 1 finds none: 2 is pushed out (3 free), 1 takes one. At 3 s request 0 takes one.
    requests = [request(0, 0.0, 19, 9), request(1, 0.5, 30, 3), request(2, 0.5, 30, 3)]
    told = story(requests, parts, kv_tokens=80, batch_tokens=100)
    assert told == [
        (0, "in", 0),
        (1, "token", 0),
        (1, "in", 1),
        (1, "in", 2),
        (2, "token", 1),
        (2, "token", 2),
        (2, "out", 2),
        (4, "end", 1),
        (4, "in", 2),
        (5, "token", 2),
        (6, "end", 2),
        (9, "end", 0),
    ]


@BOTH
def test_each_decoding_request_takes_one_token_of_the_budget(parts: Parts) -> None:
    # Ten tokens a step. Request 0 decodes from 1 s. Request 1 needs 19 tokens: 9 + 9 + 1, not 10 + 9.
    assert times([request(0, 0.0, 10, 30), request(1, 0.5, 19, 1)], parts, batch_tokens=10)[1] == (4, 4, 0)
    assert times([request(0, 0.0, 10, 30), request(1, 0.5, 18, 1)], parts, batch_tokens=10)[1] == (3, 3, 0)
    # With three that decode (from 1 s, 2 s and 3 s) seven are left: 22 tokens are four steps, 21 are three.
    before = [request(0, 0.0, 10, 30), request(1, 0.5, 9, 30), request(2, 1.5, 8, 30)]
    assert times([*before, request(3, 2.5, 22, 1)], parts, batch_tokens=10)[3] == (7, 7, 0)
    assert times([*before, request(3, 2.5, 21, 1)], parts, batch_tokens=10)[3] == (6, 6, 0)


def lru_hits(keys: Sequence[int], capacity: int, needed: int) -> list[bool]:
    """Whether each key is found, if the least recently used is forgotten and a use takes ``needed`` blocks for a while.

    One key a request, one request after the other.
    """
    cached: OrderedDict[int, None] = OrderedDict()
    found = []
    for key in keys:
        found.append(key in cached)
        cached.pop(key, None)
        while len(cached) + needed > capacity:
            cached.popitem(last=False)
        cached[key] = None
    return found


def many_prompts() -> list[int]:
    """3,302 keys: 700 in random order until the queues have been swept, then new ones and old ones in turn.

    The very first comes again at the very end: it is the oldest that a sweep must keep, and the first to go.
    """
    rng, first = random.Random(7), 999
    keys = [first, *(rng.randrange(700) for _ in range(1500))]
    for step in range(900):
        keys += (1000 + step, rng.randrange(700)) if step % 2 else (1000 + step, 1000 + rng.randrange(step + 1))
    return [*keys, first]


@pytest.mark.parametrize("level", [Level.PROXY, Level.EVENTS], ids=["proxy", "events"])
def test_after_thousands_of_requests_the_least_recent_are_still_the_first_to_go(level: Level) -> None:
    # Prompts of one full block and a token more, ten seconds apart, each with one output token: two blocks while it
    # runs, one cached after. The pool has 750; the history of a proxy remembers as many.
    keys = many_prompts()
    assert len(keys) > 2500
    requests = [request(n, 10.0 * n, 11, 1, (key, 10**6 + n)) for n, key in enumerate(keys)]
    cluster = Cluster((STEP,), kv_tokens=7500, batch_tokens=50, max_batch=4, level=level)
    cached = [10 * hit for hit in lru_hits(keys, 750, needed=2)]
    believed = [10 * hit for hit in lru_hits(keys, 750, needed=1)] if level is Level.PROXY else cached
    assert 0.2 < sum(cached) / (10 * len(keys)) < 0.8, "both hits and misses"
    assert cached[2000:] != [10 * (key in keys[:n]) for n, key in enumerate(keys)][2000:], "some were forgotten"
    for parts in (PLAIN, QUICK):
        sims = simulate(prepare(requests, parts), policy("lmetric"), cluster).sims
        assert [sim.cached for sim in sims] == cached
        assert [sim.predicted_hit for sim in sims] == believed


def family(number: int, key: int) -> tuple[int, ...]:
    """A chain of three blocks: the first is shared by all, the second by a hundred chains."""
    return 1, 2 + key % 8, 100 + key, 10**6 + number


def test_quick_and_plain_agree_after_thousands_of_requests_on_branching_prompts() -> None:
    rng = random.Random(11)
    requests = []
    for number, key in enumerate(many_prompts()):
        blocks = rng.choice((3, 4, 4, 4))  # the last one holds a single token
        requests.append(request(number, 0.4 * number, 10 * blocks - 9, 1, family(number, key)[:blocks]))
    for level in (Level.PROXY, Level.EVENTS):
        cluster = Cluster((STEP,), kv_tokens=6000, batch_tokens=50, max_batch=4, level=level)
        runs = [
            [sim.outcome() for sim in simulate(prepare(requests, parts), policy("lmetric"), cluster).sims]
            for parts in (PLAIN, QUICK)
        ]
        assert runs[0] == runs[1]


@BOTH
def test_what_a_preempted_prefill_gives_back_survives_a_sweep(parts: Parts) -> None:
    """A run that was released in two stretches, the deep one first: both can be evicted, in that order.

    A prompt of four blocks is cached and idle. It comes again: three blocks are taken from the cache, and it is pushed
    out before the fourth, which is always computed, is done. Then more than a thousand others come and go, so that
    the queue of releases is swept, and then new blocks are taken one by one.
    """
    chain = request(0, 0.0, 40, 1)
    others = [request(1 + n, 0.0, 10, 1, (10 + n,)) for n in range(3)]
    long, *short = parts.paths([chain, *others])
    pool: Any = parts.pool(10, True)
    pool.reserve(4)
    pool.commit(long, 0, 4)
    pool.release(long, 4, 0)
    pool.pin(long, 3)
    pool.reserve(1)
    pool.release(long, 3, 1)
    for turn in range(1100):
        path = short[turn % 3]
        hit = pool.match(path, 1)
        pool.pin(path, hit)
        if not hit:
            pool.reserve(1)
            pool.commit(path, 0, 1)
        pool.release(path, 1, 0)
    assert (pool.available(), pool.cached_count()) == (10, 7)
    left = []
    for _ in range(10):
        pool.reserve(1)
        left.append((pool.match(long, 4), [pool.match(path, 1) for path in short]))
    # Three free blocks, then the four of the chain, deepest first, then the others, least recent first: 1,100 turns
    # ended with the second of the three (1099 % 3 == 1), so the third is the oldest.
    assert [chain_left for chain_left, _ in left] == [4, 4, 4, 3, 2, 1, 0, 0, 0, 0]
    assert [others_left for _, others_left in left][6:] == [[1, 1, 1], [1, 1, 0], [0, 1, 0], [0, 0, 0]]
