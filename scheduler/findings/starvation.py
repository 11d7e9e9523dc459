"""``cold_instance_starvation``: an idle instance without any cache is passed over for warm ones that are all busy.

A product rule sends nothing of a class to a fresh instance until every warm one has as many residents as the leverage
of its hit (claim ``cold_instance_starvation``), so it may idle for long. In itself an info: the hit may be worth it. A
warning if the choice adds ``harm_allowed`` times the delay that the cold instance would, decode counted if known.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from scheduler import formulas
from scheduler.finding import Finding, Kind, Severity
from scheduler.findings.scene import Scene, counted, finding, listed
from scheduler.ops import SCALAR
from scheduler.screening import FULL_PRODUCTS, indices_where


def starvation(scene: Scene) -> Iterator[Finding]:
    """Idle instances passed over; asked of a product rule that takes a busy instance while another is idle."""
    told, columns = scene.seen()
    hits, chosen = scene.view.hit_tokens, told.chosen
    if not hits[chosen]:
        return
    idle = indices_where(columns.batches, 1)
    cold = [index for index in idle if not hits[index]]
    if len(cold) < len(idle):
        return  # a warm instance is idle too, so not all warm ones are busy
    best = min(cold, key=scene.tokens)
    kappa = scene.kappa or 0
    ratio = scene.harm(chosen, kappa) / scene.harm(best, kappa)
    leverage = Fraction(formulas.leverage(Fraction(scene.tokens(best)), scene.tokens(chosen)))
    needed, until = None, f"{scene.policy.rule.name} prefers it to {scene.view.ids[chosen]}"
    if scene.policy.rule.name in FULL_PRODUCTS and told.key > 0:
        needed = int(formulas.residents_to_share(SCALAR, leverage, cold_is_first=best < chosen))
        until = f"{scene.view.ids[chosen]} has {counted(needed, 'resident')}"
    names, taken = scene.names(cold), scene.view.ids[chosen]
    yield finding(
        Kind.COLD_INSTANCE_STARVATION,
        Severity.WARNING if ratio > scene.config.harm_allowed else Severity.INFO,
        names,
        f"{listed(names)} {'idles' if len(names) == 1 else 'idle'} without cache while {taken} with "
        f"{counted(told.batch - 1, 'resident')} is taken; nothing of this class goes to {names[0]} until {until}, and "
        "likewise every other warm instance.",
        f"Send {names[0]} a fair share to warm it, or copy the prefix to it.",
        "cold_instance_starvation",
        leverage=float(leverage),
        residents=told.batch - 1,
        residents_needed=needed,
        cold_instances=len(cold),
        delay_ratio=ratio,
    )
