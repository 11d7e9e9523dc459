"""A cluster without engines: requests stay for a given time, the shipped rule routes them."""

import heapq
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count

import pytest

from scheduler.policies.catalogue import policy
from scheduler.policies.choosing import decide
from scheduler.state import ClusterState, Request


@dataclass(frozen=True)
class Arrival:
    """A request of the class or another one; ``stay_s`` None stays for ever."""

    time_s: float
    of_class: bool
    stay_s: float | None = None


@dataclass(frozen=True)
class Routed:
    """A request, where it went, what was there after it arrived, and who held the prefix when it came."""

    arrival: Arrival
    instance: int
    residents: tuple[int, ...]
    holders: frozenset[int]

    @property
    def spilled(self) -> bool:
        return self.arrival.of_class and self.instance not in self.holders


def _routed(
    instances: int,
    holders: Iterable[int],
    arrivals: Iterable[Arrival],
    *,
    prompt: int = 1088,
    hit: int = 1024,
    start: int = 0,
    copies: bool = True,
) -> Iterator[Routed]:
    residents = [start] * instances
    held = frozenset(holders)
    leaving: list[tuple[float, int, int]] = []
    ids = tuple(str(i) for i in range(instances))
    rule, zeros, order = policy("lmetric"), (0,) * instances, count()
    for arrival in arrivals:
        while leaving and leaving[0][0] <= arrival.time_s:
            residents[heapq.heappop(leaving)[2]] -= 1
        hits = tuple(hit if arrival.of_class and i in held else 0 for i in range(instances))
        state = ClusterState(
            ids=ids, running=tuple(residents), waiting=zeros, queued_prefill_tokens=zeros, hit_tokens=hits
        )
        chosen = decide(rule, state, Request(id=0, arrival_s=0.0, prompt_tokens=prompt))[0].instance
        residents[chosen] += 1
        if arrival.stay_s is not None:
            heapq.heappush(leaving, (arrival.time_s + arrival.stay_s, next(order), chosen))
        yield Routed(arrival, chosen, tuple(residents), held)
        if copies and arrival.of_class:
            held |= {chosen}


@pytest.fixture(scope="session")
def routed() -> Callable[..., Iterator[Routed]]:
    """``routed(instances, holders, arrivals, *, prompt, hit, start, copies)``: each request with where it went."""
    return _routed


@pytest.fixture(scope="session")
def arrival() -> type[Arrival]:
    """The class of arrivals."""
    return Arrival


def _poisson(seed: int, share: float, rate_per_s: float, mean_stay_s: float) -> Iterator[Arrival]:
    rng, now_s = random.Random(seed), 0.0
    while True:
        now_s += rng.expovariate(rate_per_s)
        yield Arrival(now_s, rng.random() < share, rng.expovariate(1 / mean_stay_s))


@pytest.fixture(scope="session")
def poisson() -> Callable[..., Iterator[Arrival]]:
    """``poisson(seed, share, rate_per_s, mean_stay_s)``: endless random arrivals with exponential residence times."""
    return _poisson
