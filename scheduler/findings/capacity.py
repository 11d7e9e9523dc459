"""``saturated`` and ``unequal_speeds``: premises of the product that an instance breaks.

``saturated``: an instance runs as many requests as its engine takes, or its KV cache is full; then a request there
waits for others to end or pushes them out, which neither product nor marginal delay prices (premise of claim
``marginal_delay``). An info if some are, a warning if the choice or all are.

``unequal_speeds``: instances differ in the time of a prefill token, and by the product with that time the choice costs
more than the least by a factor that noise does not explain (claim ``unequal_speeds``). An info; a warning from
``harm_allowed`` on.
"""

from __future__ import annotations

from collections.abc import Iterator

from scheduler import formulas
from scheduler.finding import Finding, Kind, Severity
from scheduler.findings.scene import Scene, finding, listed


def saturated(scene: Scene) -> Iterator[Finding]:
    """Full instances; asked if the greatest number running or the greatest KV use says so."""
    view, config = scene.view, scene.config
    full_batch = {index for index, running in enumerate(view.running) if running >= config.max_batch}
    full_cache = set()
    if view.kv_used_fraction is not None:
        full_cache = {index for index, used in enumerate(view.kv_used_fraction) if used >= config.kv_full_fraction}
    full = sorted(full_batch | full_cache)
    chosen = None if scene.screen is None else scene.screen.chosen
    whole = len(full) == len(view.ids)
    names = scene.names(full)
    if chosen in full:
        advice = "Leave it to a queue in front of the cluster, or add instances."
    else:
        advice = "Nothing, as long as the choice is none of them."
    yield finding(
        Kind.SATURATED,
        Severity.WARNING if whole or chosen in full else Severity.INFO,
        names,
        f"{len(full)} of {len(view.ids)} instances ({listed(names)}) {'is' if len(full) == 1 else 'are'} full: "
        f"{len(full_batch)} by batch ({config.max_batch} requests run or more), {len(full_cache)} by KV cache "
        f"({config.kv_full_fraction:.0%} in use or more).",
        "Hold requests back or add instances." if whole else advice,
        "marginal_delay",
        full_instances=len(full),
        full_by_batch=len(full_batch),
        full_by_cache=len(full_cache),
        choice_is_full=None if chosen is None else chosen in full,
    )


def unequal_speeds(scene: Scene) -> Iterator[Finding]:
    """What it costs that the product ignores speed; asked of the product if speeds differ."""
    speeds, chosen = scene.view.prefill_s_per_token, scene.seen()[0].chosen
    costs = [formulas.timed_product(tau, scene.tokens(index), scene.batch(index)) for index, tau in enumerate(speeds)]
    best = scene.least_of(costs)
    ratio = costs[chosen] / costs[best]
    if ratio <= scene.factor:
        return
    taken, name = scene.names((chosen, best))
    yield finding(
        Kind.UNEQUAL_SPEEDS,
        Severity.WARNING if ratio >= scene.config.harm_allowed else Severity.INFO,
        (taken, name),
        f"{taken} needs {speeds[chosen]:.3g} s/token and {name} {speeds[best]:.3g}: with speed counted the choice "
        f"costs {ratio:.3g} times as much.",
        "Use a rule that knows speeds, or pools of equal instances.",
        "unequal_speeds",
        ratio=ratio,
        ratio_bound=max(speeds) / min(speeds),
        prefill_s_per_token=speeds[chosen],
        best_prefill_s_per_token=speeds[best],
    )
