"""PolyServe's load gradient: the fullest instance that still keeps its promises.

Among the instances whose predicted time to first token and first decode step are within the service objective, the one
with the greatest predicted time per output token; if none keeps it, any instance, uniformly. The load collects on few
instances, the others stay free for what comes next or can be switched off.

``form=polyserve2`` is the authors' second port (there with objectives of 5 s and 40 ms, so
``polyserve:form=polyserve2,ttft_slo_s=5,tpot_slo_s=0.04``): it passes over the instances of the last three choices if
there is any other, and if none keeps the objective, it takes the least predicted time per output token.

Choices: predictions are those of :mod:`scheduler.policies.simulated_ttft`, with its choices. The predicted time per
output token is that of the first decode step, in both forms: the second port takes the greatest average over the
requests of an instance, which a state does not tell apart. At exactly the objective the promise is kept. Among equals
the lowest index, as ``first wins`` there; for the draw one uniform number is taken at each decision, needed or not.
Bins of objectives, which the paper has before this step, are left out: there is one objective here.

Memory: the last three choices, in the second form only.

Source: PolyServe, arXiv 2507.17769, and its two ports in blitz-router (docs/sources.md#polyserve).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from scheduler.domains import Domain
from scheduler.indicators import Indicators
from scheduler.ops import Number, Ops, Over
from scheduler.policies.rule import Aggregates, Knob, Knobs, Memory, Rule
from scheduler.policies.simulated_ttft import MODEL_KNOBS, MODEL_NEEDS, predicted
from scheduler.state import Request

#: How many of the last choices the second form passes over.
_PASSED_OVER = 3


def _recall(
    chosen: tuple[int, ...], _: Request, view: Any, knobs: Knobs, rng: random.Random
) -> Mapping[str, Sequence[Number]]:
    count = len(view.running)
    recent, drawn = [0] * count, [0] * count
    if knobs.form == "polyserve":
        drawn[int(rng.random() * count)] = 1
    elif len(set(chosen)) < count:
        for index in chosen:
            recent[index] = 1
    return {"recent": recent, "drawn": drawn}


def _remember(chosen: tuple[int, ...], _: Request, __: Any, index: int, knobs: Knobs) -> tuple[int, ...]:
    return (*chosen, index)[-_PASSED_OVER:] if knobs.form == "polyserve2" else ()


_FLAG = Domain(0, 1, integer=True, typical_high=1)
#: Columns ``recent``: 1 for those passed over; ``drawn``: 1 for the one that a uniform draw took.
LAST_CHOICES = Memory(
    columns={"recent": _FLAG, "drawn": _FLAG},
    start=lambda _count, _knobs: (),
    recall=_recall,
    remember=_remember,
)


def _keeps_objective(ops: Ops, x: Indicators, knobs: Knobs) -> Number:
    told = predicted(ops, x, knobs)
    return ops.and_(told.ttft_s <= knobs.ttft_slo_s, told.decode_s <= knobs.tpot_slo_s)


def any_keeps_objective(ops: Ops, over: Over, knobs: Knobs) -> Aggregates:
    """Whether some instance that is not passed over keeps the objective."""
    if knobs.form == "polyserve":
        return over.count(lambda x: _keeps_objective(ops, x, knobs)) > 0
    return over.count(lambda x: ops.and_(ops.eq(x.recalled["recent"], 0), _keeps_objective(ops, x, knobs))) > 0


def keeps_objective_or_none_does(ops: Ops, x: Indicators, found: Aggregates, knobs: Knobs) -> Number:
    """Those not passed over that keep the objective; if there are none, the one drawn, or all not passed over."""
    if knobs.form == "polyserve":
        return ops.or_(
            ops.and_(found, _keeps_objective(ops, x, knobs)), ops.and_(ops.not_(found), x.recalled["drawn"] > 0)
        )
    spared = ops.eq(x.recalled["recent"], 0)
    return ops.and_(spared, ops.or_(ops.not_(found), _keeps_objective(ops, x, knobs)))


def fullest(ops: Ops, x: Indicators, _: Aggregates, knobs: Knobs) -> Number:
    """Predicted time per output token, greatest first; in the second form least first if none keeps the objective [s].

    Whoever does not keep it is eligible only where none does, so its own sign decides only then.
    """
    tpot_s = predicted(ops, x, knobs).decode_s
    return -tpot_s if knobs.form == "polyserve" else ops.where(_keeps_objective(ops, x, knobs), -1, 1) * tpot_s


def _slo(name: str, default: float, meaning: str, typical_high: float, sweep: tuple[float, ...]) -> Knob:
    return Knob(name, default, meaning, Domain(0, None, unit="s", typical_high=typical_high), sweep=sweep)


POLYSERVE = Rule(
    "polyserve",
    "fullest instance that keeps the service objective",
    "PolyServe, arXiv 2507.17769; docs/sources.md#polyserve",
    fullest,
    any_keeps_objective,
    keeps_objective_or_none_does,
    knobs=(
        _slo("ttft_slo_s", 1.0, "longest predicted time to first token", 10, (0.5, 1.0, 2.0, 5.0)),
        _slo("tpot_slo_s", 0.2, "longest predicted first decode step", 0.5, (0.04, 0.1, 0.2)),
        Knob("form", "polyserve", "which port", choices=("polyserve", "polyserve2"), sweep=("polyserve", "polyserve2")),
        *MODEL_KNOBS,
    ),
    needs=MODEL_NEEDS,
    memory=LAST_CHOICES,
)

RULES = (POLYSERVE,)
