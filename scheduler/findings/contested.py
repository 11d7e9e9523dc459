"""``contested``: another instance is as good as the choice, as far as the numbers can tell. An info.

By noise: the best other score is within the factor that errors of the indicators explain (claim ``noise_margin``);
asked of rules whose score is a sum of terms at most linear in tokens and in batch, for which the factor holds.
Instances of equal P-token and batch size are the same to the rule and contest nothing. By weight: no line with a weight
in ``weight_range`` takes the product's choice (claim ``agreement_interval``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from scheduler import formulas
from scheduler.finding import Finding, Kind, Severity
from scheduler.findings.scene import Scene, finding
from scheduler.ops import SCALAR
from scheduler.policies import delay, greedy, linear, load_only
from scheduler.policies.rule import Policy
from scheduler.screening import PRODUCTS, indices_where

_BOUNDED_BY_NOISE = PRODUCTS | {rule.name for rule in (*delay.RULES, *load_only.RULES, greedy.LEAST_P_TOKEN)}


def bounded_by_noise(policy: Policy) -> bool:
    """Whether scores are off by at most the factor if tokens and batches are: sums of terms linear in each.

    The line's normalised form is not: it divides by the greatest batch, which may be off the other way.

    Example:
        >>> from scheduler.policies.catalogue import policy
        >>> [bounded_by_noise(policy(name)) for name in ("lmetric", "linear", "linear:form=p_token", "dynamo")]
        [True, False, True, False]
    """
    return policy.rule.name in _BOUNDED_BY_NOISE or (
        policy.rule is linear.LINEAR and policy.values["form"] == "p_token"
    )


def contested_by_noise(scene: Scene) -> Iterator[Finding]:
    """Asked only if the runner-up is within the factor."""
    told = scene.seen()[0]
    other = _runner_up(scene)
    if other is None or not scene.keys[other] < scene.factor * told.key:
        return
    ratio = float(scene.keys[other] / told.key)
    taken, name = scene.names((told.chosen, other))
    yield finding(
        Kind.CONTESTED,
        Severity.INFO,
        (taken, name),
        f"The score of {name} {'equals' if ratio == 1 else f'is {ratio:.4g} times'} that of {taken}, and errors of the "
        f"indicators explain up to {scene.factor:.4g} times.",
        "Take either, for example by a random tie, and do not read anything into the choice.",
        "noise_margin",
        ratio=ratio,
        noise_factor=scene.factor,
        score=float(told.key),
        runner_up_score=float(scene.keys[other]),
    )


def _runner_up(scene: Scene) -> int | None:
    """The best other instance that is not the same to the rule."""
    (told, columns), keys = scene.seen(), scene.keys
    key, other = told.key, told.runner_key
    if other == key:
        queued, news, batches, batch = scene.view.queued_prefill_tokens, columns.news, columns.batches, told.batch
        tokens = scene.tokens(told.chosen)
        for index in indices_where(keys, key):  # of a cold prompt many are alike, so this is asked often
            if batches[index] != batch or queued[index] + news[index] != tokens:
                return index
        # An equal pair has an equal key, so what has another key is another pair.
        other = min([each for each in keys if each != key], default=None)
    return None if other is None else indices_where(keys, other)[0]


def contested_by_weight(scene: Scene) -> Iterator[Finding]:
    """Asked of the product, if an operator says which weights a line would have."""
    told, weights = scene.seen()[0], scene.config.weight_range
    assert weights is not None
    pairs = [(scene.tokens(index), scene.batch(index)) for index in range(len(scene.view.ids))]
    chosen = pairs.pop(told.chosen)
    low = float(formulas.agreement_low(SCALAR, chosen, pairs))
    high = float(formulas.agreement_high(SCALAR, chosen, pairs, math.inf))
    if low <= weights[1] and weights[0] <= high:
        return
    weights_that_do = (
        f"from {low:.4g} to {high:.4g} tokens/request" if high < math.inf else (f"from {low:.4g} tokens/request on")
    )
    yield finding(
        Kind.CONTESTED,
        Severity.INFO,
        scene.names((told.chosen,)),
        f"A line takes {scene.view.ids[told.chosen]} too only with a weight {weights_that_do}; none from "
        f"{weights[0]:.4g} to {weights[1]:.4g} does.",
        "If you trust the line, look why: the product pays another price for a batch slot here.",
        "agreement_interval",
        agreement_low=low,
        agreement_high=high if high < math.inf else None,
        weight_low=weights[0],
        weight_high=weights[1],
        tuned_rate=formulas.tuned_rate(*chosen),
    )
