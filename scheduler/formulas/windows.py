"""How many requests an alarm needs, how late it comes, and how long a confirmation waits.

Letters: ``x`` true share of a class, ``c`` threshold (coverage ``|M|/N``), ``eps`` their distance, ``W`` window,
``delta`` error allowed, ``z`` tilt of Chernoff's argument, ``p`` chance of one success, ``r`` length of a run.
"""

from __future__ import annotations

from scheduler.formulas.hotspot import cold_rate, hot_rate
from scheduler.ops import Number, Ops


def kl_divergence(ops: Ops, threshold: Number, share: Number) -> Number:
    """Divergence of a coin: ``KL(c || x) = c ln(c/x) + (1-c) ln((1-c)/(1-x))`` [nat/request].

    Args:
        ops: the world to compute in.
        threshold: c, what is seen, in (0, 1).
        share: x, the truth, in (0, 1).

    Example:
        >>> from scheduler.ops import SCALAR
        >>> round(kl_divergence(SCALAR, 0.25, 0.5), 6)
        0.130812

    Source: claim ``alarm_window``.
    """
    rest = 1 - threshold
    return threshold * ops.log(threshold / share) + rest * ops.log(rest / (1 - share))


def kl_slope(threshold: Number, share: Number) -> Number:
    """How the divergence changes with the true share: ``(x - c)/(x (1 - x))``.

    Args:
        threshold: c, in (0, 1).
        share: x, in (0, 1).

    Example:
        >>> kl_slope(0.25, 0.5)
        1.0

    Source: claim ``alarm_window``.
    """
    return (share - threshold) / (share * (1 - share))


def hoeffding_bound(eps: Number) -> Number:
    """The simple lower bound of the divergence at distance eps: ``2 eps^2`` [nat/request].

    Example:
        >>> hoeffding_bound(0.25)
        0.125

    Source: claim ``alarm_window``.
    """
    return 2 * eps * eps


def window_for(ops: Ops, error: Number, divergence: Number) -> Number:
    """Requests after which the error has been pressed below delta: ``W = ln(1/delta)/KL`` [request].

    Args:
        ops: the world to compute in.
        error: delta, in (0, 1).
        divergence: KL, > 0 [nat/request].

    Example:
        >>> from scheduler.ops import SCALAR
        >>> round(window_for(SCALAR, 0.01, 0.125), 3)
        36.841

    Source: claim ``alarm_window``.
    """
    return ops.log(1 / error) / divergence


def tilted_mean(share: Number, tilt: Number) -> Number:
    """Mean of ``z^(one request is of the class)``: ``x z + 1 - x``, a factor of Chernoff's bound.

    Args:
        share: x, in [0, 1].
        tilt: z, >= 0.

    Example:
        >>> tilted_mean(0.5, 3)
        2.0

    Source: claim ``alarm_window``.
    """
    return share * tilt + 1 - share


def best_tilt(threshold: Number, share: Number) -> Number:
    """The tilt that makes Chernoff's bound least: ``z = c (1-x)/((1-c) x)``.

    Args:
        threshold: c, in (0, 1).
        share: x, in (0, 1); the tilt is at least 1 if ``x <= c``.

    Example:
        >>> best_tilt(0.5, 0.25)
        3.0

    Source: claim ``alarm_window``.
    """
    return threshold * (1 - share) / ((1 - threshold) * share)


def error_share(error: Number, classes: Number, decisions: Number) -> Number:
    """Error left to one test if all together may err delta: ``delta/(classes decisions)``.

    Args:
        error: delta, in (0, 1).
        classes, decisions: how many are tested, how often; >= 1.

    Example:
        >>> error_share(0.01, 10, 100)
        1e-05

    Source: claim ``error_budget``.
    """
    return error / (classes * decisions)


