"""Where routing settles if P-tokens stay as they are: hyperbolic shares for the product, linear ones for a line.

Letters: ``P`` P-token, ``k`` requests on an instance, ``B`` batch size, ``T`` requests in all, ``N`` instances,
``w`` price of one batch slot in prefill tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

from scheduler.ops import Number, Ops


def hyperbolic_share(total: Number, tokens: Number, inverse_sum: Number) -> Number:
    """Batch at which the product is level: ``B_i = T (1/P_i)/sum_j (1/P_j)`` [request].

    Args:
        total: T, >= 0 [request].
        tokens: P of the instance, > 0 [token].
        inverse_sum: ``sum_j 1/P_j`` over all instances, > 0 [1/token].

    Example:
        >>> [hyperbolic_share(12, p, 1 / 64 + 1 / 128) for p in (64, 128)]
        [8.0, 4.0]

    Source: claim ``equilibrium``.
    """
    return total / (tokens * inverse_sum)


def linear_share(total: Number, count: Number, tokens: Number, mean_tokens: Number, rate: Number) -> Number:
    """Batch at which a line is level: ``B_i = T/N + (mean P - P_i)/w`` [request].

    Holds if it is >= 0 on every instance; otherwise see :func:`water_level`.

    Args:
        total: T, >= 0 [request].
        count: N, >= 1.
        tokens: P of the instance [token].
        mean_tokens: mean of P over the instances [token].
        rate: w, > 0 [token/request].

    Example:
        >>> [linear_share(12, 2, p, 96, 32) for p in (64, 128)]
        [7.0, 5.0]

    Source: claim ``equilibrium``.
    """
    return total / count + (mean_tokens - tokens) / rate


def water_level(ops: Ops, tokens: Sequence[Number], total: Number, rate: Number) -> Number:
    """Level to which a line fills the instances: ``min over m of (w T + sum of the m least P)/m`` [token].

    Args:
        ops: the world to compute in.
        tokens: P of all instances in ascending order; not empty [token].
        total: T, > 0 [request].
        rate: w, > 0 [token/request].

    Example:
        >>> from scheduler.ops import SCALAR
        >>> level = water_level(SCALAR, [64, 128, 1088], 12, 32)
        >>> level, [flooded_share(SCALAR, level, p, 32) for p in (64, 128, 1088)]
        (288.0, [7.0, 5.0, 0])

    Source: claim ``line_fills_to_a_level``.
    """
    levels = []
    filled = rate * total
    for count, token in enumerate(tokens, 1):
        filled = filled + token
        levels.append(filled / count)
    return ops.least(levels)


def flooded_share(ops: Ops, level: Number, tokens: Number, rate: Number) -> Number:
    """Batch of an instance under a line that fills up to a level: ``max(0, (level - P)/w)`` [request].

    Args:
        ops: the world to compute in.
        level: of :func:`water_level` [token].
        tokens: P of the instance [token].
        rate: w, > 0 [token/request].

    Example:
        >>> from scheduler.ops import SCALAR
        >>> flooded_share(SCALAR, 288, 64, 32), flooded_share(SCALAR, 288, 1088, 32)
        (7.0, 0)

    Source: claim ``line_fills_to_a_level``.
    """
    return ops.max_(0, (level - tokens) / rate)


def potential(tokens: Number, requests: Number) -> Number:
    """What the product's routing descends, one term an instance: ``P k (k + 1)/2`` [token request].

    The sum of the scores at which ``k`` requests joined the instance one after another.

    Args:
        tokens: P, > 0 [token].
        requests: k, requests on the instance, >= 0 [request].

    Example:
        >>> potential(64, 3)  # 64 + 128 + 192
        384.0

    Source: claim ``equilibrium``.
    """
    return tokens * requests * (requests + 1) / 2
