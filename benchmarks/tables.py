"""Tables of committed results as Markdown, for the book."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.measure import RESULTS


def result(name: str) -> dict[str, Any]:
    """A committed result.

    Example:
        >>> result("cost_model_fidelity")["command"]
        'make bench BENCH_ARGS=cost_model_fidelity'
    """
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]], left: int = 1) -> str:
    """A table; all but the first columns are set to the right.

    Example:
        >>> print(markdown(("rule", "TTFT"), [("lmetric", 1.5)]))
        | rule | TTFT |
        | --- | ---: |
        | lmetric | 1.5 |
    """
    rules = ["---" if place < left else "---:" for place in range(len(head))]
    lines = [head, rules, *([str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def origin(found: Mapping[str, Any]) -> str:
    """Where a result comes from, as a line beneath a table or figure."""
    machine = found.get("machine", {})
    where = f"{machine['processor']}, {machine['cores']} cores, " if machine else ""
    return f"*{where}{found['date']}: `{found['command']}`*"


def cost_model_fidelity() -> str:
    """Errors of the uncalibrated cost model and of a peer, by model, GPU and engine: median, and 90th percentile."""
    found = result("cost_model_fidelity")
    head = ("median error (p90)", "points", "TTFT", "TPOT", "peer TTFT", "peer TPOT")
    rows = []
    for name, row in {**found["by_model_and_gpu"], **found["all"]}.items():
        own, peer = row["cost_model"], row["aiconfigurator"]
        errors = (own["ttft"], own["tpot"], peer["ttft"], peer["tpot"])
        shown = [f"{100 * error['median']:.0f}% ({100 * error['p90']:.0f}%)" for error in errors]
        rows.append((name, own["points"], *shown))
    return f"{markdown(head, rows)}\n\n{origin(found)}"


def engine_fidelity_origin() -> str:
    """Where the measurement of the simulator's error comes from."""
    return origin(result("engine_fidelity"))


def engine_fidelity_runs() -> str:
    """How far the simulator was off in each measurement of its error, by rule."""
    head = ("simulated against measured", "day", "mean TTFT", "mean TPOT", "mean E2E")
    rows = []
    for name in ("engine_fidelity", "engine_fidelity_again"):
        found = result(name)
        for rule, row in found["rules"].items():
            errors = (f"{100 * row[metric]['relative_error']:+.0f}%" for metric in ("ttft_s", "tpot_s", "e2e_s"))
            rows.append((f"`{rule}`", found["date"], *errors))
    return markdown(head, rows, left=2)


def census_origin() -> str:
    """Where the census comes from."""
    found = result("census")
    return f"*{found['cluster']}.* {origin(found)}"