def error_of_decision(error: Number, decision: Number) -> Number:
    """Error left to the n-th test if their number has no end: ``delta/(n (n + 1))``; all of them sum up to delta.

    Args:
        error: delta, in (0, 1).
        decision: n, counted from 1.

    Example:
        >>> error_of_decision(0.5, 1), error_of_decision(0.5, 4)
        (0.25, 0.025)

    Source: claim ``error_budget``.
    """
    return error / (decision * (decision + 1))


def design_effect(session_requests: Number, correlation: Number) -> Number:
    """By what the variance grows if requests come in sessions: ``1 + (m - 1) icc`` [1].

    A model of the variance, no bound of the error: see the claim ``design_effect_keeps_the_promise``, refuted.

    Args:
        session_requests: m, requests of each session, >= 1 [request].
        correlation: of two requests of a session being of the class, in [0, 1].

    Example:
        >>> design_effect(8, 0.5)
        4.5

    Source: claim ``session_design_effect``.
    """
    return 1 + (session_requests - 1) * correlation


def effective_requests(requests: Number, session_requests: Number, correlation: Number) -> Number:
    """Independent requests of the same variance: ``W/(1 + (m - 1) icc)`` [request].

    Args:
        requests: W, >= 0 [request].
        session_requests, correlation: see :func:`design_effect`.

    Example:
        >>> effective_requests(900, 8, 0.5)
        200.0

    Source: claim ``session_design_effect``.
    """
    return requests / design_effect(session_requests, correlation)


def window_share(before: Number, after: Number, window: Number, since: Number) -> Number:
    """Share in a sliding window some requests after a step: ``((W - m) x_0 + m x_1)/W``.

    Args:
        before, after: x_0 and x_1, the shares before and after the step, in [0, 1].
        window: W, > 0 [request].
        since: m, requests since the step, in [0, W] [request].

    Example:
        >>> window_share(0.0, 1.0, 100, 25)
        0.25

    Source: claim ``sliding_window_alarm_delay``.
    """
    return ((window - since) * before + since * after) / window


def alarm_delay(before: Number, after: Number, window: Number, threshold: Number) -> Number:
    """Requests from the step until the window's share is at the threshold: ``W (c - x_0)/(x_1 - x_0)`` [request].

    Args:
        before, after: x_0 < x_1, shares before and after the step, in [0, 1].
        window: W, > 0 [request].
        threshold: c, in ``[x_0, x_1]``.

    Example:
        >>> alarm_delay(0.0, 0.5, 200, 0.25)
        100.0

    Source: claim ``sliding_window_alarm_delay``.
    """
    return window * (threshold - before) / (after - before)


def gap_growth(class_share: Number, holder_count: Number, instance_count: Number) -> Number:
    """Growth of hot less cold batch with each arrival: ``x/M - (1 - x)/(N - M)`` [request/request].

    Args:
        class_share: x, share of the arrivals that goes to the holders, in [0, 1].
        holder_count: M, in [1, N - 1].
        instance_count: N.

    Example:
        >>> gap_growth(0.75, 2, 4)
        0.25

    Source: claim ``window_alarm_is_gap_growth``.
    """
    return hot_rate(class_share, holder_count, 1) - cold_rate(class_share, holder_count, instance_count, 1)


def run_chance(success: Number, length: int) -> Number:
    """Chance that a run of r independent trials succeeds throughout: ``p^r``.

    Args:
        success: p, in [0, 1].
        length: r, >= 0.

    Example:
        >>> run_chance(0.5, 4)
        0.0625

    Source: claim ``confirmation_run_length``.
    """
    return success**length


def run_wait(success: Number, chance: Number) -> Number:
    """Mean number of trials until r successes came in a row: ``(1 - p^r)/((1 - p) p^r)`` [trial].

    Args:
        success: p, in (0, 1); at p = 1 the wait is r.
        chance: ``p^r``, see :func:`run_chance`.

    Example:
        >>> run_wait(0.5, run_chance(0.5, 4))
        30.0

    Source: claim ``confirmation_run_length``.
    """
    return (1 - chance) / ((1 - success) * chance)
