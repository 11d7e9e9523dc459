"""Seeded faults in the quick simulator: each must show up as a difference from the plain one."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from replay.sim.cluster import Cluster
from replay.sim.decoding import Decoding
from replay.sim.instance import Instance
from replay.sim.parts import PLAIN, QUICK, prepare
from replay.sim.run import simulate
from replay.sim.run_cache import RunPool
from replay.sim.run_index import RunHistory, RunIndex
from replay.sim.ticks import StepTicks
from scheduler import Level, Request, StepTime, policy


def scenario(seed: int) -> tuple[list[Request], Cluster, str]:
    """A small tight cluster with shared prefixes; all from one seed."""
    rng = random.Random(seed)
    chains: list[tuple[int, ...]] = [()]
    requests, now = [], 0.0
    for number in range(40):
        now += rng.choice([0.0, 0.002, 0.02])
        prompt = rng.randint(1, 160)
        blocks = -(-prompt // 8)
        shared = rng.choice(chains)[: rng.randint(0, blocks)]
        keys = shared + tuple(1000 * (number + 1) + depth for depth in range(len(shared), blocks))
        chains.append(keys)
        output = rng.randint(1, 50)
        requests.append(
            Request(
                id=number, arrival_s=now, prompt_tokens=prompt, output_tokens=output, block_keys=keys, block_tokens=8
            )
        )
    cluster = Cluster(
        tuple(StepTime(0.001, 1e-4, 1e-5, 1e-6, 1e-7) for _ in range(rng.randint(1, 3))),
        kv_tokens=rng.choice([240, 400]),
        batch_tokens=rng.choice([16, 40]),
        max_batch=rng.choice([2, 6]),
        level=rng.choice(list(Level)),
    )
    return requests, cluster, rng.choice(["lmetric", "least_p_token"])


def differs(seed: int) -> bool:
    """Whether quick and plain part ways (or the quick one breaks) in a scenario."""
    requests, cluster, name = scenario(seed)
    found = []
    for parts in (PLAIN, QUICK):
        try:
            record = simulate(prepare(requests, parts), policy(name), cluster)
        except Exception as fault:  # noqa: BLE001 - a fault may break anything, and that is finding it
            found.append(repr(fault))
        else:
            found.append(repr([sim.outcome() for sim in record.sims]))
    return found[0] != found[1]


def wrapped(owner: type, name: str, change: Callable[..., Any]) -> tuple[type, str, Any]:
    """A method whose result or arguments are spoilt: ``change(original, *arguments)``."""
    original = getattr(owner, name)
    return owner, name, lambda *arguments: change(original, *arguments)


def keep_idle(original: Any, pool: RunPool, state: Any, depth: int, length: int) -> None:
    idle, stretches = pool._idle, list(state.idle)
    original(pool, state, depth, length)
    if stretches:
        pool._idle = idle


FAULTS = {
    "a decode step too long": wrapped(StepTicks, "decode_steps", lambda f, t, k, b, kv: f(t, k, b, kv) + (k > 3)),
    "one step too many is skipped": wrapped(StepTicks, "steps_beyond", lambda f, *a: f(*a) + 1),
    "attention of skipped chunks is forgotten": wrapped(
        StepTicks, "chunk_steps", lambda f, t, k, p, b, kv, pairs: k * t.step(p, b, kv, pairs)
    ),
    "finishes one step late": wrapped(Decoding, "steps_to_finish", lambda f, d: f(d) + 1),
    "growth is forgotten": wrapped(Decoding, "grow", lambda f, d, k: 0),
    "no block at a boundary": wrapped(Decoding, "next_crossing", lambda f, d: None),
    "never preempts": wrapped(Instance, "_grow_next", lambda f, i, now: False),
    "skips past short blocks": wrapped(Instance, "_steps_to_skip", lambda f, i: i._decoding.steps_to_finish()),
    "a prompt is admitted without room": wrapped(RunPool, "available", lambda f, p: f(p) + 3),
    "pinned blocks stay idle": wrapped(RunPool, "_hold", keep_idle),
    "released blocks are not idle": wrapped(RunPool, "release", lambda f, p, path, held, own: f(p, path, 0, own)),
    "hits one block deeper": wrapped(RunPool, "match", lambda f, p, path, limit: min(limit, f(p, path, limit) + 1)),
    "hits one block shallower": wrapped(RunPool, "match", lambda f, p, path, limit: max(0, f(p, path, limit) - 1)),
    "index forgets evictions": wrapped(RunIndex, "remove", lambda f, *a: None),
    "index adds too little": wrapped(RunIndex, "add", lambda f, x, i, path, a, b: f(x, i, path, a, max(a, b - 1))),
    "history never forgets": wrapped(RunHistory, "_forget", lambda f, *a: []),
}
SEEDS = range(60)


def test_without_a_fault_nothing_differs() -> None:
    assert not [seed for seed in SEEDS if differs(seed)]


@pytest.mark.parametrize("name", list(FAULTS))
def test_a_fault_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, method, spoilt = FAULTS[name]
    monkeypatch.setattr(owner, method, staticmethod(spoilt) if method == "_forget" else spoilt)
    assert any(differs(seed) for seed in SEEDS), f"no scenario shows that {name}"
