"""Tables of all rules: where each stands over all cells, and every number of every cell."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.evaluation.comparing import METRICS, Compared
from benchmarks.evaluation.headline import mean
from benchmarks.evaluation.questions import OWN, PRODUCT, REFERENCES, rivals, settings
from benchmarks.evaluation.rows import Row
from benchmarks.evaluation.scene import LOADS, REQUESTS, SEEDS, TRACE, WINDOW_S, WORKLOADS, limits, rate_of
from benchmarks.evaluation.tables import NAMES, against, cells, change, of, origin, short
from benchmarks.evaluation.tuning import key_of, read_tuned_once
from benchmarks.evaluation.words import counted, percent
from benchmarks.tables import markdown
from replay.sweep_axes import axes_of, goes_on, numbers_of, tunable
from scheduler.policies.catalogue import policy as read_policy

BOTH = "ttft_tpot"
CHANGED = ("ttft_mean", "ttft_p99", "tpot_mean", "tpot_p99", "e2e_mean")
SHOWN = ("ttft_mean", "ttft_p99", "tpot_mean", "tpot_p99", "hit_fraction", "goodput", "imbalance_p50")
#: Means over the cells that differ by less are equal.
EQUAL = 0.01


def published() -> tuple[str, ...]:
    """The rules of other projects and papers: all but the product, its relatives and the plain references."""
    return tuple(rule for rule in rivals() if rule not in {PRODUCT, *OWN, *REFERENCES})


def best_known(workload: str, load: str, rule: str, kind: str) -> str:
    """The setting of a rule in a cell: tuned if asked for and if it has knobs, else its default."""
    found = settings(workload, load, rule)
    return found.get(kind, found["default"])


@functools.cache
def everywhere(rule: str, kind: str, metric: str = BOTH) -> tuple[Compared, ...]:
    """A rule against the product, one comparison a cell."""
    return tuple(
        against(of(*cell, best_known(*cell, rule, kind), SEEDS), of(*cell, PRODUCT, SEEDS), metric) for cell in cells()
    )


def overall(found: Iterable[Compared]) -> float:
    """The geometric mean of ratios."""
    logs = [math.log(one.ratio) for one in found]
    return math.exp(math.fsum(logs) / len(logs))


def summary() -> str:
    """Every rule over all cells against the product: by default, and tuned for each cell, in several metrics."""
    tuned = [f"tuned: {short(metric)}" for metric in CHANGED]
    head = ("rule", "default: TTFT and TPOT", "tuned: TTFT and TPOT", "better, equal, worse", *tuned)
    table = []
    for rule in sorted(rivals(), key=lambda rule: overall(everywhere(rule, "tuned"))):
        if rule != PRODUCT:
            default, best = (everywhere(rule, kind) for kind in ("default", "tuned"))
            each = [percent(overall(everywhere(rule, "tuned", metric))) for metric in CHANGED]
            verdicts = ", ".join(map(str, counted(best)))
            table.append((_marked(rule), percent(overall(default)), percent(overall(best)), verdicts, *each))
        else:
            table.append((_marked(rule), "0", "0", "", *("0" for _ in CHANGED)))
    return f"{markdown(head, table)}\n\n{origin()}"


def _marked(rule: str) -> str:
    return f"**`{rule}`**" if rule == PRODUCT else f"`{rule}` (ours)" if rule in OWN else f"`{rule}`"


def everyone(workload: str, load: str) -> str:
    """Every rule at its defaults and tuned on one workload at one load: change against the product, and means."""
    changed = CHANGED[:4]
    head = ("rule", "setting", *map(short, changed), *(METRICS[name].title for name in SHOWN))
    product = of(workload, load, PRODUCT, SEEDS)
    found = []
    for rule in rivals():
        for kind, policy in settings(workload, load, rule).items():
            if not kind.startswith("tuned for"):
                rows = of(workload, load, policy, SEEDS)
                found.append((against(rows, product, BOTH).ratio, rule, kind, policy.partition(":")[2], rows))
    found.sort(key=lambda row: row[0])
    table = [(_marked(rule), _setting(kind, text), *_cells(rows, product)) for _, rule, kind, text, rows in found]
    return markdown(head, table, left=2)


def _setting(kind: str, text: str) -> str:
    return "default" if kind == "default" else f"tuned: {text or 'as by default'}"


def _cells(rows: list[Row], product: list[Row]) -> Sequence[str]:
    changes = [change(against(rows, product, metric)) if rows != product else "" for metric in CHANGED[:4]]
    return (*changes, *(f"{mean(rows, name):.3g}" for name in SHOWN))


def edges() -> str:
    """Of each knob: in how many cells the best setting lies at an end of what was tried, and may improve past it."""
    found: dict[tuple[str, str, str], list[float]] = {}
    for rule in tunable():
        for cell in cells():
            tuned = read_tuned_once()[key_of(*cell, rule)]
            for knob in tuned["open_ends"]:
                tried = numbers_of([_knob(setting, knob) for setting in tuned["points"]])
                end = "least" if _knob(tuned["best"][BOTH], knob) == min(tried) else "greatest"
                found.setdefault((rule, knob, end), []).append(min(tried) if end == "least" else max(tried))
    table = [
        (f"`{rule}`", knob, f"{end} tried: {', '.join(f'{value:g}' for value in values)}", len(values))
        for (rule, knob, end), values in found.items()
    ]
    return markdown(("rule", "knob", "best is the", f"of {len(list(cells()))} cells"), table, left=3)


def went_past(rule: str, cell: Mapping[str, Any], key: str = "points") -> bool:
    """Whether a value beyond the published sweep was tried; or, with ``best``, was the best one."""
    settings_of = cell["points"] if key == "points" else [cell["best"][BOTH]]
    swept = {name: axis for name, axis in axes_of(rule).items() if goes_on(axis)}
    return any(_knob(setting, name) not in axis for setting in settings_of for name, axis in swept.items())


def past_ends() -> str:
    """In how many cells a published sweep was best at an end, so that more was tried, and in how many that helped."""
    all_cells = [(rule, read_tuned_once()[key_of(*cell, rule)]) for rule in tunable() for cell in cells()]
    tried = sum(went_past(rule, cell) for rule, cell in all_cells)
    better = sum(went_past(rule, cell, "best") for rule, cell in all_cells)
    return (
        f"In {tried} of {len(all_cells)} cells the best value of a published sweep lay at an end of it and more was "
        f"tried; in {better} of them the best setting lies beyond."
    )


def _knob(setting: str, knob: str) -> Any:
    return read_policy(setting).values[knob]


def scene() -> str:
    """The workloads: the product's limit with its spread, those of others, and how long a run is at each load."""
    rules = (PRODUCT, *OWN)
    lengths = [f"run at {part:g} [min]" for part in LOADS.values()]
    head = ("workload", *(f"limit of `{rule}`" for rule in rules), *lengths)
    table = []
    for workload in WORKLOADS:
        found = [limits()[workload].get(rule, []) for rule in rules]
        spans = [f"{min(each):.3g} to {max(each):.3g}" if each else "none" for each in found]
        table.append((NAMES[workload], *spans, *(f"{_minutes(workload, load):.0f}" for load in LOADS)))
    return markdown(head, table)


def _minutes(workload: str, load: str) -> float:
    rate = rate_of(workload, load)
    return (WINDOW_S / rate if workload == TRACE else REQUESTS / rate) / 60
