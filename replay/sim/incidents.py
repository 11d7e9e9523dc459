"""Things that happen to a cluster in a run: instances crash and come back, a router starts again from its snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from replay.sim.ticks import to_ticks
from scheduler.domains import TIME_DOMAIN
from scheduler.errors import BadInput


@dataclass(frozen=True, slots=True)
class Crash:
    """An instance is gone with its cache and its requests, and comes back empty.

    Args:
        at_s: when [s].
        instance: its index.
        down_s: how long it is away, > 0 [s].
    """

    at_s: float
    instance: int
    down_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Restart:
    """A router starts again from a snapshot taken at that moment.

    Args:
        at_s: when [s].
        router: its index.
    """

    at_s: float
    router: int = 0


Incident = Crash | Restart


def timeline(incidents: Sequence[Incident], instance_count: int, router_count: int) -> list[tuple[int, int, str, int]]:
    """What is to be done when, latest first: (tick, order, ``crash``, ``recover`` or ``restart``, index).

    Raises:
        BadInput: for a time outside its domain, an index that is not there, or a crash of an instance that is down.

    Example:
        >>> [(what, index) for _, _, what, index in timeline([Crash(1.0, 3, 2.0), Restart(2.0)], 4, 1)]
        [('recover', 3), ('restart', 0), ('crash', 3)]
    """
    found: list[tuple[int, str, int]] = []
    up_again: dict[int, int] = {}
    for incident in sorted(incidents, key=lambda one: TIME_DOMAIN.check("incident.at_s", one.at_s)):
        at = to_ticks(incident.at_s)
        crash = isinstance(incident, Crash)
        index = incident.instance if isinstance(incident, Crash) else incident.router
        count, name = (instance_count, "instance") if crash else (router_count, "router")
        if not 0 <= index < count:
            raise BadInput(f"incident.{name}", index, f"an index from 0 to {count - 1}")
        found.append((at, "crash" if crash else "restart", index))
        if isinstance(incident, Crash):
            if not incident.down_s > 0:
                raise BadInput("incident.down_s", incident.down_s, "a finite number > 0 [s]")
            if at < up_again.get(index, 0):
                raise BadInput("incident.at_s", incident.at_s, f"a time at which instance {index} is up")
            up_again[index] = at + to_ticks(TIME_DOMAIN.check("incident.down_s", incident.down_s))
            found.append((up_again[index], "recover", index))
    found.sort(key=lambda entry: entry[0])
    return [(at, order, what, index) for order, (at, what, index) in enumerate(found)][::-1]
