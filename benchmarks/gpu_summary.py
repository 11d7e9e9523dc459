"""What a result of gpu_replay says, in a screen of text: a table of runs, and a line each on what else it has."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any


def summary_lines(result: Mapping[str, Any]) -> list[str]:
    """The lines, for whatever parts of the result there are.

    Args:
        result: as in ``gpu_replay.json``.
    """
    return [*_table(result), *_fit(result), *_numerics(result), *_left(result)]


def _table(result: Mapping[str, Any]) -> list[str]:
    """Measured means over the repetitions of each rule on each workload."""
    rows: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for run in result.get("runs", []):
        if run["complete"]:
            rule = run["policy"] + ("" if run["mitigation"] == "none" else f" +{run['mitigation']}")
            rows.setdefault((run["workload"], rule), []).append(run)
    if not rows:
        return ["no run is complete"]
    width = max(len("rule"), *(len(rule) for _, rule in rows))
    lines = [f"{'workload':<10} {'rule':<{width}} {'runs':>4} {'TTFT ms':>9} {'TPOT ms':>9} {'hit %':>6} {'lost':>5}"]
    for (workload, rule), runs in sorted(rows.items(), key=lambda item: item[0][0]):
        told = [run["measured"] for run in runs]
        ttft, tpot = (_mean([one[name]["mean"] for one in told], 1000) for name in ("ttft_s", "tpot_s"))
        hit, lost = (
            _mean([one["hit_fraction"] for one in told], 100),
            sum(one["rejected"] + one["failed"] for one in told),
        )
        lines.append(f"{workload:<10} {rule:<{width}} {len(runs):>4} {ttft:>9} {tpot:>9} {hit:>6} {lost:>5}")
    lines.append("measured, means over the runs")
    late = sum(not run["client_lag"]["kept_up"] for runs in rows.values() for run in runs)
    if late:
        lines.append(f"in {late} of {sum(map(len, rows.values()))} runs the client could not keep up")
    return lines


def _mean(values: list[float | None], factor: float) -> str:
    known = [value for value in values if value is not None]
    return f"{factor * fmean(known):#.3g}" if known else "-"


def _fit(result: Mapping[str, Any]) -> list[str]:
    lines = []
    if "step_time" in result:
        error = result["step_time"]["held_out_error"]
        told = f"step times: off by {_percent(error['median'])} of a step in the median"
        slower = result.get("together", {}).get("slowdown")
        lines.append(told + ("" if slower is None else f"; {slower:.2f} times as long while all are busy"))
    errors = [
        abs(rule["ttft_s.mean"]["error_together"])
        for workload in result.get("comparison", {}).values()
        for rule in workload["rules"].values()
        if rule.get("ttft_s.mean", {}).get("error_together") is not None
    ]
    if errors:
        lines.append(f"simulator: off by {_percent(min(errors))} to {_percent(max(errors))} of mean TTFT")
    return lines


def _numerics(result: Mapping[str, Any]) -> list[str]:
    if "numerics" not in result:
        return []
    found = result["numerics"]
    return [f"numerics: with a cached prefix {found['equal']} of {found['prompts']} prompts got the same output"]


def _left(result: Mapping[str, Any]) -> list[str]:
    parts = [
        f"{name} {part['state']}" + (f" ({part['why']})" if part.get("why") else "")
        for name, part in result["parts"].items()
        if part["state"] != "done"
    ]
    left = len(result.get("runs_not_done", []))
    if left:
        parts.append(f"{left} run{'' if left == 1 else 's'} left out")
    return [f"not done: {'; '.join(parts)}"] if parts else ["all was done"]


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%" if share >= 0.1 else f"{100 * share:.2g}%"
