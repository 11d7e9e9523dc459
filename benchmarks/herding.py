"""How large a pile routers make that see each other late: shipped rules and a coin, on one empty instance and on level.

k routers choose by views in which each other's dispatches are one delay old and their own are there at once. All
P-tokens are equal and nothing completes, so only the choice differs. Time runs in ticks; no clock is read.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.measure import machine, save, shown, spread
from scheduler import formulas
from scheduler.ops import SCALAR
from scheduler.policies.catalogue import policy
from scheduler.policies.choosing import Chooser, decide
from scheduler.state import ClusterState, Request

ROUTERS, INSTANCES, DELAY_TICKS = 8, 8, 64
RESIDENTS = 12
SEEDS = range(20)
REQUEST = Request(id=0, arrival_s=0.0, prompt_tokens=1000)
#: A router's choice from the batches that it sees (the request not counted).
Choose = Callable[[ClusterState], int]


@dataclass(frozen=True)
class Dispatch:
    """One dispatch: when, by which router, where to, and the batches just before it, true and as seen."""

    tick: int
    router: int
    instance: int
    true: tuple[int, ...]
    seen: tuple[int, ...]


def simulate(
    choosers: Sequence[Choose],
    arrivals: Sequence[tuple[int, int]],
    start: Sequence[int],
    delay: int,
    hits: Sequence[int],
) -> list[Dispatch]:
    """Dispatch arrivals, ``(tick, router)`` in order of time; others' dispatches are unseen for ``delay`` ticks."""
    done: list[Dispatch] = []
    true = list(start)
    ids = tuple(map(str, range(len(start))))
    for tick, router in arrivals:
        seen = list(true)
        for past in reversed(done):
            if past.tick <= tick - delay:
                break
            seen[past.instance] -= past.router != router
        zeros = (0,) * len(start)
        view = ClusterState(
            ids=ids, running=tuple(seen), waiting=zeros, queued_prefill_tokens=zeros, hit_tokens=tuple(hits)
        )
        instance = choosers[router](view)
        done.append(Dispatch(tick, router, instance, tuple(true), tuple(seen)))
        true[instance] += 1
    return done


def most_arrivals(arrivals: Sequence[tuple[int, int]], delay: int) -> int:
    """Most arrivals at one router in any half-open stretch of one delay."""
    return max(sum(r == router and tick - delay < t <= tick for t, r in arrivals) for tick, router in arrivals)


def by_rule(text: str, seed: int, instance_count: int) -> Choose:
    """A shipped rule."""
    chooser = Chooser(policy(text), instance_count, random.Random(seed))
    return lambda view: chooser.choose(view, REQUEST)


def coin_over_best_two(seed: int) -> Choose:
    """One of the two least products, by a fair coin."""
    rng = random.Random(seed)

    def choose(view: ClusterState) -> int:
        scores = decide(policy("lmetric"), view, REQUEST)[0].scores
        return sorted(range(len(scores)), key=lambda i: (scores[i], i))[:2][rng.random() < 0.5]

    return choose


CHOICES: dict[str, Callable[[int], Choose]] = {
    "lmetric": lambda seed: by_rule("lmetric", seed, INSTANCES),
    "lmetric, random ties": lambda seed: by_rule("lmetric:ties=random", seed, INSTANCES),
    "a coin over the best two": coin_over_best_two,
    "power_of_two": lambda seed: by_rule("power_of_two", seed, INSTANCES),
}


def pile(name: str, seed: int, *, empty: bool, delays: int) -> dict[str, float]:
    """What one run leaves.

    Args:
        name: of the choice.
        seed: of arrivals and draws.
        empty: True if the first instance starts empty, the others with ``RESIDENTS``.
        delays: length of the run.
    """
    rng = random.Random(seed)
    arrivals = sorted(
        (tick, router) for router in range(ROUTERS) for tick in range(delays * DELAY_TICKS) if rng.random() < 1 / 8
    )
    start = [0 if empty and i == 0 else RESIDENTS for i in range(INSTANCES)]
    choosers = [CHOICES[name](1000 * seed + router) for router in range(ROUTERS)]
    done = simulate(choosers, arrivals, start, DELAY_TICKS, [0] * INSTANCES)
    gaps = [max(d.true) - min(d.true) for d in done]
    unseen = formulas.unseen_most(ROUTERS, most_arrivals(arrivals, DELAY_TICKS))
    first = [d for d in done if d.tick < DELAY_TICKS]
    others = [sum(d.true[1:]) / (INSTANCES - 1) for d in done]
    return {
        "sent to the first in one delay": sum(d.instance == 0 for d in first) / len(first),
        "pile on the first": max(d.true[0] - level for d, level in zip(done, others, strict=True)),
        "greatest gap": max(gaps),
        "mean gap": sum(gaps) / len(gaps),
        "bound of the gap": formulas.stale_gap(SCALAR, max(start) - min(start), unseen),
    }


def run() -> None:
    """Measure, print, save."""
    rows: dict[str, Any] = {}
    for scene, empty, delays in (("one empty instance", True, 1), ("level start", False, 6)):
        rows[scene] = {}
        print(scene)
        for name in CHOICES:
            found = [pile(name, seed, empty=empty, delays=delays) for seed in SEEDS]
            rows[scene][name] = {key: spread([row[key] for row in found]) for key in found[0]}
            print(f"  {name}")
            for key, row in rows[scene][name].items():
                print(f"    {key:32} {shown(row, 2)}")
    result = {
        "setting": {
            "routers": ROUTERS,
            "instances": INSTANCES,
            "delay_ticks": DELAY_TICKS,
            "arrivals_per_router_and_delay": DELAY_TICKS / 8,
            "residents": RESIDENTS,
            "seeds": [SEEDS.start, SEEDS.stop - 1],
        },
        "requests": rows,
        "machine": machine(),
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "command": "make bench BENCH_ARGS=herding",
    }
    print(f"saved {save('herding', result).name}")
