"""What hard situations do, in sentences: hot spots, partial and stale state, several routers."""

from __future__ import annotations

from benchmarks.evaluation.questions import PRODUCT, SEEING, STALE_RULES, STALE_WORKLOADS, VIEWS
from benchmarks.evaluation.scene import WORKLOADS
from benchmarks.evaluation.situations import every_step, hot, hot_change, seen
from benchmarks.evaluation.sweeps import BOTH
from benchmarks.evaluation.tables import against, short
from benchmarks.evaluation.tuning import SINGLE
from benchmarks.evaluation.words import between, told
from benchmarks.mitigation import hot_sources


def hot_spots() -> str:
    """What mitigation does on hot spots."""
    parts = []
    for metric in SINGLE:
        found = [hot_change(source, PRODUCT, "auto", metric) for source in hot_sources()]
        parts.append(f"{short(metric)} by {between(found)} ({told(found)})")
    others = []
    for rule in ("join_shortest_queue", "marginal_delay_offset"):
        pairs = ((hot(source, PRODUCT, "auto"), hot(source, rule)) for source in hot_sources())
        others.append(f"{told(against(*pair, 'ttft_tpot') for pair in pairs)} against {rule}")
    return (
        f"In simulation, on eight hot workloads, mitigation auto changes the product's {', '.join(parts)}; so "
        f"mitigated it has, in the geometric mean of TTFT and TPOT, {' and '.join(others)}."
    )


def partial_state() -> str:
    """What stale state and other routers cost the product."""

    def own(view: str, fresh: str) -> str:
        return between(
            against(seen(w, PRODUCT, VIEWS[view]), seen(w, PRODUCT, VIEWS[fresh]), BOTH) for w in STALE_WORKLOADS
        )

    parts = []
    for rule in STALE_RULES[1:]:
        found = (
            against(seen(w, PRODUCT, view), seen(w, rule, view), BOTH)
            for view in VIEWS.values()
            for w in STALE_WORKLOADS
        )
        parts.append(f"{told(found)} against {rule}")
    return (
        "In simulation, at 0.9 of the product's limit, on three workloads, the product's geometric mean of TTFT and "
        f"TPOT changes by {own('every step', 'proxy')} if it is told of every step at once, from there by "
        f"{own('1 s late', 'every step')} if a second late, and by {own('8 routers', 'proxy')} if it is one of 8 "
        f"routers. In the same view it has {', '.join(parts)}."
    )


def told_more() -> str:
    """Whether rules that read more profit from being told more."""
    rows = {rule: [every_step(w, rule) for w in WORKLOADS] for rule in (PRODUCT, *SEEING)}
    parts = []
    for rule in SEEING:
        if rule != "lmetric_tokens":
            pairs = zip(rows[PRODUCT], rows[rule], strict=True)
            parts.append(f"{told(against(*pair, BOTH) for pair in pairs)} against {rule}")
    return (
        "In simulation, at 0.9 of the product's limit, on five workloads, if all are told of every step, the product "
        f"has, in the geometric mean of TTFT and TPOT, {', '.join(parts)}."
    )
