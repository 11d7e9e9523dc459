"""What was measured on real engines, in tables of its own: never beside a simulated number."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.tables import markdown, origin, result

FIDELITY = ("engine_fidelity", "engine_fidelity_again")
RUNNER = "gpu_replay_cpu"


def _cell(values_s: Sequence[float], factor: float = 1000) -> str:
    low, middle, high = min(values_s), statistics.median(values_s), max(values_s)
    return f"{factor * middle:.3g} ({factor * low:.3g} to {factor * high:.3g})"


def _spread(row: Mapping[str, Mapping[str, float]], factor: float = 1000) -> str:
    found = row["measured"]
    return f"{factor * found['median']:.3g} ({factor * found['min']:.3g} to {factor * found['max']:.3g})"


def _runs() -> Iterator[tuple[str, ...]]:
    """Rows of the runner that needs no installation, tried on a CPU."""
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for run in result(RUNNER)["runs"]:
        if run["complete"]:
            found.setdefault((run["workload"], run["policy"], run["mitigation"]), []).append(run["measured"])
    for (workload, policy, mitigation), told in found.items():
        rule = f"`{policy}`" if mitigation == "none" else f"`{policy}` + {mitigation}"
        ttft, tpot = ([run[name]["mean"] for run in told] for name in ("ttft_s", "tpot_s"))
        hits = [run["hit_fraction"] for run in told]
        yield ("tiny", workload.replace("_", " "), rule, str(len(told)), _cell(ttft), _cell(tpot), _cell(hits, 100))


def on_engines() -> str:
    """Every rule that was measured on engines: median over the runs, with the least and the greatest."""
    head = ("model", "workload", "rule", "runs", "mean TTFT [ms]", "mean TPOT [ms]", "hits [%]")
    rows: list[Sequence[str]] = []
    for name in FIDELITY:
        found = result(name)
        runs = str(found["setting"]["repeats"])
        for rule, row in found["rules"].items():
            times = (_spread(row["ttft_s"]), _spread(row["tpot_s"]), _spread(row["hit_fraction"], 100))
            rows.append(("small", f"chat, {found['date'][5:]}", f"`{rule}`", runs, *times))
    rows += _runs()
    origins = [origin(result(name)) for name in (*FIDELITY, RUNNER)]
    return f"{markdown(head, rows, left=3)}\n\n" + "\n\n".join(origins)
