"""Forks: the same run again, but at one decision the line's instance is taken. What did that one decision cost?

Product before and after, same seed: up to the fork nothing differs. What follows is simulated in three ways:

- *present*: nothing arrives later. The change of the request and of those that were there before it is what the law of
  marginal delay speaks of.
- *anew*: the product decides again from what it now sees. That is what a router would do, but one request elsewhere
  tips later choices, these tip others, and soon the two runs share little more than their arrivals. Over a whole run
  the difference is then mostly chance, and one fork says little. Worse, all forks are compared with one run: had it
  luck, every fork looks bad, and no number of forks mends that.
- *neutral*: anew, but forked where the chosen instance has a twin of the same P and B, by taking the twin. No rule on
  these indicators can tell the two, so what a neutral fork changes is chance, with the luck of the run in it. Each fork
  has the neutral fork nearest to it beside it, if one is close; the difference of the two, ``net_near`` and
  ``net_run``, is free of that luck in the mean.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from replay.census import RULE, Decisions
from replay.census_times import Change, Growth, Times
from replay.sim.cluster import Cluster
from replay.sim.overrides import Overrides
from replay.sim.parts import Prepared
from replay.sim.record import RunRecord
from replay.sim.run import simulate
from replay.sim.ticks import to_seconds, to_ticks
from scheduler.policies.catalogue import policy

#: Requests that arrive within this time after a fork count as near it [s].
HORIZON_S = 30.0
#: Forks for each weight.
SAMPLES = 32
#: Lines that are tried: prices of a batch slot that are low, middling and high [token/request].
FORK_WEIGHTS = (16.0, 256.0, 4096.0)
#: How far from a fork its neutral fork may be, as a share of the decisions of the run: later ones have less to change.
NEUTRAL_WITHIN = 0.05


class Fork(msgspec.Struct, frozen=True, kw_only=True):
    """One decision taken as the line would, and what changed; positive where the line's choice costs more.

    Args:
        weight: w of the line [token/request].
        decision: number of the decision in the run, from 0.
        request_id: the request decided on.
        at_s: time of the decision [s].
        chosen, other: instances of the product and of the line.
        implied: the product's own weight there, ``P_k/B_k`` [token/request].
        predicted_s: delay added more, difference of ``tau (q + n B)`` [s].
        predicted_offset_s: the same with decode counted, ``tau (q + (n + kappa) B)`` [s].
        own: the request itself, decided anew; None if it did not finish in both runs.
        present: the request and those that were there before it, as if nothing arrived later.
        near: requests that arrive up to the horizon, decided anew.
        run: all requests, decided anew.
        neutral_decision: number of the decision of the neutral fork; None if no twin is near.
        neutral_near, neutral_run: as ``near`` and ``run``, of the neutral fork.
    """

    weight: float
    decision: int
    request_id: int
    at_s: float
    chosen: int
    other: int
    implied: float
    predicted_s: float
    predicted_offset_s: float
    own: Change | None
    present: Change
    near: Change
    run: Change
    neutral_decision: int | None
    neutral_near: Change | None
    neutral_run: Change | None

    @property
    def net_near(self) -> Change | None:
        """``near`` beyond the neutral fork."""
        return None if self.neutral_near is None else self.near.less(self.neutral_near)

    @property
    def net_run(self) -> Change | None:
        """``run`` beyond the neutral fork."""
        return None if self.neutral_run is None else self.run.less(self.neutral_run)


def sampled(decisions: Decisions, weight: float, samples: int, seed: int) -> list[int]:
    """A seeded sample of the decisions at which a line would have taken another instance, in order.

    Args:
        decisions: of a run that wrote the choices of this line down.
        weight: w of the line, one of the fork weights [token/request].
        samples: at most so many, all equally likely.
        seed: of the draw.
    """
    differing = [int(number) for number in np.flatnonzero(decisions.other[weight] != decisions.chosen)]
    if len(differing) <= samples:
        return differing
    return sorted(random.Random(f"{seed}:{weight}").sample(differing, samples))


@dataclass(frozen=True, slots=True)
class Trunk:
    """The run that is forked; can be sent to another process.

    Args:
        prepared: its requests.
        cluster: what is simulated.
        seed, closed_loop, until_s: as it was simulated.
        decisions: what was written down of it.
        horizon_s: see :data:`HORIZON_S`.
        ids: requests that were decided on, in the order of the trace.
        times: of these, in the run.
        in_order: the same in the order of decision, with arrivals fixed to those of the run.
    """

    prepared: Prepared
    cluster: Cluster
    seed: int
    closed_loop: bool
    until_s: float | None
    decisions: Decisions
    horizon_s: float
    ids: tuple[int, ...]
    times: Times
    in_order: Prepared

    @classmethod
    def of(
        cls,
        prepared: Prepared,
        cluster: Cluster,
        record: RunRecord,
        decisions: Decisions,
        *,
        closed_loop: bool = False,
        until_s: float | None = None,
        horizon_s: float = HORIZON_S,
    ) -> Trunk:
        """A run and what was written down of it; the options are those it was simulated with."""
        ids = tuple(sim.request.id for sim in record.sims if sim.instance is not None)
        row_of = {request.id: row for row, request in enumerate(prepared.requests)}
        rows = [row_of[int(number)] for number in decisions.request_id]
        in_order = replace(
            prepared,
            requests=[prepared.requests[row] for row in rows],
            arrivals=[int(at) for at in decisions.at],
            paths=[prepared.paths[row] for row in rows],
            blocks=[prepared.blocks[row] for row in rows],
        )
        times = Times.of(record, ids)
        return cls(prepared, cluster, record.seed, closed_loop, until_s, decisions, horizon_s, ids, times, in_order)

    def fork(self, weight: float, number: int, other: int | None = None) -> Fork:
        """Take another instance at one decision.

        Args:
            weight: w of the line, one of the fork weights [token/request].
            number: of the decision.
            other: the instance; None for the line's choice.
        """
        found = self.decisions
        other = int(found.other[weight][number]) if other is None else other
        at, own = int(found.at[number]), self.ids.index(int(found.request_id[number]))
        anew = Growth.between(self.times, self.replayed({number: other}))
        present = Growth.between(self.without_later(number, {}), self.without_later(number, {number: other}))
        near, run = self._near_and_run(anew, at)
        neutral, of_neutral = self.neutral(number), None
        if neutral is not None:
            growth = Growth.between(self.times, self.replayed({neutral: int(found.twin[neutral])}))
            of_neutral = self._near_and_run(growth, int(found.at[neutral]))
        one = np.arange(len(self.ids)) == own
        everyone = np.ones(number + 1, dtype=bool)
        return Fork(
            weight=weight,
            decision=number,
            request_id=self.ids[own],
            at_s=to_seconds(at),
            chosen=int(found.chosen[number]),
            other=other,
            implied=float(found.implied_rate[number]),
            predicted_s=float(found.predicted_s[weight][number]),
            predicted_offset_s=float(found.predicted_offset_s[weight][number]),
            own=anew.change(one, one) if anew.both[own] else None,
            present=present.change(everyone, everyone),
            near=near,
            run=run,
            neutral_decision=neutral,
            neutral_near=None if of_neutral is None else of_neutral[0],
            neutral_run=None if of_neutral is None else of_neutral[1],
        )

    def neutral(self, number: int) -> int | None:
        """The decision nearest to another one for a neutral fork; None if there is none within reach.

        The chosen instance has a twin there, and one of the two was used before: between two that never were, the fork
        would only swap their names, and the run would keep its luck.
        """
        found = self.decisions
        first_use = np.full(len(self.cluster), len(found))
        instances, first = np.unique(found.chosen, return_index=True)
        first_use[instances] = first
        numbers = np.arange(len(found))
        used = np.minimum(first_use[found.chosen], first_use[found.twin]) < numbers
        fit = np.flatnonzero((found.twin >= 0) & used)
        fit = fit[np.abs(fit - number) <= NEUTRAL_WITHIN * len(found)]
        return int(fit[np.argmin(np.abs(fit - number))]) if len(fit) else None

    def _near_and_run(self, growth: Growth, at: int) -> tuple[Change, Change]:
        """Change up to the horizon after a fork, and over the run."""
        arrival = self.times.arrival
        later = arrival >= at
        return (
            growth.change(arrival <= at + to_ticks(self.horizon_s), later),
            growth.change(np.ones(len(arrival), dtype=bool), later),
        )

    def replayed(self, overrides: Overrides) -> Times:
        """The run again, with some decisions taken otherwise."""
        return Times.of(self._simulated(self.prepared, overrides, closed_loop=self.closed_loop), self.ids)

    def without_later(self, number: int, overrides: Overrides) -> Times:
        """The run again as if nothing arrived after a decision; times are in the order of decision."""
        kept, last = self.in_order, number + 1
        before = replace(
            kept,
            requests=kept.requests[:last],
            arrivals=kept.arrivals[:last],
            paths=kept.paths[:last],
            blocks=kept.blocks[:last],
        )
        ids = [request.id for request in before.requests]
        return Times.of(self._simulated(before, overrides, closed_loop=False), ids)

    def _simulated(self, prepared: Prepared, overrides: Overrides, *, closed_loop: bool) -> RunRecord:
        return simulate(
            prepared,
            policy(RULE),
            self.cluster,
            seed=self.seed,
            closed_loop=closed_loop,
            until_s=self.until_s,
            overrides=overrides,
        )


#: One fork to make: weight and number of the decision.
Task = tuple[float, int]


def forked(trunk: Trunk, tasks: Sequence[Task], *, jobs: int = 1) -> Iterator[Fork]:
    """Make forks; yields each as soon as it and all before it are done, in the order given.

    Args:
        trunk: the run.
        tasks: forks to make.
        jobs: processes; with 1 everything runs here. The forks do not depend on it.
    """
    if jobs <= 1 or len(tasks) <= 1:
        for weight, number in tasks:
            yield trunk.fork(weight, number)
        return
    with ProcessPoolExecutor(min(jobs, len(tasks)), initializer=_start_worker, initargs=(trunk,)) as pool:
        yield from pool.map(_work, tasks)


_worker: list[Trunk] = []


def _start_worker(trunk: Trunk) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which keeps what is done
    _worker[:] = [trunk]


def _work(task: Task) -> Fork:
    return _worker[0].fork(*task)
