"""Product against line: the price of a batch slot, and where the two choose alike.

Letters: ``P`` P-token, ``B`` batch size counting the request, ``w`` price of one batch slot in prefill tokens.
"""

from __future__ import annotations

from scheduler.ops import Number


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
