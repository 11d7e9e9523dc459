"""The delay that one request adds, by simulation: the same arrivals on one instance, with it and without it.

Latency is from arrival to last token. The request adds its own latency, and every other request's latency changes.
Simulated, in whole ticks: no number here is a measurement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from replay.sim.cluster import Cluster
from replay.sim.record import RunRecord
from replay.sim.run import simulate
from replay.sim.sequence import Sim
from replay.sim.view import RouterView
from scheduler.policies.catalogue import policy
from scheduler.state import Request


@dataclass(frozen=True, slots=True)
class Seen:
    """What a router sees of the instance as the request arrives.

    Args:
        queued_prefill_tokens: q [token].
        new_tokens: n [token].
        running, waiting: requests on the instance [request].
        context_tokens: prompt and output tokens of them, so far [token].
    """

    queued_prefill_tokens: int
    new_tokens: int
    running: int
    waiting: int
    context_tokens: int

    @property
    def batch(self) -> int:
        """B, the request counted [request]."""
        return self.running + self.waiting + 1


@dataclass(frozen=True, slots=True)
class AddedDelay:
    """What one request adds.

    Args:
        seen: the state at its arrival.
        wait: from its arrival to its first token [tick].
        decode: from there to its last token [tick].
        others: sum of what other requests' latencies grew by [tick].
    """

    seen: Seen
    wait: int
    decode: int
    others: int

    @property
    def total(self) -> int:
        """Wait, decode and others [tick]."""
        return self.wait + self.decode + self.others


def added_delay(cluster: Cluster, others: Sequence[Request], request: Request) -> AddedDelay:
    """Simulate twice and compare.

    Args:
        cluster: of one instance; at the level ``Level.PER_STEP`` what is seen is exact.
        others: all other requests, earlier and later ones; no id is that of the request.
        request: the one to add. Among equal arrival times it is the last.

    Example:
        >>> from scheduler import Level, StepTime
        >>> tau = StepTime(0.0, 1e-4, 0.0, 0.0)
        >>> one, two = (Request(id=i, arrival_s=0.0, prompt_tokens=100, output_tokens=9) for i in (1, 2))
        >>> added = added_delay(Cluster((tau,), kv_tokens=10**6, level=Level.PER_STEP), [one], two)
        >>> added.seen.queued_prefill_tokens, added.seen.new_tokens, added.seen.batch
        (100, 100, 2)
        >>> round(added.total / 1e8, 3)  # in prefill tokens: q + n B
        300.0
    """
    assert len(cluster) == 1, "the added delay is that on one instance"
    assert request.id not in {other.id for other in others}, "the request stands among the others"
    seen: list[Seen] = []

    def look(sim: Sim, view: RouterView, _chosen: int, _at: int) -> None:
        if sim.request.id == request.id:
            new = max(1, sim.prompt - view.hit_tokens[0])
            queue, context = view.queued_prefill_tokens[0], view.context_tokens[0]
            seen.append(Seen(queue, new, view.running[0], view.waiting[0], context))

    rule = policy("lmetric")
    with_it = simulate(sorted([*others, request], key=lambda r: r.arrival_s), rule, cluster, observer=look)
    without = simulate(sorted(others, key=lambda r: r.arrival_s), rule, cluster)
    latencies, before = _latencies(with_it), _latencies(without)
    own = next(sim for sim in with_it.sims if sim.request.id == request.id)
    assert own.first_at is not None
    wait = own.first_at - own.arrival
    grown = sum(latencies[number] - latency for number, latency in before.items())
    return AddedDelay(seen[0], wait, latencies[request.id] - wait, grown)


def _latencies(record: RunRecord) -> dict[int, int]:
    """From arrival to last token, by request [tick]."""
    found = {}
    for sim in record.sims:
        assert sim.last_at is not None, f"request {sim.request.id} did not finish: {sim.reason}"
        found[sim.request.id] = sim.last_at - sim.arrival
    return found
