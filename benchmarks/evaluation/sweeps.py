"""Tables of what was swept: weights of the line, thresholds of filters, errors of a cost model, indicators.

The best of a sweep is chosen on the seeds that it is shown on: that favours the line, whose 32 settings each
get a chance, against the product, which has one. The tables of :mod:`benchmarks.evaluation.tables` are the fair ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from benchmarks.evaluation.comparing import MATERIAL, METRICS, Compared, values_of
from benchmarks.evaluation.questions import (
    FILTERS,
    INDICATORS,
    PRODUCT,
    WRONG,
    line_settings,
    threshold_settings,
)
from benchmarks.evaluation.rows import Row
from benchmarks.evaluation.scene import LOADS, SEEDS, TRACE, WORKLOADS
from benchmarks.evaluation.tables import LOAD_NAMES, NAMES, against, change, of, origin, short
from benchmarks.evaluation.tuning import LINE
from benchmarks.tables import markdown

BOTH = "ttft_tpot"
FORMS = ("hit_ratio", "p_token")
SWEPT_LOADS = ("half", "near")
#: The static weights that are told of the paper, with what they were best for (docs/sources.md).
STATIC: Mapping[str, float] = MappingProxyType({"chat": 0.7, "API calls": 0.55})


def score(chosen: Sequence[Row]) -> float:
    """What settings are compared by: geometric mean over the seeds, of mean TTFT and mean TPOT [s]."""
    values = values_of(chosen, METRICS[BOTH])
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def line_at(weight: float, form: str) -> str:
    """The line at a weight, as the sweep calls it.

    Example:
        >>> line_at(0.7, "hit_ratio") in line_settings()
        True
    """
    return f"{LINE}:weight={weight},form={form}"


def form_of(setting: str) -> str:
    """The form of the line in a setting."""
    return setting.rpartition("form=")[2]


def weight_of(setting: str) -> float:
    """The weight of the line in a setting."""
    return float(setting.partition("weight=")[2].partition(",")[0])


def curve(workload: str, load: str, form: str) -> list[tuple[float, float]]:
    """Weight, and the mean of TTFT and TPOT of the line at that weight over that of the product."""
    product = score(of(workload, load, PRODUCT, SEEDS))
    settings = [text for text in line_settings() if form_of(text) == form]
    return [(weight_of(text), score(of(workload, load, text, SEEDS)) / product) for text in settings]


def best_setting(workload: str, load: str, seeds: Sequence[int] = SEEDS, form: str | None = None) -> str:
    """The setting of the line with the least mean of TTFT and TPOT on these seeds."""
    settings = [text for text in line_settings() if form in {None, form_of(text)}]
    return min(settings, key=lambda text: score(of(workload, load, text, seeds)))


def swept() -> Iterator[tuple[str, str]]:
    """Workloads and loads of the sweep of weights."""
    for workload in WORKLOADS:
        for load in SWEPT_LOADS:
            yield workload, load


def regret(workload: str, load: str, setting: str, best: str, seeds: Sequence[int] = SEEDS) -> Compared:
    """A setting or rule against the best of the sweep."""
    return against(of(workload, load, setting, seeds), of(workload, load, best, seeds), BOTH)


def near_best(workload: str, load: str, form: str) -> list[float]:
    """The weights of a form that are within 1% of its best: which one of them is best is chance."""
    best = score(of(workload, load, best_setting(workload, load, form=form), SEEDS))
    return [
        weight_of(text)
        for text in line_settings()
        if form_of(text) == form and score(of(workload, load, text, SEEDS)) <= (1 + MATERIAL) * best
    ]


def weights() -> str:
    """Weights within 1% of the best of each form, and what others lose: forms, static weights, the product."""
    told = [f"static {weight}" for weight in STATIC.values()]
    head = ("workload", "load", "good weights, hit ratio", "P-token", *told, "best hit ratio", "product")
    table = []
    for workload, load in swept():
        spans = [near_best(workload, load, form) for form in FORMS]
        best, best_hit = best_setting(workload, load), best_setting(workload, load, form="hit_ratio")
        static = (line_at(weight, "hit_ratio") for weight in STATIC.values())
        lost = [change(regret(workload, load, other, best_hit)) for other in static]
        lost += [change(regret(workload, load, other, best)) for other in (best_hit, PRODUCT)]
        table.append((NAMES[workload], LOAD_NAMES[load], *map(_span, spans), *lost))
    return f"{markdown(head, table, left=2)}\n\n{origin()}"


def _span(weights: Sequence[float]) -> str:
    return f"{weights[0]:g}" if len(weights) == 1 else f"{weights[0]:g} to {weights[-1]:g}"


def one_weight() -> list[tuple[str, float, tuple[str, str]]]:
    """Of every setting, and the product: by how much it is worse than the best of the sweep where that is most."""
    best = {cell: score(of(*cell, best_setting(*cell), SEEDS)) for cell in swept()}
    found = []
    for text in (PRODUCT, *line_settings()):
        worst, cell = max((score(of(*cell, text, SEEDS)) / best[cell], cell) for cell in best)
        found.append((text, worst, cell))
    return sorted(found, key=lambda row: row[1])


def one_weight_table() -> str:
    """The product and the five settings that are least bad where they are worst, and the static ones."""
    found = one_weight()
    static = [line_at(weight, "hit_ratio") for weight in STATIC.values()]
    shown = [row for place, row in enumerate(found) if place < 6 or row[0] in {PRODUCT, *static}]
    head = ("one setting for everything", "worst cell", "against the best there")
    table = [
        (f"`{text}`", f"{NAMES[cell[0]]}, {LOAD_NAMES[cell[1]]}", f"{100 * (worst - 1):+.0f}%")
        for text, worst, cell in shown
    ]
    return markdown(head, table, left=2)


def drift(workload: str, load: str) -> list[float]:
    """By how much the best setting over all seeds is worse than the best of each seed; of the trace, of each window.

    The seeds of a generated workload are alike, so there it is what choosing on one run promises too much.
    """
    overall = best_setting(workload, load)
    return [
        score(of(workload, load, overall, (seed,)))
        / score(of(workload, load, best_setting(workload, load, (seed,)), (seed,)))
        for seed in SEEDS
    ]


def over_time() -> str:
    """What one setting for all windows of the trace loses in each; of workloads that do not change, in each seed."""
    head = ("workload", "load", "best of all five", "loss in each of them [%]")
    table = []
    for workload, load in swept():
        best = best_setting(workload, load)
        lost = ", ".join(f"{100 * (ratio - 1):.1f}" for ratio in drift(workload, load))
        name = f"**{NAMES[workload]}**" if workload == TRACE else NAMES[workload]
        table.append((name, LOAD_NAMES[load], f"{weight_of(best):g}, {form_of(best)}", lost))
    return markdown(head, table, left=3)


def ranked_thresholds(rule: str, workload: str) -> list[str]:
    """The threshold settings of a rule near saturation, the best first."""
    return sorted(threshold_settings(rule), key=lambda text: score(of(workload, "near", text, SEEDS)))


def thresholds() -> str:
    """Of each rule that filters: its best threshold on each workload, and what its default and the product do."""
    head = ("rule", "threshold", "workload", "best", "worst of the sweep", "product")
    table = []
    for rule, knob in FILTERS.items():
        for workload in WORKLOADS:
            ranked = ranked_thresholds(rule, workload)
            best, worst = ranked[0], ranked[-1]
            lost = [change(regret(workload, "near", other, best)) for other in (worst, PRODUCT)]
            value, bad = (text.rpartition("=")[2] for text in (best, worst))
            table.append((f"`{rule}`", knob, NAMES[workload], value, f"{bad}: {lost[0]}", lost[1]))
    return f"{markdown(head, table, left=3)}\n\n{origin()}"


def cost_model_setting(prefill: float, decode: float) -> str:
    """The rule that simulates, with its cost model wrong by these factors."""
    return f"simulated_ttft:prefill_scale={prefill},decode_scale={decode}"


def cost_models() -> str:
    """A rule that asks a cost model: what it loses by errors of the model, and how it stands against the product."""
    head = ("prefill x", "decode x", *(NAMES[workload] for workload in WORKLOADS))
    right = cost_model_setting(1.0, 1.0)
    table = []
    for prefill, decode in WRONG:
        wrong = cost_model_setting(prefill, decode)
        if wrong != right:
            lost = (change(regret(workload, "near", wrong, right)) for workload in WORKLOADS)
            table.append((f"{prefill:g}", f"{decode:g}", *lost))
    for metric in ("ttft_mean", "tpot_mean"):
        found = (of(workload, "near", right, SEEDS) for workload in WORKLOADS)
        lost = (
            change(against(rows, of(workload, "near", PRODUCT, SEEDS), metric))
            for rows, workload in zip(found, WORKLOADS, strict=True)
        )
        table.append(("right, against the product", short(metric), *lost))
    return f"{markdown(head, table, left=2)}\n\n{origin()}"


def indicators(load: str) -> str:
    """Variants of the product, and its factors alone, against the product: mean TTFT, mean TPOT."""
    head = ("rule", "metric", *(NAMES[workload] for workload in WORKLOADS))
    table = []
    for rule in INDICATORS:
        if rule == PRODUCT:
            continue
        for metric in ("ttft_mean", "tpot_mean"):
            found = (
                change(against(of(workload, load, rule, SEEDS), of(workload, load, PRODUCT, SEEDS), metric))
                for workload in WORKLOADS
            )
            table.append((f"`{rule}`", short(metric), *found))
    return f"{markdown(head, table, left=2)}\n\n*At {LOADS[load]:g} of the maximum.* {origin()}"
