"""``zero_collapse`` and ``idle_collapse``: a score of 0 that ignores the batch, or the cache.

``zero_collapse``: a product without floor scores 0 where the whole prompt is cached and nothing is queued, whatever
runs there (claim ``zero_collapse``). ``idle_collapse``: a product that does not count the request itself scores 0 on
every idle instance, whatever is cached there (claim ``idle_collapse``). Either is found if the product with floor and
with the request counted takes another instance: a warning, critical from ``harm_allowed`` times its least score on.
Rules whose score cannot be 0 are never found.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from scheduler.finding import Finding, Kind, Severity
from scheduler.findings.scene import Scene, finding, listed
from scheduler.policies.product import LMETRIC_NO_SELF


class _Words(NamedTuple):
    kind: Kind
    why: str
    advice: str


_WITHOUT_SELF = _Words(
    Kind.IDLE_COLLAPSE,
    "the request itself is not counted, so where nothing runs the cache does not matter",
    "Count the request itself in the batch size.",
)
_WITHOUT_FLOOR = _Words(
    Kind.ZERO_COLLAPSE,
    "new tokens have no floor, so where the whole prompt is cached the batch does not matter",
    "Let every request count at least one new token.",
)


def collapses(scene: Scene) -> Iterator[Finding]:
    """The collapse that the choice rests on; to be asked only of a product rule whose least score is 0."""
    chosen = scene.seen()[0].chosen
    products = [scene.product(index) for index in range(len(scene.view.ids))]
    best = scene.least_of(products)
    zeros = [index for index, key in enumerate(scene.keys) if key == 0]
    regret = products[chosen] / products[best]
    tied_apart = any(products[index] != products[chosen] for index in zeros)
    if regret <= 1 and not tied_apart:
        return
    worst = max(products[index] for index in zeros) / products[best]
    words = _WITHOUT_SELF if scene.policy.rule is LMETRIC_NO_SELF else _WITHOUT_FLOOR
    names = scene.names(zeros)
    yield finding(
        words.kind,
        Severity.CRITICAL if worst > scene.config.harm_allowed else Severity.WARNING,
        names,
        f"{scene.policy.rule.name} scores {listed(names)} 0 because {words.why}; with floor and request counted "
        f"{scene.view.ids[best]} is best and a choice among them costs up to {worst:.3g} times as much.",
        words.advice,
        words.kind.value,
        product=products[chosen],
        least_product=products[best],
        regret=regret,
        worst_regret=worst,
        batch=scene.batch(chosen),
        tokens=scene.tokens(chosen),
    )
