"""The simulator on the very requests that were measured, and how far it is off, with columns of its own for both."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from benchmarks.gpu_runs import Case, router_config
from benchmarks.gpu_workload import keyed
from replay.engines.prompts import Prompts
from replay.metrics import summarise
from replay.sim.cluster import Cluster
from replay.sim.parts import prepare
from replay.sim.router_decider import Routing
from replay.sim.run import simulate
from scheduler.policies.catalogue import policy

#: Metrics that are compared, as paths in a summary, and whether less is better.
METRICS: Mapping[str, bool] = {
    "ttft_s.mean": True,
    "ttft_s.p99": True,
    "tpot_s.mean": True,
    "e2e_s.mean": True,
    "e2e_s.p99": True,
    "hit_fraction": False,
    "throughput_tokens_per_s": False,
    "batch_imbalance.p99": True,
}
#: Of these, those by which rules are ranked.
RANKED = ("ttft_s.mean", "tpot_s.mean", "e2e_s.mean", "hit_fraction")


def simulated(
    rows: list[dict[str, Any]],
    cases: Sequence[Case],
    clusters: Mapping[str, Cluster],
    prompts: Prompts,
    repeats: int,
    stop: Callable[[], None],
) -> None:
    """The same runs in the simulator: one row a fit, workload, rule and seed.

    Args:
        rows: where they go.
        cases: what is measured.
        clusters: by the name of the fit that they follow.
        prompts: those of the live runs; the simulator gets the same keys.
        repeats: seeds, as many as there are repetitions.
        stop: called between runs; it may raise.
    """
    for case in cases:
        requests = keyed(case.load.requests, prompts)
        quick = prepare(requests)
        for name, cluster in clusters.items():
            routing_config = router_config(cluster, requests[0].block_tokens)
            for text, mitigation, seed in itertools.product(case.policies, case.mitigations, range(repeats)):
                stop()
                rule = policy(text)
                record = simulate(
                    quick,
                    rule,
                    cluster,
                    seed=seed,
                    closed_loop=True,
                    until_s=case.pace.until_s,
                    routing=Routing(mitigation, config=routing_config),
                )
                summary = summarise(record, rule.rule.name, dict(rule.values), len(cluster), 0.0, mitigation)
                rows.append(
                    {
                        "workload": case.name,
                        "policy": text,
                        "mitigation": mitigation,
                        "repeat": seed,
                        "step_time": name,
                        "simulated": msgspec.to_builtins(summary),
                    }
                )


Key = tuple[str, str]


def comparison(
    cases: Sequence[Case], runs: Sequence[Mapping[str, Any]], sims: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Each metric of each rule, measured and simulated in columns of their own, and the order of the rules.

    Args:
        cases: the workloads.
        runs: rows that were measured.
        sims: rows that were simulated.
    """
    found: dict[str, Any] = {}
    fits = list(dict.fromkeys(row["step_time"] for row in sims))
    for case in cases:
        keys = list(itertools.product(case.policies, case.mitigations))
        real = {key: [row["measured"] for row in runs if _is(row, case.name, key)] for key in keys}
        sim = {
            fit: {
                key: [row["simulated"] for row in sims if _is(row, case.name, key) and row["step_time"] == fit]
                for key in keys
            }
            for fit in fits
        }
        rules = {_label(key): _rule(real[key], {fit: sim[fit][key] for fit in fits}) for key in keys}
        ranks = {metric: _ranking(metric, keys, real, sim) for metric in RANKED}
        found[case.name] = {"rules": rules, "rankings": ranks}
    return found


def _is(row: Mapping[str, Any], workload: str, key: Key) -> bool:
    return (row["workload"], row["policy"], row["mitigation"]) == (workload, *key)


def _label(key: Key) -> str:
    return key[0] if key[1] == "none" else f"{key[0]} +{key[1]}"


def value(summary: Mapping[str, Any], metric: str) -> float | None:
    """A metric of a summary.

    Example:
        >>> value({"ttft_s": {"mean": 0.5}}, "ttft_s.mean"), value({"hit_fraction": None}, "hit_fraction")
        (0.5, None)
    """
    found: Any = summary
    for name in metric.split("."):
        found = found[name]
    return None if found is None else float(found)


def _values(summaries: Sequence[Mapping[str, Any]], metric: str) -> list[float]:
    return [one for one in (value(summary, metric) for summary in summaries) if one is not None]


def _rule(real: Sequence[Mapping[str, Any]], sims: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Every metric of one rule."""
    rows: dict[str, Any] = {"runs": len(real)}
    for metric in METRICS:
        row: dict[str, Any] = {"measured": spread(_values(real, metric))}
        for fit, summaries in sims.items():
            row[f"simulated_{fit}"] = spread(_values(summaries, metric))
            row[f"error_{fit}"] = _error(row["measured"], row[f"simulated_{fit}"])
        rows[metric] = row
    return rows


def spread(values: Sequence[float]) -> dict[str, float] | None:
    """Mean, least and greatest; None if there is nothing.

    Example:
        >>> spread([1.0, 3.0]), spread([])
        ({'mean': 2.0, 'min': 1.0, 'max': 3.0}, None)
    """
    if not values:
        return None
    return {"mean": statistics.fmean(values), "min": min(values), "max": max(values)}


def _error(real: dict[str, float] | None, sim: dict[str, float] | None) -> float | None:
    """Relative error of the simulated mean."""
    return None if real is None or sim is None or not real["mean"] else sim["mean"] / real["mean"] - 1


def _ranking(
    metric: str,
    keys: Sequence[Key],
    real: Mapping[Key, Sequence[Mapping[str, Any]]],
    sims: Mapping[str, Mapping[Key, Sequence[Mapping[str, Any]]]],
) -> dict[str, Any]:
    """Rules from best to worst, and of each pair whether the simulator has them in the measured order.

    A pair is sure if it was in the same order in every repetition, and there were two at least.
    """
    order = {"measured": _order(metric, real)} | {f"simulated_{fit}": _order(metric, sim) for fit, sim in sims.items()}
    pairs = []
    for one, two in itertools.combinations(keys, 2):
        gaps = [
            a - b for a, b in zip(_values(real[one], metric), _values(real[two], metric), strict=False)
        ]  # of the same repetition, as far as both have it
        if not gaps:
            continue
        pair: dict[str, Any] = {
            "rules": [_label(one), _label(two)],
            "measured_gaps": gaps,
            "sure": len(gaps) > 1 and (min(gaps) > 0 or max(gaps) < 0),
        }
        for fit, sim in sims.items():
            sides = [_values(sim[key], metric) for key in (one, two)]
            if all(sides):
                gap = statistics.fmean(sides[0]) - statistics.fmean(sides[1])
                pair[f"simulated_gap_{fit}"] = gap
                pair[f"same_order_{fit}"] = gap * statistics.fmean(gaps) >= 0
        pairs.append(pair)
    return {"order": order, "pairs": pairs}


def _order(metric: str, summaries: Mapping[Key, Sequence[Mapping[str, Any]]]) -> list[str]:
    means = {key: statistics.fmean(found) for key, some in summaries.items() if (found := _values(some, metric))}
    return [_label(key) for key in sorted(means, key=lambda key: means[key], reverse=not METRICS[metric])]
