"""Tables of the evaluation as Markdown, computed from its rows."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.evaluation.comparing import METRICS, Compared, compared, values_of
from benchmarks.evaluation.questions import LEAST_HARM, PRODUCT
from benchmarks.evaluation.rows import FOLDER, Case, Row, Rows
from benchmarks.evaluation.scene import LOADS, MORE_SEEDS, REQUESTS, SEEDS, TRACE, WORKLOADS, rate_of
from benchmarks.evaluation.tuning import LINE, OBJECTIVE, SINGLE, best_of
from benchmarks.evaluation.words import counted
from benchmarks.tables import markdown

#: How workloads are called in tables.
NAMES = {"chat": "chat", "api": "API calls", "coder": "coding agents", "tool_agent": "tool agents", TRACE: "real trace"}
LOAD_NAMES = {"half": "half", "near": "0.9", "over": "1.2"}
#: Rule and mitigation that may help where the product loses.
REMEDIES = ((LEAST_HARM, "none"), ("marginal_delay_offset", "none"), (PRODUCT, "auto"))


@functools.cache
def rows() -> Rows:
    """The rows that are committed."""
    return Rows()


def of(workload: str, load: str, policy: str, seeds: Sequence[int], **more: Any) -> list[Row]:
    """The rows of a policy, one a seed."""
    rate = rate_of(workload, load)
    return rows().get(Case(workload, rate, seed, policy, REQUESTS, **more) for seed in seeds)


def seeds_of(workload: str) -> Sequence[int]:
    """The seeds of what the headline compares."""
    return SEEDS if workload == TRACE else MORE_SEEDS


def against(ours: Sequence[Row], theirs: Sequence[Row], metric: str) -> Compared:
    """A rule against another one in a metric."""
    what = METRICS[metric]
    return compared(values_of(ours, what), values_of(theirs, what), more=what.more)


def change(found: Compared) -> str:
    """A ratio as a change in percent with its interval, the verdict by its type: wins bold, losses in italics.

    Example:
        >>> change(Compared(0.8, 0.75, 0.86, 5, "win")), change(Compared(1.004, 0.99, 1.01, 5, "tie"))
        ('**-20%** [-25, -14]', '+0% [-1, +1]')
    """
    mark = {"win": "**", "loss": "*", "tie": ""}[found.verdict]
    ends = "" if found.low is None or found.high is None else f" [{_percent(found.low)}, {_percent(found.high)}]"
    return f"{mark}{_percent(found.ratio)}%{mark}{ends}"


def _percent(ratio: float) -> str:
    return f"{round(100 * (ratio - 1)):+d}"


def origin() -> str:
    """Where the rows come from."""
    facts = json.loads((FOLDER / "provenance.json").read_text(encoding="utf-8"))
    return f"*Simulated; {facts['date']}: `{facts['command']}` ({facts['rows']:,} runs).*"


def verdict(tuned: str = "each") -> str:
    """The product against the tuned line: change of each metric with the product in its place.

    Args:
        tuned: ``each``: the line was tuned for the very metric; ``once``: for the geometric mean of TTFT and TPOT, so
            that one setting stands in the whole row.
    """
    head = ("workload", "load", *map(short, SINGLE))
    table = []
    for workload, load in cells():
        found = (change(against_line(workload, load, metric, tuned=tuned)) for metric in SINGLE)
        table.append((NAMES[workload], LOAD_NAMES[load], *found))
    return f"{markdown(head, table, left=2)}\n\n{origin()}"


def short(metric: str) -> str:
    """A metric without its unit."""
    return METRICS[metric].title.split(" [")[0]


def named(workload: str, load: str, metric: str) -> str:
    """A cell of the tables in words.

    Example:
        >>> named("api", "near", "ttft_p99")
        'TTFT p99, API calls at 0.9'
    """
    return f"{short(metric)}, {NAMES[workload]} at {LOADS[load]:g}"


def against_line(
    workload: str, load: str, metric: str, policy: str = PRODUCT, mitigation: str = "none", tuned: str = "each"
) -> Compared:
    """The product, or something else, against the line that was tuned here: see :func:`verdict`."""
    seeds = seeds_of(workload)
    line = of(workload, load, best_of(workload, load, LINE, metric if tuned == "each" else OBJECTIVE), seeds)
    return against(of(workload, load, policy, seeds, mitigation=mitigation), line, metric)


def cells() -> Iterator[tuple[str, str]]:
    """Every workload at every load."""
    for workload in WORKLOADS:
        for load in LOADS:
            yield workload, load


def losses() -> Iterator[tuple[str, str, str]]:
    """Workload, load and metric where the product loses to the line tuned for that metric."""
    for workload, load in cells():
        for metric in SINGLE:
            if against_line(workload, load, metric).verdict == "loss":
                yield workload, load, metric


def remedies() -> str:
    """Where the product loses to the line tuned for a metric: what least harm, offset and detector do."""
    head = ("workload", "load", "metric", "product", "least harm", "with offset", "product + auto")
    table = [
        (
            NAMES[workload],
            LOAD_NAMES[load],
            short(metric),
            *(change(against_line(workload, load, metric, *other)) for other in ((PRODUCT,), *REMEDIES)),
        )
        for workload, load, metric in losses()
    ]
    return markdown(head, table, left=3) if table else "The product loses nowhere."


def against_line_everywhere(policy: str, mitigation: str = "none", tuned: str = "each") -> list[Compared]:
    """A rule against the tuned line, in every cell and metric."""
    return [against_line(*cell, metric, policy, mitigation, tuned) for cell in cells() for metric in SINGLE]


def remedies_everywhere() -> str:
    """The product and its remedies against the line tuned for each metric in all cells: help here, cost there."""
    head = ("rule", "the line is tuned for", "wins", "ties", "losses", "worst")
    table = []
    for policy, mitigation in ((PRODUCT, "none"), *REMEDIES):
        for tuned, told in (("each", "the metric"), ("once", "both")):
            found = against_line_everywhere(policy, mitigation, tuned)
            name = f"`{policy}`" if mitigation == "none" else f"`{policy}` + {mitigation}"
            table.append((name, told, *counted(found), change(max(found, key=lambda one: one.ratio))))
    return f"{markdown(head, table, left=2)}\n\n{origin()}"
