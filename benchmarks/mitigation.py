"""What ``auto`` does on hot spots, and what it does not do elsewhere: simulated, five seeds, bare product beside it.

Hot: ramps of one class to a share of 0.3, 0.5, 0.7 and the burst of long replies, on 8 and 16 instances. A workload
counts only if on it the bare product's median batch imbalance is at least 2.5 times that of join-shortest-queue.
Calm: the conversation trace (if ``ARGPROD_TRACES`` names its folder) and the four families of workloads at their
default load: there, ``auto`` must not be felt.
"""

from __future__ import annotations

import datetime as dt
import os
import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.measure import machine, save
from replay.metrics import Summary, summarise
from replay.sim.cluster import roofline_cluster
from replay.sim.parts import prepare
from replay.sim.router_decider import Routing
from replay.sim.run import simulate
from replay.sources import open_source
from scheduler.policies.catalogue import policy

#: Not those on which settings were tried out (0 to 4, 10 to 14).
SEEDS = range(20, 25)
REQUESTS = 12_000
#: Long prefixes, short questions, long replies, low load: where a hit is worth most and a batch slot is held longest.
RAMP = f"requests={REQUESTS},prefix_tokens=16000,fresh_tokens_mean=32,ramp=0.1"
#: By instances and share of the class: mean reply [token], rate of one instance [request/s]. Looked for with bare
#: product and join-shortest-queue alone, so that the workload counts.
RAMPS = {
    (8, 0.3): (6000, 0.06),
    (8, 0.5): (3000, 0.1),
    (8, 0.7): (3000, 0.1),
    (16, 0.3): (2000, 0.2),
    (16, 0.5): (2000, 0.2),
    (16, 0.7): (2000, 0.25),
}
BURST = f"requests={REQUESTS},prefix_tokens=8000,fresh_tokens_mean=32,burst_share=0.3,burst_at=0.15,burst_length=0.7"
BURST_RATE_PER_INSTANCE = 0.1
RULES = ("lmetric", "join_shortest_queue", "dynamo")
TRACE = "mooncake_conversation.jsonl"
CALM = ("chat", "api", "coder", "tool_agent")
#: Share of bare product's median imbalance over that of join-shortest-queue from which a workload counts.
COUNTS_FROM = 2.5


def hot_sources() -> dict[str, tuple[str, int]]:
    """Source and instances of every hot workload, by name."""
    found: dict[str, tuple[str, int]] = {}
    for (count, share), (reply, rate) in RAMPS.items():
        text = f"workload:hot_spot_ramp:share={share},rate_per_s={rate * count},output_tokens_mean={reply},{RAMP}"
        found[f"ramp {share} on {count}"] = (text, count)
    for count in (8, 16):
        text = f"workload:thinking_burst:rate_per_s={BURST_RATE_PER_INSTANCE * count},{BURST}"
        found[f"burst on {count}"] = (text, count)
    return found


def calm_sources() -> dict[str, tuple[str, int]]:
    """The same of every calm one."""
    found = {name: (f"workload:{name}:requests=6000", 16) for name in CALM}
    folder = os.environ.get("ARGPROD_TRACES")
    if folder and (Path(folder) / TRACE).exists():
        found["conversation trace"] = (str(Path(folder) / TRACE), 16)
    return found


def one_seed(text: str, instances: int, seed: int, rules: Sequence[str]) -> dict[str, Summary]:
    """Every rule alone, and the product with ``auto``, on one seed."""
    requests = prepare(list(open_source(text, seed=seed)[0]))
    cluster = roofline_cluster(instances)
    found = {}
    for rule in (*rules, "auto"):
        chosen = policy("lmetric" if rule == "auto" else rule)
        routing = Routing("auto") if rule == "auto" else None
        record = simulate(requests, chosen, cluster, seed=seed, closed_loop=True, routing=routing)
        found[rule] = summarise(record, chosen.rule.name, {}, instances, 0.0, "auto" if routing else "none")
    return found


def measures(summary: Summary) -> dict[str, float]:
    """The numbers that are compared; latencies in seconds."""
    values = {
        "ttft_s_mean": summary.ttft_s.mean,
        "ttft_s_p99": summary.ttft_s.p99,
        "tpot_s_mean": summary.tpot_s.mean,
        "tpot_s_p99": summary.tpot_s.p99,
        "imbalance_p50": summary.batch_imbalance.p50,
        "imbalance_p99": summary.batch_imbalance.p99,
        "hit_fraction": summary.hit_fraction,
    }
    return {name: value for name, value in values.items() if value is not None}


