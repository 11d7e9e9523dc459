"""Whether a run says anything of rules at all.

Where requests come faster than the cluster can serve they just queue; where each is alone there is nothing to balance.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, log10

from argprod.tables import number
from replay.experiment import Run
from replay.sim.ticks import TICKS_PER_S

#: Overloaded is a run of which half the requests waited for longer than this share of the time in which all arrived.
SHARE_OF_SPAN = 0.25
#: Shorter waits are no overload whatever the span: a burst that is over soon has a short one [s].
WAIT_S = 10.0


def overload_told(runs: Sequence[Run], rate_scale: float = 1.0) -> str:
    """One line if the cluster was overloaded under every rule, else an empty text.

    The load is what the quickest rule took from the first arrival to the last token, by the time in which requests
    arrived: with fewer than that many times the instances, or that much of the rate, nobody can keep up.

    Args:
        runs: of all rules.
        rate_scale: as given, from which a smaller one is suggested.
    """
    waits = [run.summary.ttft_s.p50 for run in runs]
    if not runs or any(wait is None for wait in waits):
        return ""
    spans = [_span_s(run) for run in runs]
    least_s = min(wait for wait in waits if wait is not None)
    span_s = max(spans)
    if least_s <= max(WAIT_S, SHARE_OF_SPAN * span_s):
        return ""
    took_s = min(_took_s(run) for run in runs)
    told = (
        f"overloaded: under every rule half of the requests waited {number(least_s)} s or more for a first token, "
        f"while all arrived within {number(span_s)} s"
    )
    if span_s <= 0 or took_s < 1.05 * span_s:
        return f"{told}; rules differ little in a queue: try more --instances"
    load = took_s / span_s
    return (
        f"{told}; the load is {number(load, 2)} times what these instances can serve: try --rate-scale "
        f"{_rounded_down(rate_scale / load)}, or more --instances"
    )


def idle_told(runs: Sequence[Run], instances: int) -> str:
    """One line if requests were alone in the cluster as a rule, under every rule, else an empty text.

    The largest batch is then all of the load, so it is as many times the mean batch as there are instances. One rule
    alone may get there by sending everything to one instance; several different ones do not.

    Args:
        runs: of all rules.
        instances: how many there were.
    """
    medians = {run.policy: run.summary.batch_imbalance.p50 for run in runs}
    if instances < 2 or len(medians) < 2 or any(median != instances for median in medians.values()):
        return ""
    return (
        f"under every rule max/mean load is {instances}, the number of instances, in the median: as a rule one request "
        "was in flight, and no rule had load to balance; try a larger --rate-scale"
    )


def _span_s(run: Run) -> float:
    arrivals = [sim.arrival for sim in run.record.sims]
    return (max(arrivals) - min(arrivals)) / TICKS_PER_S


def _took_s(run: Run) -> float:
    return (run.record.ended_at - min(sim.arrival for sim in run.record.sims)) / TICKS_PER_S


def _rounded_down(value: float) -> str:
    """To one digit, downwards.

    Example:
        >>> _rounded_down(0.0388), _rounded_down(1.7)
        ('0.03', '1')
    """
    unit = 10.0 ** floor(log10(value))
    return f"{floor(value / unit) * unit:g}"
