"""What the sweeps found, in sentences: weights, thresholds, cost models, indicators."""

from __future__ import annotations

import statistics
from collections import Counter

from benchmarks.evaluation.comparing import Compared
from benchmarks.evaluation.headline import LATENCIES
from benchmarks.evaluation.questions import FILTERS, PRODUCT, WRONG, threshold_settings
from benchmarks.evaluation.scene import SEEDS, TRACE, WORKLOADS
from benchmarks.evaluation.sweeps import (
    BOTH,
    FORMS,
    STATIC,
    SWEPT_LOADS,
    best_setting,
    cost_model_setting,
    drift,
    line_at,
    near_best,
    one_weight,
    ranked_thresholds,
    regret,
    swept,
)  # fmt: skip
from benchmarks.evaluation.tables import against, of, short
from benchmarks.evaluation.words import between, percent, told


def best_weight() -> str:
    """How the best weight moves, and what one for everything costs."""
    parts = []
    for form in FORMS:
        found = Counter(weight for cell in swept() for weight in near_best(*cell, form))
        weight, times = found.most_common(1)[0]
        parts.append(f"the {form} form has none for more than {times} of 10 cells ({weight:g})")
    table = one_weight()
    one, worst = next((text, ratio) for text, ratio, _ in table if text != PRODUCT)
    own = next(ratio for text, ratio, _ in table if text == PRODUCT)
    return (
        "In simulation, on five workloads at two loads, of the weights of the line that are within 1% of its best in "
        f"the geometric mean of TTFT and TPOT {', '.join(parts)}. The one setting that is least bad everywhere "
        f"({one.partition(':')[2]}) is up to {percent(worst)} off the best of a cell, the product up to "
        f"{percent(own)}."
    )


def static_weights() -> str:
    """What the static weights lose."""
    parts = []
    for weight in STATIC.values():
        setting = line_at(weight, "hit_ratio")
        found = [regret(*cell, setting, best_setting(*cell, form="hit_ratio")) for cell in swept()]
        parts.append(f"{weight:g} loses {between(found)}")
    form = [regret(*cell, best_setting(*cell, form="hit_ratio"), best_setting(*cell)) for cell in swept()]
    return (
        "In simulation, in the geometric mean of TTFT and TPOT, against the best weight of the hit-ratio form a "
        f"static {', a static '.join(parts)}; that best loses {between(form)} against the better of the two forms."
    )


def over_time() -> str:
    """Whether the best weight of the trace moves over its hour by more than chance."""

    def lost(trace: bool) -> str:
        found = [r for w, load in swept() if (w == TRACE) is trace for r in drift(w, load)]
        return f"{100 * (statistics.mean(found) - 1):.1f}% in the mean and {100 * (max(found) - 1):.1f}% at most"

    return (
        "In simulation, on the real trace, the line's best setting of the hour loses against the best setting of "
        f"each of its five windows {lost(True)}, at two loads; the same between draws of workloads that do not "
        f"change: {lost(False)}."
    )


def thresholds() -> str:
    """What one threshold for all workloads costs."""
    parts = []
    ahead: list[Compared] = []
    for rule in FILTERS:
        best = {workload: ranked_thresholds(rule, workload)[0] for workload in WORKLOADS}
        worst = {
            text: max(regret(workload, "near", text, best[workload]).ratio for workload in WORKLOADS)
            for text in threshold_settings(rule)
        }
        one = min(worst, key=lambda text: worst[text])
        parts.append(
            f"{rule} {percent(worst[one])} ({one.partition(':')[2]}), at the worst one {percent(max(worst.values()))}"
        )
        for workload in WORKLOADS:
            ours = of(workload, "near", best[workload], SEEDS)
            ahead.append(against(of(workload, "near", PRODUCT, SEEDS), ours, BOTH))
    return (
        "In simulation, at 0.9 of the product's limit, the threshold that is least bad on all five workloads loses, "
        "against the best threshold of a workload, in the geometric mean of TTFT and TPOT, up to: "
        f"{'; '.join(parts)}. Against each rule at the best threshold of each workload the product has {told(ahead)}."
    )


def cost_models() -> str:
    """What an error of the cost model costs."""
    right = cost_model_setting(1.0, 1.0)
    wrong = [
        regret(workload, "near", cost_model_setting(*factors), right) for factors in WRONG[1:] for workload in WORKLOADS
    ]
    parts = []
    for metric in LATENCIES:
        found = [against(of(w, "near", PRODUCT, SEEDS), of(w, "near", right, SEEDS), metric) for w in WORKLOADS]
        parts.append(f"{told(found)} in {short(metric)} ({between(found)})")
    return (
        "In simulation, at 0.9 of the product's limit, a rule that predicts TTFT with a cost model off by a factor "
        f"of 2 or 4 changes in the geometric mean of TTFT and TPOT by {between(wrong)} against the right model. "
        f"Against the right model the product has {' and '.join(parts)}."
    )


def indicators() -> str:
    """What other indicators do to the product."""
    parts = []
    for rule in ("lmetric_tokens", "lmetric_no_queue", "least_p_token", "join_shortest_queue"):
        found = [
            against(of(workload, load, PRODUCT, SEEDS), of(workload, load, rule, SEEDS), BOTH)
            for workload in WORKLOADS
            for load in SWEPT_LOADS
        ]
        parts.append(f"{rule} {told(found)} ({between(found)})")
    return (
        "In simulation, on five workloads at two loads, in the geometric mean of TTFT and TPOT, the product has "
        f"against: {'; '.join(parts)}."
    )
