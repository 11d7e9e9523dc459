"""``queue_cross_term`` and ``leverage``: the choice adds more delay than it had to.

``queue_cross_term``, for the product with queue and request counted: it charges ``q (B - 1)`` beyond the delay that the
request adds (claim ``product_is_marginal_delay_plus_cross_term``), and its choice adds more than the least by a factor
that noise does not explain. A warning if it adds more than ``harm_allowed`` times the least, noise set aside, the loss
exceeds a prefill of the whole prompt, so that going elsewhere would have paid even without any cache, and an instance
taken blindly would have added less on average: then the rule has lost all that it looks at.

``leverage``, where the decode offset kappa is known: a hit bought more batch imbalance than it is worth once decode is
counted (claim ``decode_offset``). A warning from ``harm_allowed`` on.

Both compare delays in tokens and so presuppose instances of equal speed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from scheduler import formulas
from scheduler.finding import Finding, Kind, Severity
from scheduler.findings.scene import Scene, finding
from scheduler.screening import indices_where, whole_array


def queue_cross_terms(scene: Scene) -> Iterator[Finding]:
    """The product's choice far from that of least harm; asked only if it is beyond noise."""
    told, columns = scene.seen()
    least = indices_where(columns.harms, told.least_harm)[0]
    ratio, loss = told.harm / told.least_harm, told.harm - told.least_harm
    assert scene.prompt_tokens is not None
    mean = float(sum(columns.harms)) / len(columns.harms)
    grave = ratio > scene.config.harm_allowed * scene.factor and loss > scene.prompt_tokens and told.harm > mean
    queued = int(scene.view.queued_prefill_tokens[least])
    taken, other = scene.names((told.chosen, least))
    yield finding(
        Kind.QUEUE_CROSS_TERM,
        Severity.WARNING if grave else Severity.INFO,
        (taken, other),
        f"{taken} adds {told.harm} tokens of delay, {other} would add {told.least_harm}: the product counts the "
        f"{queued} tokens queued there once for each of {scene.batch(least)} requests.",
        "Route by marginal_delay, which counts the queue once.",
        "product_is_marginal_delay_plus_cross_term",
        delay_tokens=told.harm,
        least_delay_tokens=told.least_harm,
        ratio=ratio,
        loss_tokens=loss,
        mean_delay_tokens=mean,
        ratio_bound=formulas.product_regret(queued, scene.new_tokens(least), scene.batch(least)),
    )


def leverages(scene: Scene) -> Iterator[Finding]:
    """A hit that costs more by its batch than it saves; asked only if kappa is known and a smaller batch was there."""
    told, columns = scene.seen()
    kappa = scene.kappa
    assert kappa is not None
    delays = _delays(scene, kappa)
    least = int(delays.argmin()) if isinstance(delays, np.ndarray) else scene.least_of(delays)
    taken, best = float(delays[told.chosen]), float(delays[least])
    if taken <= scene.factor * best or columns.batches[least] >= told.batch:
        return
    if columns.news[least] <= columns.news[told.chosen]:
        return
    worth = formulas.delay_leverage(
        scene.new_tokens(least),
        int(scene.view.queued_prefill_tokens[least]),
        scene.batch(least),
        scene.new_tokens(told.chosen),
        kappa,
    )
    chosen, other = scene.names((told.chosen, least))
    yield finding(
        Kind.LEVERAGE,
        Severity.WARNING if taken >= scene.config.harm_allowed * best else Severity.INFO,
        (chosen, other),
        f"The hit on {chosen} buys {told.batch / scene.batch(least):.3g} times the batch of {other}; with decode "
        f"counted (kappa {kappa:.6g} tokens) it is worth {worth:.3g} times, and the choice adds "
        f"{taken / best:.3g} times the least delay.",
        f"Route by marginal_delay_offset:kappa={kappa:.6g}.",
        "decode_offset",
        imbalance=told.batch / scene.batch(least),
        imbalance_worth=worth,
        kappa_tokens=kappa,
        delay_tokens=taken,
        least_delay_tokens=best,
        ratio=taken / best,
    )


def _delays(scene: Scene, kappa: float) -> Any:
    """Delay with decode on every instance [token]."""
    columns, queued = scene.seen()[1], scene.view.queued_prefill_tokens
    if isinstance(columns.news, np.ndarray):
        return formulas.marginal_delay(whole_array(queued), columns.news, columns.batches, kappa)
    rows = zip(queued, columns.news, columns.batches, strict=True)
    return [formulas.marginal_delay(q, n, b, kappa) for q, n, b in rows]