def over_seeds(found: Sequence[dict[str, Summary]]) -> dict[str, dict[str, dict[str, float]]]:
    """Mean, least and largest over the seeds, by rule and measure."""
    table: dict[str, dict[str, dict[str, float]]] = {}
    for rule in found[0]:
        rows = [measures(seed[rule]) for seed in found]
        table[rule] = {
            name: {
                "mean": statistics.fmean(row[name] for row in rows),
                "min": min(row[name] for row in rows),
                "max": max(row[name] for row in rows),
            }
            for name in rows[0]
        }
    return table


def hot_verdict(table: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, float]:
    """Ratios of the means over the seeds, each with what it is compared to in its name."""

    def mean(rule: str, name: str) -> float:
        return table[rule][name]["mean"]

    return {
        "bare imbalance / jsq": mean("lmetric", "imbalance_p50") / mean("join_shortest_queue", "imbalance_p50"),
        "mean TTFT / bare": mean("auto", "ttft_s_mean") / mean("lmetric", "ttft_s_mean"),
        "mean TPOT / best": mean("auto", "tpot_s_mean") / min(mean(rule, "tpot_s_mean") for rule in RULES),
        "p99 TPOT / jsq": mean("auto", "tpot_s_p99") / mean("join_shortest_queue", "tpot_s_p99"),
        "imbalance p50 / bare": mean("auto", "imbalance_p50") / mean("lmetric", "imbalance_p50"),
        "imbalance p50 / jsq": mean("auto", "imbalance_p50") / mean("join_shortest_queue", "imbalance_p50"),
        "imbalance p99 / jsq": mean("auto", "imbalance_p99") / mean("join_shortest_queue", "imbalance_p99"),
    }


def watch_of(found: Sequence[dict[str, Summary]]) -> dict[str, Any]:
    """What the detector said of the runs with ``auto``, seeds pooled."""
    watches = [seed["auto"].watch for seed in found]
    decisions = sum(watch.decisions for watch in watches if watch)
    mitigated: dict[str, int] = {}
    for watch in watches:
        for kind, count in (watch.mitigated if watch else {}).items():
            mitigated[kind] = mitigated.get(kind, 0) + count
    return {
        "decisions": decisions,
        "unsafe_fraction": sum(watch.unsafe for watch in watches if watch) / max(1, decisions),
        "mitigated": mitigated,
        "price_tokens": sum(sum(watch.price_tokens.values()) for watch in watches if watch),
    }


def calm_verdict(table: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, float]:
    """Relative change of the means, and half the spread over seeds of bare product beside it."""
    verdict: dict[str, float] = {}
    for name in ("ttft_s_mean", "tpot_s_mean"):
        bare = table["lmetric"][name]
        verdict[f"{name} change"] = table["auto"][name]["mean"] / bare["mean"] - 1
        verdict[f"{name} spread"] = (bare["max"] - bare["min"]) / 2 / bare["mean"]
    return verdict


def run() -> None:
    """Measure, print, save."""
    hot, calm = hot_sources(), calm_sources()
    jobs: list[tuple[str, str, int, int, tuple[str, ...]]] = []
    jobs += [(name, *source, seed, RULES) for name, source in hot.items() for seed in SEEDS]
    jobs += [(name, *source, seed, ("lmetric",)) for name, source in calm.items() for seed in SEEDS]
    found: dict[str, list[dict[str, Summary]]] = {}
    with ProcessPoolExecutor(2) as pool:
        futures = [(name, pool.submit(one_seed, text, count, seed, rules)) for name, text, count, seed, rules in jobs]
        for name, future in futures:
            found.setdefault(name, []).append(future.result())
    result: dict[str, Any] = {"hot": {}, "calm": {}}
    for name, (text, _) in {**hot, **calm}.items():
        table = over_seeds(found[name])
        verdict = hot_verdict(table) if name in hot else calm_verdict(table)
        shown = text if text.startswith("workload:") else Path(text).name
        row = {"source": shown, "verdict": verdict, "watch": watch_of(found[name]), "measures": table}
        result["hot" if name in hot else "calm"][name] = row
        print(f"{name}: {shown}")
        print("  " + ", ".join(f"{key} {value:.3f}" for key, value in verdict.items()))
        print(f"  {row['watch']}")
    result |= {
        "simulated": True,
        "seeds": len(SEEDS),
        "counts_from": COUNTS_FROM,
        "machine": machine(),
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "command": "make bench BENCH_ARGS=mitigation",
    }
    print(f"saved {save('mitigation', result).name}")
