"""A rule decides in a simulation, on what a router would believe: the quick way to compare rules, without a detector.

Its twin :mod:`replay.sim.router_decider` runs the shipped router, with everything that a service would embed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from replay.sim.cluster import Cluster
from replay.sim.overrides import Overrides
from replay.sim.parts import Parts
from replay.sim.sequence import Sim
from replay.sim.view import RouterView
from scheduler.policies.choosing import Chooser
from scheduler.policies.rule import Policy

#: ``observer(sim, view, chosen, at)``, called after each decision and before it is booked; for shadow rules and plots.
Observer = Callable[[Sim, Any, int, int], None]


class RuleDecider:
    """A rule on the beliefs of :class:`RouterView`.

    Args:
        cluster, block_tokens, policy, parts, extra_needs: see :class:`RouterView`.
        seed: of draws and ties.
        observer: called at every decision.
        overrides: decision -> instance taken there whatever the rule says.
    """

    def __init__(
        self,
        cluster: Cluster,
        block_tokens: int,
        policy: Policy,
        parts: Parts,
        seed: int,
        extra_needs: frozenset[str],
        observer: Observer | None,
        overrides: Overrides,
    ) -> None:
        self.view = RouterView(cluster, block_tokens, policy, parts, extra_needs)
        self._chooser = Chooser(policy, len(cluster), random.Random(seed))
        self._observer, self._overrides, self._decisions = observer, overrides, 0
        self.sinks = self.view.sinks

    def decide(self, sim: Sim, at: int) -> int:
        """The instance that a request goes to; it is booked there."""
        view = self.view
        expected = view.observe(sim.request, sim.path, at)
        chosen = self._chooser.choose(view, sim.request, expected)
        if self._overrides:
            chosen = self._overrides.get(self._decisions, chosen)
            self._decisions += 1
        if self._observer is not None:
            self._observer(sim, view, chosen, at)
        view.dispatch(sim, chosen)
        return chosen

    def happen(self, what: str, index: int, _at: int) -> None:
        """Incidents are for the shipped router."""
        raise AssertionError(f"{what} {index}, but a rule decides")

    def dissolve(self) -> None:
        """Break the cycles with the run."""
        self.view.true_context = self.view.true_kv_use = None
