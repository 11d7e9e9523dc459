"""Tables of the evaluation as Markdown, computed from its rows."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.evaluation.comparing import METRICS, Compared, compared, values_of
from benchmarks.evaluation.questions import HEADLINE, LEAST_HARM, PRODUCT, rivals, settings
from benchmarks.evaluation.rows import FOLDER, Case, Row, Rows
from benchmarks.evaluation.scene import LOADS, MORE_SEEDS, REQUESTS, SEEDS, TRACE, WORKLOADS, rate_of
from benchmarks.evaluation.tuning import LINE, best_of
from benchmarks.tables import markdown

#: How workloads are called in tables.
NAMES = {"chat": "chat", "api": "API calls", "coder": "coding agents", "tool_agent": "tool agents", TRACE: "real trace"}
LOAD_NAMES = {"half": "half", "near": "0.9", "over": "1.2"}
#: What the paper reports for its rule against vLLM-v1's balancing and the production rule, at half load: change of the
#: mean in percent (arXiv 2603.15202, abstract of the OSDI version).
PAPER = {
    ("vllm_v1", "ttft_mean"): -92,
    ("vllm_v1", "tpot_mean"): -24,
    ("bailian", "ttft_mean"): -39,
    ("bailian", "tpot_mean"): -51,
}
SHOWN = (
    "ttft_mean",
    "ttft_p99",
    "tpot_mean",
    "tpot_p99",
    "hit_fraction",
    "goodput",
    "imbalance_p50",
    "instance_requests_cv",
)


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


def verdict() -> str:
    """The product against the line tuned for each metric, and what helps where it loses.

    Each cell is the change of the metric, with the product in place of the line that was tuned for that metric.
    """
    metrics = ("ttft_mean", "ttft_p99", "tpot_mean", "tpot_p99")
    head = ("workload", "load", *(METRICS[name].title.split(" [")[0] for name in metrics))
    table = []
    for workload, load in cells():
        ours = of(workload, load, PRODUCT, seeds_of(workload))
        line = {name: _line(workload, load, name) for name in metrics}
        table.append(
            (NAMES[workload], LOAD_NAMES[load], *(change(against(ours, line[name], name)) for name in metrics))
        )
    return f"{markdown(head, table, left=2)}\n\n{origin()}"


def _line(workload: str, load: str, metric: str) -> list[Row]:
    return of(workload, load, best_of(workload, load, LINE, metric), seeds_of(workload))


def cells() -> Iterator[tuple[str, str]]:
    """Every workload at every load."""
    for workload in WORKLOADS:
        for load in LOADS:
            yield workload, load


def remedies() -> str:
    """Where the product loses to the line tuned for a metric: what least harm, offset and detector do."""
    head = ("workload", "load", "metric", "product", "least harm", "with offset", "product + auto")
    table = []
    for workload, load in cells():
        seeds = seeds_of(workload)
        for metric in ("ttft_mean", "ttft_p99", "tpot_mean", "tpot_p99"):
            line = _line(workload, load, metric)
            found = against(of(workload, load, PRODUCT, seeds), line, metric)
            if found.verdict != "loss":
                continue
            others = (
                of(workload, load, LEAST_HARM, seeds),
                of(workload, load, "marginal_delay_offset", seeds),
                of(workload, load, PRODUCT, seeds, mitigation="auto"),
            )
            title = METRICS[metric].title.split(" [")[0]
            cells_shown = [change(found), *(change(against(other, line, metric)) for other in others)]
            table.append((NAMES[workload], LOAD_NAMES[load], title, *cells_shown))
    return markdown(head, table, left=3) if table else "The product loses nowhere."


def headline() -> str:
    """The paper's headline on this test bed: change of mean TTFT and TPOT with the product in place of each rival."""
    head = ("rival", "workload", "TTFT mean", "paper", "TPOT mean", "paper")
    table = []
    for rival in HEADLINE[1:]:
        for workload in WORKLOADS:
            ours, theirs = (of(workload, "half", rule, SEEDS) for rule in (PRODUCT, rival))
            found = [change(against(ours, theirs, name)) for name in ("ttft_mean", "tpot_mean")]
            paper = [f"{PAPER[rival, name]}%" for name in ("ttft_mean", "tpot_mean")]
            table.append((f"`{rival}`", NAMES[workload], found[0], paper[0], found[1], paper[1]))
    return f"{markdown(head, table, left=2)}\n\n{origin()}"


def everyone(workload: str, load: str) -> str:
    """Every rule at its defaults and tuned on one workload at one load: mean over five seeds."""
    head = ("rule", "setting", *(METRICS[name].title for name in SHOWN))
    found = []
    for rule in rivals():
        for kind, policy in settings(workload, load, rule).items():
            if kind.startswith("tuned for"):
                continue
            chosen = of(workload, load, policy, SEEDS)
            found.append((_score(chosen), rule, kind, policy, chosen))
    found.sort(key=lambda row: row[0])
    table = []
    for _, rule, kind, policy, chosen in found:
        setting = policy.partition(":")[2] or "none"
        name = f"**`{rule}`**" if rule == PRODUCT else f"`{rule}`"
        table.append(
            (name, "default" if kind == "default" else f"tuned: {setting}", *(_mean(chosen, m) for m in SHOWN))
        )
    return markdown(head, table, left=2)


def _score(chosen: Sequence[Row]) -> float:
    return math.prod(math.fsum(values_of(chosen, METRICS[name])) for name in ("ttft_mean", "tpot_mean"))


def _mean(chosen: Sequence[Row], metric: str) -> str:
    what = METRICS[metric]
    values = [what.factor * value for value in values_of(chosen, what)]
    return f"{math.fsum(values) / len(values):.3g} ({min(values):.3g} to {max(values):.3g})"
