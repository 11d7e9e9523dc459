"""Tables of hard situations: hot spots and bursts with mitigations, a router that sees less, later, or not alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.evaluation.comparing import METRICS, Compared, values_of
from benchmarks.evaluation.questions import (
    HOT_RULES,
    HOT_SEEDS,
    MITIGATIONS,
    PRODUCT,
    SEEING,
    STALE_RULES,
    STALE_WORKLOADS,
    VIEWS,
    hot_case,
)
from benchmarks.evaluation.rows import Row
from benchmarks.evaluation.scene import SEEDS, WORKLOADS
from benchmarks.evaluation.tables import NAMES, against, change, of, origin, rows, short
from benchmarks.evaluation.tuning import LINE, best_of
from benchmarks.mitigation import hot_sources
from benchmarks.tables import markdown

METRICS_SHOWN = ("ttft_mean", "ttft_p99", "tpot_mean", "tpot_p99")


def hot(source: str, policy: str = PRODUCT, mitigation: str = "none") -> list[Row]:
    """The rows of a rule on a hot workload."""
    return rows().get(hot_case(source, policy, seed, mitigation) for seed in HOT_SEEDS)


def hot_settings() -> Iterator[tuple[str, str]]:
    """Rules and mitigations that are compared on hot workloads."""
    for mitigation in MITIGATIONS:
        yield PRODUCT, mitigation
    for rule in HOT_RULES:
        yield rule, "none"


def hot_change(source: str, policy: str, mitigation: str, metric: str) -> Compared:
    """A rule, or the product with a mitigation, against the bare product on a hot workload."""
    return against(hot(source, policy, mitigation), hot(source), metric)


def imbalance_ratio(source: str) -> float:
    """How much less even the bare product keeps batches than join-shortest-queue: ratio of median max/mean batch."""
    metric = METRICS["imbalance_p50"]
    ours, theirs = (values_of(hot(source, rule), metric) for rule in (PRODUCT, "join_shortest_queue"))
    return (sum(ours) / len(ours)) / (sum(theirs) / len(theirs))


def hot_spots(metric: str) -> str:
    """Each hot workload: what mitigations and other rules do to a metric, against the bare product."""
    names = list(hot_sources())
    head = ("rule", "mitigation", *names)
    table: list[Sequence[str]] = [
        ("imbalance of product", "times JSQ's", *(f"{imbalance_ratio(n):.1f}" for n in names))
    ]
    for policy, mitigation in hot_settings():
        if (policy, mitigation) != (PRODUCT, "none"):
            found = (change(hot_change(name, policy, mitigation, metric)) for name in names)
            table.append((f"`{policy}`", mitigation, *found))
    return f"*{short(metric)}*\n\n{markdown(head, table, left=2)}\n\n{origin()}"


def seen(workload: str, policy: str, view: Mapping[str, Any]) -> list[Row]:
    """The rows of a rule that sees the cluster in some way."""
    return of(workload, "near", policy, SEEDS, **view)


def partial_state(metric: str = "ttft_tpot") -> str:
    """Rules that see more, less or later, alone or with others, against the product as a proxy sees the cluster."""
    head = ("workload", "rule", *VIEWS)
    table = []
    for workload in STALE_WORKLOADS:
        base = seen(workload, PRODUCT, {})
        for rule in STALE_RULES:
            found = (change(against(seen(workload, rule, view), base, metric)) for view in VIEWS.values())
            table.append((NAMES[workload], f"`{rule}`", *found))
    return f"{markdown(head, table, left=2)}\n\n{origin()}"


def told_more() -> str:
    """Rules that read what a proxy does not know well, told of every step: against themselves, against the product."""
    head = ("rule", "against", *(NAMES[workload] for workload in WORKLOADS))
    table = []
    for rule in (PRODUCT, *SEEING, LINE):
        texts = [best_of(workload, "near", LINE) if rule == LINE else rule for workload in WORKLOADS]
        name = "tuned line" if rule == LINE else f"`{rule}`"
        rows = [every_step(workload, text) for workload, text in zip(WORKLOADS, texts, strict=True)]
        itself = [of(workload, "near", text, SEEDS) for workload, text in zip(WORKLOADS, texts, strict=True)]
        table.append((name, "itself at the proxy", *map(_changed, rows, itself)))
        if rule != PRODUCT:
            product = [every_step(workload, PRODUCT) for workload in WORKLOADS]
            table.append((name, "the product told as much", *map(_changed, rows, product)))
    return f"{markdown(head, table, left=2)}\n\n{origin()}"


def every_step(workload: str, policy: str) -> list[Row]:
    """The rows of a rule that is told of every step of the engines."""
    return of(workload, "near", policy, SEEDS, level="per_step")


def _changed(ours: Sequence[Row], theirs: Sequence[Row]) -> str:
    return change(against(ours, theirs, "ttft_tpot"))
