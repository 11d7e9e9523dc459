"""Tables of the paper's headline: the product against the two rivals that it names, on this test bed."""

from __future__ import annotations

import math
from collections.abc import Iterator

from benchmarks.evaluation.comparing import METRICS, Compared, values_of
from benchmarks.evaluation.questions import HEADLINE, PRODUCT, SESSIONS, settings
from benchmarks.evaluation.rows import Row
from benchmarks.evaluation.scene import LOADS, SEEDS, WORKLOADS
from benchmarks.evaluation.tables import NAMES, against, change, of, origin, short
from benchmarks.evaluation.tuning import LINE, best_of
from benchmarks.tables import markdown

#: What the paper reports for its rule against vLLM-v1's balancing and the production rule, at half load: change of the
#: mean in percent (arXiv 2603.15202, abstract of the OSDI version).
PAPER = {
    ("vllm_v1", "ttft_mean"): -92,
    ("vllm_v1", "tpot_mean"): -24,
    ("bailian", "ttft_mean"): -39,
    ("bailian", "tpot_mean"): -51,
}
#: Rules and settings in the place of the paper's two: its own port of vLLM's balancing, and the production rule tuned,
#: as the paper tuned it, drawn by weight or by the greatest score.
RIVALS = (
    ("vllm_v1", "default", "vllm_v1"),
    ("blitz_jsq_weight", "default", "vllm_v1"),
    ("bailian", "default", "bailian"),
    ("bailian", "tuned", "bailian"),
    ("bailian_argmax", "tuned", "bailian"),
)
LATENCIES = ("ttft_mean", "tpot_mean")


def mean(rows: list[Row], metric: str) -> float:
    """Mean over the runs, in the unit of the metric's title."""
    what = METRICS[metric]
    values = values_of(rows, what)
    return what.factor * math.fsum(values) / len(values)


def rival(workload: str, load: str, rule: str, kind: str = "default", *, closed_loop: bool = False) -> list[Row]:
    """The rows of a rival at a setting."""
    more = {"closed_loop": True} if closed_loop else {}
    return of(workload, load, settings(workload, load, rule)[kind], SEEDS, **more)


def compare(workload: str, load: str, rule: str, metric: str, kind: str = "default") -> Compared:
    """The product in place of a rival."""
    return against(of(workload, load, PRODUCT, SEEDS), rival(workload, load, rule, kind), metric)


def headline() -> str:
    """Change of mean TTFT and TPOT with the product in place of each rival, and how much goodput both have."""
    head = ("rival", "setting", "workload", "TTFT mean", "paper", "TPOT mean", "paper", "goodput [%]", "rival's")
    table = []
    for rule, kind, named in RIVALS:
        for workload in WORKLOADS:
            found = [change(compare(workload, "half", rule, metric, kind)) for metric in LATENCIES]
            paper = [f"{PAPER[named, name]}%" for name in LATENCIES]
            both = (of(workload, "half", PRODUCT, SEEDS), rival(workload, "half", rule, kind))
            good = [f"{mean(rows, 'goodput'):.0f}" for rows in both]
            table.append((f"`{rule}`", kind, NAMES[workload], found[0], paper[0], found[1], paper[1], *good))
    return f"{markdown(head, table, left=3)}\n\n{origin()}"


def loads() -> str:
    """The same at every load: what half of the maximum is depends on whose maximum it is."""
    head = ("rival", "workload", *(f"{name}, {part:g}" for name in ("TTFT", "TPOT") for part in LOADS.values()))
    table = []
    for rule in HEADLINE[1:]:
        for workload in WORKLOADS:
            found = (change(compare(workload, load, rule, metric)) for metric in LATENCIES for load in LOADS)
            table.append((f"`{rule}`", NAMES[workload], *found))
    return markdown(head, table, left=2)


def in_both_loops() -> Iterator[tuple[str, str, str, Compared, Compared]]:
    """Rival, workload, metric, and the product against it: in open loop, and with turns that wait for replies."""
    for name in (*HEADLINE[1:], LINE):
        for workload in SESSIONS:
            text = best_of(workload, "half", LINE) if name == LINE else name
            for metric in LATENCIES:
                loops = []
                for more in ({}, {"closed_loop": True}):
                    ours, theirs = (of(workload, "half", rule, SEEDS, **more) for rule in (PRODUCT, text))
                    loops.append(against(ours, theirs, metric))
                yield name, workload, metric, loops[0], loops[1]


def closed_loop() -> str:
    """The headline where turns come when they were recorded, and where they wait for the reply before them."""
    head = ("in place of", "workload", "metric", "as recorded", "turns wait")
    names = {LINE: "tuned line"}
    table = [
        (names.get(rule, f"`{rule}`"), NAMES[workload], short(metric), change(one), change(two))
        for rule, workload, metric, one, two in in_both_loops()
    ]
    return markdown(head, table, left=3)
