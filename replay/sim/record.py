"""What one simulated run leaves behind."""

from __future__ import annotations

from dataclasses import dataclass, field

from replay.sim.noticed import Noticed
from replay.sim.sequence import Sim


@dataclass(slots=True)
class RunRecord:
    """What one run left behind.

    Args:
        policy: label of the policy.
        seed: of its draws and ties.
        sims: every request that arrived, with its times, in the order given.
        not_arrived: requests that had not arrived by the cut-off; they are no part of the run.
        imbalance: at every arrival that was routed, max/mean over instances of the batch size, the request counted.
        load_at: ticks at which the load was sampled.
        load: requests in flight on every instance at those ticks.
        ended_at: tick of the last event.
        steps: engine steps of each instance.
        noticed: what detector and mitigation did; None if a rule decided alone.
    """

    policy: str
    seed: int
    sims: list[Sim]
    imbalance: list[float] = field(default_factory=list)
    load_at: list[int] = field(default_factory=list)
    load: list[list[int]] = field(default_factory=list)
    ended_at: int = 0
    not_arrived: int = 0
    steps: list[int] = field(default_factory=list)
    noticed: Noticed | None = None
