"""What a choice is worth when the router's numbers are old or incomplete.

Letters: ``k`` routers, ``A`` most arrivals at one router in one delay, ``U`` dispatches unseen, ``rho`` leverage, ``e``
and ``f`` the shares by which a score is seen too high and too low. Dispatches of a router itself are seen at once.
"""

from __future__ import annotations

from scheduler.ops import Number, Ops


def unseen_most(routers: Number, arrivals: Number) -> Number:
    """Most dispatches that one router has not seen: ``U = (k - 1) A`` [request].

    Where a router sees its own dispatches late too, its ``A - 1`` earlier ones are added: ``k A - 1``.

    Args:
        routers: k, >= 1 [router].
        arrivals: A, the most arrivals at one router in any half-open stretch of one delay, >= 0 [request].

    Example:
        >>> unseen_most(4, 8)
        24

    Source: claim ``herding_on_stale_state``.
    """
    return (routers - 1) * arrivals


def stale_gap(ops: Ops, initial_gap: Number, unseen: Number) -> Number:
    """Greatest batch less least, ever, if P-tokens are equal and nothing completes: ``max(gap_0, U + 1)`` [request].

    Args:
        ops: the world to compute in.
        initial_gap: greatest less least batch at the start, >= 0 [request].
        unseen: U, >= 0 [request].

    Example:
        >>> from scheduler.ops import SCALAR
        >>> stale_gap(SCALAR, 3, 24)
        25

    Source: claim ``herding_on_stale_state``.
    """
    return ops.max_(initial_gap, unseen + 1)


def stale_batch(leverage: Number, batch: Number, unseen: Number) -> Number:
    """Largest batch that the product still picks against another instance: ``rho B_j + U`` [request].

    Args:
        leverage: rho = P_j/P_i as the router sees the two, > 0 [1].
        batch: B_j of the other instance, >= 1 [request].
        unseen: U, >= 0 [request].

    Example:
        >>> stale_batch(17, 2, 24)
        58

    Source: claim ``herding_on_stale_state``.
    """
    return leverage * batch + unseen


def over_count(computed_tokens: Number, tokens: Number) -> Number:
    """Share by which tokens computed but still booked raise a score: ``e = c/P`` [1].

    Args:
        computed_tokens: c, >= 0 [token].
        tokens: the true P, > 0 [token].

    Example:
        >>> over_count(512, 2048)
        0.25

    Source: claim ``proxy_information_loss_is_one_sided``.
    """
    return computed_tokens / tokens


def under_count(lost_tokens: Number, tokens: Number) -> Number:
    """Share by which tokens that nobody told of lower a score: ``f = g/P`` [1].

    Args:
        lost_tokens: g, tokens to be computed because of unseen evictions or preemptions, in ``[0, P)`` [token].
        tokens: the true P, > 0 [token].

    Example:
        >>> under_count(1024, 2048)
        0.5

    Source: claim ``proxy_information_loss_is_one_sided``.
    """
    return lost_tokens / tokens


def information_price(over: Number, under: Number = 0) -> Number:
    """Most that a choice by inexact scores costs, as a multiple of the optimum: ``(1 + e_j)/(1 - f_k)`` [1].

    Args:
        over: e of the true optimum j, >= 0 [1].
        under: f of the chosen k, in ``[0, 1)`` [1].

    Example:
        >>> information_price(0.25), information_price(0.25, 0.5)
        (1.25, 2.5)

    Source: claim ``proxy_information_loss_is_one_sided``.
    """
    return (1 + over) / (1 - under)
