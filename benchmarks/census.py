"""The divergence census: how often a weighted line decides otherwise than the product, and what it costs; simulated.

The real conversation trace at its own rate and at twice that, and four generated workloads. Costs are those of forks:
one decision taken as the line would. See :mod:`replay.census_fork` for what a fork can and cannot say.
"""

from __future__ import annotations

import datetime as dt
import time
from typing import Any

from benchmarks.measure import machine, save
from benchmarks.simulator import conversation_trace
from replay.census_effects import Estimate, ForkSummary
from replay.census_findings import FindingCount
from replay.census_taking import Census, take_census
from replay.sim.cluster import roofline_cluster
from replay.sources import open_source

INSTANCES = 16
TRACE = "mooncake_conversation"
#: Name of a row -> source, rate scale, forks for each of the three lines.
ROWS = {
    TRACE: (TRACE, 1.0, 16),
    f"{TRACE}, twice the rate": (TRACE, 2.0, 16),
    "chat": ("workload:chat", 1.0, 24),
    "api": ("workload:api", 1.0, 24),
    "coder": ("workload:coder", 1.0, 24),
    "tool_agent": ("workload:tool_agent", 1.0, 24),
}


def census_of(name: str) -> Census:
    """The census of one row."""
    source, rate_scale, samples = ROWS[name]
    text = str(conversation_trace()) if source == TRACE else source
    requests = list(open_source(text, rate_scale=rate_scale)[0])
    return take_census(requests, roofline_cluster(INSTANCES), closed_loop=True, samples=samples)


def summary(census: Census) -> dict[str, Any]:
    """The numbers that are kept."""
    counts = census.counts
    return {
        "decisions": counts.decisions,
        "batch_p10_p50_p90": counts.batch,
        "differing_share": {f"{row.weight:.4g}": round(row.share, 4) for row in counts.weights},
        "published_differing_share": {text: round(share, 4) for text, share in counts.published.items()},
        "all_weights_16_to_4096_agree": round(counts.beyond_dispute, 4),
        "implied_weight_p10_p50_p90": [round(value, 1) for value in counts.implied],
        "implied_weight_p50_by_slice": [round(part.implied[1], 1) for part in counts.slices],
        "best_weight": [counts.best.low, counts.best.high],
        "best_weight_by_slice": [[part.best.low, part.best.high] for part in counts.slices],
        "best_weight_differing_share": round(counts.best.share, 4),
        "best_weight_by_slice_differing_share": round(counts.best_by_slice, 4),
        "horizon_s": census.horizon_s,
        "findings": {kind: _found(row) for kind, row in counts.findings.items()},
        "forks": {f"{line.weight:g}": _forks(line) for line in census.lines},
    }


def _found(row: FindingCount) -> dict[str, Any]:
    shares = {weight: round(share, 4) for weight, share in row.differing.items()}
    return {"decisions": row.decisions, "unsafe": row.unsafe, "differing_share": shares}


def _forks(line: ForkSummary) -> dict[str, Any]:
    return {
        "forks": line.forks,
        "differing": line.differing,
        "predicted_s": _estimate(line.predicted["predicted_s"]),
        "predicted_offset_s": _estimate(line.predicted["predicted_offset_s"]),
        "e2e_s": {name: _estimate(found) for name, found in line.e2e.items()},
        "ttft_s": {name: _estimate(found) for name, found in line.ttft.items()},
        "foresight": {
            name: {"same_sign": found.same_sign, "rank_correlation": found.rank_correlation}
            for name, found in line.foresight["predicted_offset_s"].items()
        },
        "run_requests": round(line.run_requests),
    }


def _estimate(found: Estimate) -> dict[str, Any]:
    ends = None if found.low is None or found.high is None else [round(found.low, 3), round(found.high, 3)]
    return {
        "forks": found.forks,
        "mean": round(found.mean, 3),
        "interval": ends,
        "quartiles": [round(q, 3) for q in found.quartiles],
    }


def run() -> None:
    """Simulate, print, save."""
    print("divergence census (simulated, not measured)")
    rows = {}
    for name in ROWS:
        started = time.perf_counter()
        rows[name] = summary(census_of(name))
        row, shares = rows[name], rows[name]["differing_share"]
        print(f"{name}: {row['decisions']} decisions, {time.perf_counter() - started:.0f} s", flush=True)
        print(f"  differs at w = 16, 256, 4096: {shares['16']:.3f}, {shares['256']:.3f}, {shares['4096']:.3f}")
        print(f"  best fixed w {row['best_weight'][0]:.0f}: {row['best_weight_differing_share']:.3f}", flush=True)
        for weight, line in row["forks"].items():
            told = ", ".join(f"{m} {line['e2e_s'][m]['mean']:.2f}" for m in ("present", "net_near", "net_run")
                             if m in line["e2e_s"])  # fmt: skip
            print(f"  one decision as w = {weight}: predicted {line['predicted_offset_s']['mean']:.2f} s, {told}")
    result = {
        "kind": "simulated; no number here is measured on an engine",
        "cluster": f"{INSTANCES} x Qwen2-7B on H20, roofline; router sees what a proxy sees",
        "unit": "change by one decision taken as the line would, sum over requests [s]; + is worse than the product",
        "interval": "95%, percentile bootstrap over the forks; only net_near and net_run are free of the luck of the "
        "run that all forks leave",
        "rows": rows,
        "machine": machine(),
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "command": "make bench BENCH_ARGS=census",
    }
    print(f"saved {save('census', result).name}")
