"""The driver: requests arrive in time order, the rule decides, engines advance from event to event.

Every request ends in exactly one of finished, rejected, failed. Rejected: it could never fit an empty KV cache, or it
is longer than the context limit. Failed: it was still open when the run was cut off, or (closed loop) the reply it
waits for never came.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from replay.sim.cluster import Cluster
from replay.sim.deciders import Observer
from replay.sim.driver import Driver
from replay.sim.overrides import Overrides, checked_overrides
from replay.sim.parts import QUICK, ROUTED, Prepared, prepare
from replay.sim.record import RunRecord
from replay.sim.ticks import to_ticks
from scheduler.accounting import Level
from scheduler.policies.rule import Policy
from scheduler.state import Request

if TYPE_CHECKING:
    from replay.sim.router_decider import Routing


def simulate(
    requests: Sequence[Request] | Prepared,
    policy: Policy,
    cluster: Cluster,
    *,
    seed: int = 0,
    closed_loop: bool = False,
    until_s: float | None = None,
    load_samples: int = 240,
    observer: Observer | None = None,
    extra_needs: frozenset[str] = frozenset(),
    overrides: Overrides | None = None,
    routing: Routing | None = None,
    progress: Callable[[int], None] | None = None,
) -> RunRecord:
    """Replay requests under one policy on a simulated cluster.

    Args:
        requests: in order of arrival, all with the same ``block_tokens``; prepared ones save the preparation.
        policy: rule and knobs.
        cluster: what is simulated.
        seed: of draws and random ties.
        closed_loop: a request with ``after`` arrives ``think_s`` after that reply ended, not at its ``arrival_s``.
        until_s: cut off: no event after it is simulated, what is open then has failed, what has not arrived is left
            out; None runs to the end.
        load_samples: how many times the load of each instance is sampled over the span of arrivals.
        observer: called at every decision.
        extra_needs: optional columns that the observer reads beside those of the policy.
        overrides: decision -> instance taken there whatever the rule says; see :mod:`replay.sim.overrides`.
        routing: lets the shipped router decide, with detector and mitigation; None: the rule alone.
        progress: told the number of requests routed, every :data:`replay.sim.driver.PROGRESS_EVERY`.

    Returns:
        The record. The same arguments give the same record, on every machine.
    """
    prepared = requests if isinstance(requests, Prepared) else prepare(requests)
    if routing is not None and cluster.level is not Level.PROXY and prepared.parts is QUICK:
        prepared = prepare(prepared.requests, ROUTED)  # a router knows blocks, not the runs of a trace
    limit = None if until_s is None else to_ticks(until_s)
    # Hundreds of thousands of long-lived objects and hardly a cycle: the collector would only walk over them.
    collecting = gc.isenabled()
    gc.disable()
    try:
        run = Driver(prepared, policy, cluster, seed)
        if routing is not None:
            run.connect_router(routing, observer)
        else:
            run.connect_rule(extra_needs, observer, checked_overrides(overrides, policy, len(cluster)))
        run.drive(closed_loop, limit, load_samples, progress)
        run.dissolve()
    finally:
        if collecting:
            gc.enable()
    return run.record
