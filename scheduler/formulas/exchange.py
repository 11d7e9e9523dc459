"""Product against line: the price of a batch slot, and where the two choose alike.

Letters: ``P`` P-token, ``B`` batch size counting the request, ``w`` price of one batch slot in prefill tokens.
"""

from __future__ import annotations

from scheduler.ops import Number, Ops


def exchange_rate(weight: Number, token_scale: Number, batch_scale: Number) -> Number:
    """Price of one batch slot under the convex weight: ``w = ((1 - lambda)/lambda) (P_scale/B_scale)`` [token/request].

    Args:
        weight: lambda in (0, 1], the weight of the prefill term.
        token_scale: what the prefill term is divided by, > 0 [token].
        batch_scale: what the batch term is divided by, > 0 [request].

    Example:
        >>> exchange_rate(0.5, 8192, 32)
        256.0

    Source: claim ``agreement_interval``, notation.
    """
    return (1 - weight) * token_scale / (weight * batch_scale)


def line(tokens: Number, batch: Number, rate: Number) -> Number:
    """The linear score ``P + w B`` [token].

    Args:
        tokens: P, > 0 [token].
        batch: B, >= 1 [request].
        rate: w, >= 0 [token/request].

    Example:
        >>> line(132, 4, 256)
        1156

    Source: claim ``pairwise_exchange_rate``, notation.
    """
    return tokens + rate * batch


def pairwise_rate(tokens_i: Number, batch_i: Number, tokens_j: Number, batch_j: Number) -> Number:
    """The one weight at which a line compares two instances as the product does [token/request].

    ``w = (P_i + P_j)/(B_i + B_j)``: the ratio of the pair's own means.

    Args:
        tokens_i, tokens_j: P of the two [token].
        batch_i, batch_j: B of the two, ``B_i + B_j > 0`` [request].

    Example:
        >>> pairwise_rate(160, 1, 32, 4)
        38.4

    Source: claim ``pairwise_exchange_rate``.
    """
    return (tokens_i + tokens_j) / (batch_i + batch_j)


def indifference_rate(tokens_i: Number, batch_i: Number, tokens_j: Number, batch_j: Number) -> Number:
    """The weight at which a line finds two instances equal: ``w = (P_j - P_i)/(B_i - B_j)`` [token/request].

    If ``B_i > B_j``, a line prefers i exactly below it; it is positive exactly if then ``P_i < P_j``.

    Args:
        tokens_i, tokens_j: P of the two [token].
        batch_i, batch_j: B of the two, different [request].

    Example:
        >>> indifference_rate(32, 4, 160, 1)
        42.666666666666664

    Source: claim ``pairwise_exchange_rate``.
    """
    return (tokens_j - tokens_i) / (batch_i - batch_j)


def weight_of_rate(rate: Number, token_scale: Number, batch_scale: Number) -> Number:
    """The convex weight of a price: ``lambda = P_scale/(P_scale + w B_scale)``; falls as w grows.

    Args:
        rate: w, >= 0 [token/request].
        token_scale: what the prefill term is divided by, > 0 [token].
        batch_scale: what the batch term is divided by, > 0 [request].

    Example:
        >>> weight_of_rate(256, 8192, 32)
        0.5

    Source: claim ``agreement_interval``; the inverse of :func:`exchange_rate`.
    """
    return token_scale / (token_scale + rate * batch_scale)


def wedge_ratio(tokens_i: Number, batch_j: Number, rate: Number) -> Number:
    """How a line prices the best corner of a pair: ``r = w B_j/P_i``; 1 is the price the product would pay there.

    Args:
        tokens_i: P of the instance with fewer tokens, > 0 [token].
        batch_j: B of the instance with the smaller batch, > 0 [request].
        rate: w, > 0 [token/request].

    Example:
        >>> wedge_ratio(32, 1, 256)
        8.0

    Source: claim ``divergence_wedge``.
    """
    return rate * batch_j / tokens_i


def wedge_edge(token_ratio: Number, ratio: Number) -> Number:
    """The batch ratio up to which a line prefers the instance with fewer tokens: ``v = 1 + (u - 1)/r``.

    The product's own edge is ``v = u``; between the two lines through (1, 1) the rules differ.

    Args:
        token_ratio: ``u = P_j/P_i``, > 1.
        ratio: ``r = w B_j/P_i``, > 0; see :func:`wedge_ratio`.

    Example:
        >>> wedge_edge(5, 8)
        1.5

    Source: claim ``divergence_wedge``.
    """
    return 1 + (token_ratio - 1) / ratio


def greatest_step(ops: Ops, most: Number) -> Number:
    """The widest gap that a product accepts in one indicator for a gap of 1 in the other: ``floor((most - 1)/2)``.

    Both indicators whole, from 1 to ``most``. Some pair makes a line shun batch where the product does not exactly if
    ``w > 1/greatest_step(B_max)``, and some pair makes it accept batch where the product does not exactly if
    ``w < greatest_step(P_max)``.

    Args:
        ops: the world to compute in.
        most: greatest value of the indicator, a whole number >= 3 [token or request].

    Example:
        >>> from scheduler.ops import SCALAR
        >>> greatest_step(SCALAR, 131072), greatest_step(SCALAR, 256)
        (65535, 127)

    Source: claim ``no_weight_fits_all_states``.
    """
    return ops.floor((most - 1) / 2)
