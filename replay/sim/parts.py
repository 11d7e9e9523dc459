"""Two sets of parts for the same simulation: the quick one, and the plain one that it must agree with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from replay.sim.instance import Instance
from replay.sim.kv_cache import BlockPool
from replay.sim.reference import ReferenceInstance
from replay.sim.run_cache import RunPool
from replay.sim.run_index import RunHistory, RunIndex
from replay.sim.runs import full_blocks, run_paths
from replay.sim.ticks import to_ticks
from scheduler.domains import TIME_DOMAIN
from scheduler.errors import BadInput
from scheduler.history_index import HistoryIndex
from scheduler.prefix_index import PrefixIndex
from scheduler.state import Request


class BlockIndex:
    """:class:`scheduler.prefix_index.PrefixIndex` as the simulator calls it; a path is a tuple of block keys."""

    def __init__(self, instance_count: int) -> None:
        self._index = PrefixIndex(instance_count)
        self.hit_tokens = self._index.hit_tokens
        self.remove = self._index.remove

    def add(self, instance: int, path: Sequence[int], start: int, stop: int) -> None:
        """The instance now holds blocks ``start`` to ``stop`` of a prompt, and those before."""
        self._index.add(instance, path[start:stop], path[start - 1] if start else None)


def block_paths(requests: Sequence[Request]) -> list[Any]:
    """The keys of the full blocks of every request."""
    return [request.block_keys[: full_blocks(request)] for request in requests]


@dataclass(frozen=True, slots=True)
class Parts:
    """What a simulation is built from.

    Args:
        engine: ``engine(index, spec, sinks, pool)``.
        pool: ``pool(capacity, tell)``, the KV blocks of an instance; ``tell`` if someone wants to know of evictions.
        index: ``index(instance_count)``, fed by what engines report.
        history: ``history(instance_count, capacity)``, fed by what was routed.
        paths: how prompts are named in pools and indices.
    """

    engine: Callable[..., Any]
    pool: Callable[[int, bool], Any]
    index: Callable[[int], Any]
    history: Callable[[int, int], Any]
    paths: Callable[[Sequence[Request]], list[Any]]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is found out about requests once and used for every policy.

    Args:
        requests: in order of arrival, all with the same ``block_tokens``.
        arrivals: tick of each arrival.
        paths: the full blocks of each prompt, as ``parts`` name them.
        blocks: how many those are.
        parts: what the simulation will be built from.
    """

    requests: Sequence[Request]
    arrivals: list[int]
    paths: list[Any]
    blocks: list[int]
    parts: Parts


def prepare(requests: Sequence[Request], parts: Parts | None = None) -> Prepared:
    """Find the paths of all requests.

    Args:
        requests: in order of arrival, all with the same ``block_tokens``.
        parts: quick (the default), or plain to check the quick ones.

    Raises:
        BadInput: if requests have blocks of different sizes, two of them one id, or one follows a later one.
    """
    parts = QUICK if parts is None else parts
    seen: set[int] = set()
    for request in requests:
        if request.block_tokens != requests[0].block_tokens:
            field = f"request {request.id}: block_tokens"
            raise BadInput(field, request.block_tokens, f"{requests[0].block_tokens}, as in the first request")
        if request.after is not None and request.after not in seen:
            raise BadInput(f"request {request.id}: after", request.after, "the id of an earlier request, or none")
        if request.id in seen:
            raise BadInput("request id", request.id, "an id that no earlier request has")
        seen.add(request.id)
        TIME_DOMAIN.check(f"request {request.id}: arrival_s", request.arrival_s)
        TIME_DOMAIN.check(f"request {request.id}: think_s", request.think_s)
    arrivals = [to_ticks(request.arrival_s) for request in requests]
    return Prepared(requests, arrivals, parts.paths(requests), [full_blocks(r) for r in requests], parts)


#: Event-skipping engine, caches and indices by runs.
QUICK = Parts(Instance, RunPool, RunIndex, RunHistory, run_paths)
#: Step-by-step engine, caches and indices by blocks.
PLAIN = Parts(ReferenceInstance, BlockPool, BlockIndex, HistoryIndex, block_paths)
#: The event-skipping engine with caches and indices by blocks, for routers that are fed by KV events.
ROUTED = Parts(Instance, BlockPool, BlockIndex, HistoryIndex, block_paths)
