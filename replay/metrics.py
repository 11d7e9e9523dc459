"""Metrics, defined once. Every table, plot and JSON file is computed from these functions.

``ttft_s``: arrival to first token. ``tpot_s``: (last - first token time) / (output tokens - 1), over requests with
more than one output token. ``e2e_s``: arrival to last token. ``hit_fraction``: cached / prompt tokens over all
requests. ``throughput_tokens_per_s``: output tokens over the time from first arrival to last event.
``goodput_fraction``: share of all requests with TTFT <= 1 s + 62.5 ms per 1,000 prompt tokens and TPOT <= 50 ms.
``batch_imbalance``: max/mean over instances of the batch size counting the arriving request, at every arrival. A
value that does not exist is None, never 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from replay.sim.noticed import Noticed
from replay.sim.record import RunRecord
from replay.sim.sequence import Sim
from replay.sim.ticks import TICKS_PER_S
from scheduler.state import End

#: Service objective for goodput. Source: SMetric (docs/sources.md#smetric) for TTFT; the TPOT limit is ours
#: (SMetric's is 20 ms).
TTFT_BASE_S = 1.0
TTFT_S_PER_PROMPT_TOKEN = 62.5e-3 / 1000
TPOT_LIMIT_S = 0.050


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """Mean and percentiles of a latency [s]; None where no request has it."""

    mean: float | None
    p50: float | None
    p95: float | None
    p99: float | None


class Imbalance(msgspec.Struct, frozen=True, kw_only=True):
    """Percentiles of max/mean batch size at arrivals."""

    p50: float | None
    p99: float | None


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """What detector and mitigation of the shipped router did in one run.

    Args:
        decisions: how many were made.
        unsafe: how many had a finding above ``info``.
        findings: decisions with a finding, by kind and severity.
        mitigated: decisions that a mitigation changed, by its kind.
        price_tokens: prefill tokens beyond those of the rule's own choices, by kind of mitigation [token].
    """

    decisions: int
    unsafe: int
    findings: dict[str, dict[str, int]]
    mitigated: dict[str, int]
    price_tokens: dict[str, int]


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one policy, as ``replay --json`` writes it."""

    name: str
    knobs: dict[str, Any]
    seed: int
    mitigation: str
    requests: int
    finished: int
    rejected: int
    failed: int
    not_arrived: int
    ttft_s: Spread
    tpot_s: Spread
    e2e_s: Spread
    hit_fraction: float | None
    throughput_tokens_per_s: float | None
    goodput_fraction: float | None
    batch_imbalance: Imbalance
    preemptions: int
    instance_requests: list[int]
    instance_prompt_tokens: list[int]
    wall_s: float
    watch: Watch | None = None


class Latencies(msgspec.Struct, frozen=True):
    """Latencies of finished requests as arrays [s], in the order of the requests.

    ``ttft`` and ``e2e`` have one entry a finished request; ``tpot`` only those with more than one output token.
    """

    ttft: Any
    tpot: Any
    e2e: Any


def latencies(sims: Sequence[Sim]) -> Latencies:
    """Collect the latencies of the finished requests."""
    ttft, tpot, e2e = [], [], []
    for sim in sims:
        if sim.end is not End.FINISHED or sim.first_at is None or sim.last_at is None:
            continue
        ttft.append(sim.first_at - sim.arrival)
        e2e.append(sim.last_at - sim.arrival)
        if sim.output > 1:
            tpot.append((sim.last_at - sim.first_at) / (sim.output - 1))
    return Latencies(*(np.asarray(values, dtype=float) / TICKS_PER_S for values in (ttft, tpot, e2e)))


def spread(values: Any) -> Spread:
    """Mean and percentiles (linear interpolation) of an array."""
    if not len(values):
        return Spread(mean=None, p50=None, p95=None, p99=None)
    p50, p95, p99 = (float(value) for value in np.percentile(values, (50, 95, 99)))
    return Spread(mean=float(np.mean(values)), p50=p50, p95=p95, p99=p99)


def meets_objective(sim: Sim) -> bool:
    """Whether a request finished within both limits of the service objective."""
    if sim.end is not End.FINISHED or sim.first_at is None or sim.last_at is None:
        return False
    limit = TTFT_BASE_S + TTFT_S_PER_PROMPT_TOKEN * sim.prompt
    if (sim.first_at - sim.arrival) / TICKS_PER_S > limit:
        return False
    return sim.output < 2 or (sim.last_at - sim.first_at) / (sim.output - 1) / TICKS_PER_S <= TPOT_LIMIT_S


def summarise(
    record: RunRecord,
    name: str,
    knobs: dict[str, Any],
    instance_count: int,
    wall_s: float,
    mitigation: str = "none",
) -> Summary:
    """All metrics of one run.

    Args:
        record: what the run left behind.
        name: of the rule.
        knobs: their values.
        instance_count: number of instances.
        wall_s: how long the simulation took [s].
        mitigation: what the router might do about findings.
    """
    sims = record.sims
    found = latencies(sims)
    prompt_tokens = sum(sim.prompt for sim in sims)
    first = min((sim.arrival for sim in sims), default=0)
    span_s = (record.ended_at - first) / TICKS_PER_S
    requests_on, tokens_on = [0] * instance_count, [0] * instance_count
    for sim in sims:
        if sim.instance is not None:
            requests_on[sim.instance] += 1
            tokens_on[sim.instance] += sim.prompt
    ends = [sim.end for sim in sims]
    imbalance = np.percentile(record.imbalance, (50, 99)) if record.imbalance else (None, None)
    return Summary(
        name=name,
        knobs=knobs,
        seed=record.seed,
        mitigation=mitigation,
        requests=len(sims),
        finished=ends.count(End.FINISHED),
        rejected=ends.count(End.REJECTED),
        failed=ends.count(End.FAILED),
        not_arrived=record.not_arrived,
        ttft_s=spread(found.ttft),
        tpot_s=spread(found.tpot),
        e2e_s=spread(found.e2e),
        hit_fraction=sum(sim.cached for sim in sims) / prompt_tokens if prompt_tokens else None,
        throughput_tokens_per_s=sum(sim.generated for sim in sims) / span_s if span_s > 0 else None,
        goodput_fraction=sum(map(meets_objective, sims)) / len(sims) if sims else None,
        batch_imbalance=Imbalance(p50=_number(imbalance[0]), p99=_number(imbalance[1])),
        preemptions=sum(sim.preemptions for sim in sims),
        instance_requests=requests_on,
        instance_prompt_tokens=tokens_on,
        wall_s=wall_s,
        watch=None if record.noticed is None else watch_of(record.noticed),
    )


def watch_of(noticed: Noticed) -> Watch:
    """The counts of a run, without its events."""
    findings: dict[str, dict[str, int]] = {}
    for (kind, severity), count in sorted(noticed.counts.items()):
        findings.setdefault(kind, {})[severity] = count
    return Watch(
        decisions=noticed.decisions,
        unsafe=noticed.unsafe,
        findings=findings,
        mitigated=dict(noticed.acted),
        price_tokens=dict(noticed.price_tokens),
    )


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
