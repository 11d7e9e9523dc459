"""Cost of one decision: the compiled rule against the two readers it is compiled from, in one process, in turns."""

from __future__ import annotations

import datetime as dt
import random
import timeit
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.measure import machine, save, shown, spread
from scheduler.indicators import indicators_of
from scheduler.ops import ARRAY, SCALAR
from scheduler.policies.catalogue import policy
from scheduler.policies.choosing import Chooser, observe
from scheduler.policies.reading import best, read
from scheduler.policies.rule import Policy
from scheduler.state import REQUIRED_COLUMNS, ClusterState, Request

ROUNDS = 9
REQUEST = Request(id=0, arrival_s=0.0, prompt_tokens=6000)


def state_of(instances: int) -> ClusterState:
    """A busy cluster, the same one each time."""
    rng = random.Random(0)
    return ClusterState(
        ids=tuple(map(str, range(instances))),
        running=tuple(rng.randrange(30) for _ in range(instances)),
        waiting=tuple(rng.randrange(4) for _ in range(instances)),
        queued_prefill_tokens=tuple(rng.randrange(20_000) for _ in range(instances)),
        hit_tokens=tuple(512 * rng.randrange(11) for _ in range(instances)),
    )


def readers(chosen: Policy, state: ClusterState) -> dict[str, Callable[[], Any]]:
    """Three ways from a state to an index."""
    chooser = Chooser(chosen, len(state), random.Random(0))

    def by_numbers() -> int:
        return best(*read(chosen, SCALAR, observe(state, REQUEST, {})))[0]

    def by_arrays() -> int:
        columns: dict[str, Any] = {name: np.asarray(getattr(state, name)) for name in REQUIRED_COLUMNS}
        return best(*read(chosen, ARRAY, indicators_of(ARRAY, prompt_tokens=REQUEST.prompt_tokens, **columns)))[0]

    return {"compiled": lambda: chooser.choose(state, REQUEST), "numbers": by_numbers, "arrays": by_arrays}


def run() -> None:
    """Measure, print, save."""
    rows: dict[str, Any] = {}
    for instances in (16, 256):
        ways = readers(policy("lmetric"), state_of(instances))
        assert len({way() for way in ways.values()}) == 1, "all readers must choose alike"
        times: dict[str, list[float]] = {name: [] for name in ways}
        count = 20_000 // instances
        for _ in range(ROUNDS):
            for name, way in ways.items():
                times[name].append(timeit.timeit(way, number=count) / count * 1e6)
        rows[str(instances)] = {name: spread(values) for name, values in times.items()}
        for name in ("numbers", "arrays"):
            ratios = [a / b for a, b in zip(times[name], times["compiled"], strict=True)]
            rows[str(instances)][f"{name} over compiled"] = spread(ratios)
        print(f"lmetric, {instances} instances")
        for name, row in rows[str(instances)].items():
            print(f"  {name:24} {shown(row, 1)}{'x' if 'over' in name else ' us'}")
    result = {
        "rule": "lmetric",
        "rounds": ROUNDS,
        "us_per_decision": rows,
        "machine": machine(),
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "command": "make bench BENCH_ARGS=readers",
    }
    print(f"saved {save('readers', result).name}")
