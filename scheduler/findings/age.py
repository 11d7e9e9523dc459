"""``stale`` and ``progress_stalled``: what the age of an instance's numbers says. Both need ``updated_s``.

``stale``: what may have happened since can turn the product's choice. Elsewhere queued prefill may be done, ``min(q,
age/tau)`` tokens of it if tau is known; at the choice ``U`` requests of other routers may have arrived unseen, with up
to a prompt like this one each, if routers and rate are known. The choice flips if the least product there is below the
greatest here (claims ``noise_margin``, ``herding_on_stale_state``, ``proxy_information_loss_is_one_sided``). An info as
long as only work elsewhere may be done: the choice is then no worse than it looks, another may be better. A warning if
unseen requests may make the choice itself more than ``harm_allowed`` times as dear.

``progress_stalled``: requests wait, and nothing has been heard for longer than prefill explains and a grace period. By
claim ``marginal_delay`` prefill takes ``tau`` a token, times what attention over long prompts and the steps around it
add; how many tokens it is, the queue says only if all hits were there, so where it is known all context on the instance
counts (claim ``proxy_information_loss_is_one_sided``). A warning; critical if the rule takes the instance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from scheduler import formulas
from scheduler.finding import Finding, Kind, Severity
from scheduler.findings.scene import Scene, counted, finding, listed
from scheduler.indicators import p_token
from scheduler.ops import ARRAY, SCALAR
from scheduler.screening import real_array, whole_array


def unseen(scene: Scene, index: int) -> int:
    """Requests of other routers that may have reached an instance since its numbers were refreshed [request]."""
    rate = scene.config.arrival_rate_per_s
    if rate is None or scene.config.routers == 1:
        return 0
    age_s = max(0.0, scene.view.now_s - scene.view.updated_s[index])
    return int(formulas.unseen_most(scene.config.routers, math.ceil(rate * age_s)))


def stale(scene: Scene) -> Iterator[Finding]:
    """Whether the choice could be another one by now; asked of the product if some number is not of this moment."""
    view, chosen = scene.view, scene.seen()[0].chosen
    assert scene.prompt_tokens is not None
    hidden = unseen(scene, chosen)
    most = formulas.most_product(scene.tokens(chosen), scene.batch(chosen), hidden * scene.prompt_tokens, hidden)
    other, least = _least_other(scene, chosen, most, hidden > 0)
    if not least < most:
        return
    grave = hidden > 0 and most > scene.config.harm_allowed * least
    taken, name = scene.names((chosen, other))
    ages = [view.now_s - view.updated_s[index] for index in (chosen, other)]
    yield finding(
        Kind.STALE,
        Severity.WARNING if grave else Severity.INFO,
        (taken, name),
        f"The numbers of {taken} are {ages[0]:.3g} s old and those of {name} {ages[1]:.3g} s: by now its product may "
        f"be {least:.4g} against {most:.4g}.",
        "Refresh the numbers of both instances before relying on the difference.",
        "herding_on_stale_state" if hidden else "proxy_information_loss_is_one_sided",
        age_s=ages[0],
        other_age_s=ages[1],
        unseen_requests=hidden,
        computed_tokens=_computed(scene, other),
        greatest_product=float(most),
        least_other_product=float(least),
    )


def _least_other(scene: Scene, chosen: int, most: float, choice_may_differ: bool) -> tuple[int, float]:
    """The other instance whose product may be least by now, and how little; ``most`` if none may be below it.

    Args:
        scene: what is looked at.
        chosen: index of the choice.
        most: its greatest product.
        choice_may_differ: whether the choice may be dearer than it looks; else only who may have changed counts.
    """
    if isinstance(scene.seen()[1].news, np.ndarray):
        return _least_of_many(scene, chosen, choice_may_differ)
    columns, queued = scene.seen()[1], scene.view.queued_prefill_tokens
    other, least = chosen, most
    for index, (new_tokens, batch) in enumerate(zip(columns.news, columns.batches, strict=True)):
        # Even with its whole queue computed it would not be below: most instances are passed over here.
        if index == chosen or new_tokens * batch >= least or not (choice_may_differ or queued[index]):
            continue
        product = formulas.least_product(SCALAR, scene.tokens(index), batch, _computed(scene, index), 0)
        if product < least:
            other, least = index, product
    return other, least


def _least_of_many(scene: Scene, chosen: int, choice_may_differ: bool) -> tuple[int, float]:
    """The same by arrays."""
    columns, queued = scene.seen()[1], whole_array(scene.view.queued_prefill_tokens)
    tokens = p_token(queued, columns.news)
    products = formulas.least_product(ARRAY, tokens, columns.batches, _computed_everywhere(scene, queued), 0)
    products = products.astype(np.float64)
    if not choice_may_differ:
        products[queued == 0] = np.inf
    products[chosen] = np.inf
    index = int(products.argmin())
    return index, float(products[index])


def _computed(scene: Scene, index: int) -> float:
    """Queued prefill that may have been done since the last news, 0 if tau is unknown [token]."""
    speeds = scene.view.prefill_s_per_token
    if speeds is None:
        return 0.0
    age_s = max(0.0, scene.view.now_s - scene.view.updated_s[index])
    return min(float(scene.view.queued_prefill_tokens[index]), float(age_s / speeds[index]))


def _computed_everywhere(scene: Scene, queued: Any) -> Any:
    """The same for all instances, as an array."""
    speeds = scene.view.prefill_s_per_token
    if speeds is None:
        return 0
    ages_s = np.maximum(0.0, scene.view.now_s - real_array(scene.view.updated_s))
    return np.minimum(queued, ages_s / real_array(speeds))


def stalled(scene: Scene) -> Iterator[Finding]:
    """Instances that have been silent too long; asked if some number is older than the grace period."""
    view, grace_s = scene.view, scene.config.stall_grace_s
    silent = [
        index
        for index, waiting in enumerate(view.waiting)
        if waiting
        and (silence_s := view.now_s - view.updated_s[index]) > grace_s  # few are, so the rest is seldom worked out
        and silence_s > grace_s + _explained_s(scene, index)
    ]
    if not silent:
        return
    chosen = None if scene.screen is None else scene.screen.chosen
    worst = max(silent, key=lambda index: view.now_s - view.updated_s[index])
    silence_s, names = view.now_s - view.updated_s[worst], scene.names(silent)
    explained_s = _explained_s(scene, worst)
    yield finding(
        Kind.PROGRESS_STALLED,
        Severity.CRITICAL if chosen in silent else Severity.WARNING,
        names,
        f"Nothing was heard of {listed(names)}, the longest for {silence_s:.4g} s with "
        f"{counted(int(view.waiting[worst]), 'request')} waiting, whose prefill explains {explained_s:.3g} s.",
        "Take it out of the candidates until it reports again, and look at the engine."
        if len(silent) == 1
        else "Take them out of the candidates until they report again, and look at the engines.",
        "marginal_delay",
        silence_s=silence_s,
        explained_s=explained_s,
        grace_s=grace_s,
        waiting=int(view.waiting[worst]),
    )


def _explained_s(scene: Scene, index: int) -> float:
    """Silence that prefill explains: all tokens that may have to be computed, at the slowest [s]."""
    view = scene.view
    context = getattr(view, "context_tokens", None)
    tokens = view.queued_prefill_tokens[index]
    if context is not None:
        tokens = max(tokens, context[index])
    return float(scene.config.stall_slowdown * view.prefill_s_per_token[index] * tokens)
