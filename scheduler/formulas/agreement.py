"""Agreement of a product choice with a line: the weights at which the line takes it too.

Letters: ``P`` P-token, ``B`` batch size counting the request, ``w`` price of one batch slot in prefill tokens; k is a
product choice, j runs over the other instances. An instance is a pair ``(P, B)``.
"""

from __future__ import annotations

from collections.abc import Sequence

from scheduler.formulas.exchange import indifference_rate
from scheduler.ops import Number, Ops

#: ``(P, B)`` of one instance.
Pair = tuple[Number, Number]


def tuned_rate(tokens: Number, batch: Number) -> Number:
    """The weight of the line on which a product choice is least: its own ``w = P_k/B_k`` [token/request].

    Args:
        tokens: P of the product choice, > 0 [token].
        batch: B of the product choice, > 0 [request].

    Example:
        >>> tuned_rate(132, 4)
        33.0

    Source: claim ``product_choice_is_a_tuned_line``.
    """
    return tokens / batch


def agreement_low(ops: Ops, chosen: Pair, others: Sequence[Pair]) -> Number:
    """The least weight at which a line takes a product choice, too [token/request].

    ``lo = max(0, max over B_j > B_k of (P_k - P_j)/(B_j - B_k))``: below it, some fuller instance is cheaper.

    Args:
        ops: the world to compute in.
        chosen: ``(P_k, B_k)``, a product choice among itself and the others.
        others: ``(P_j, B_j)`` of the other instances; may be empty.

    Example:
        >>> from scheduler.ops import SCALAR
        >>> agreement_low(SCALAR, (32, 4), [(160, 1), (20, 10)])
        2.0

    Source: claim ``agreement_interval``.
    """
    low: Number = 0
    for other in others:
        fuller = other[1] > chosen[1]
        low = ops.max_(low, ops.where(fuller, _indifference(ops, fuller, chosen, other), 0))
    return low


def agreement_high(ops: Ops, chosen: Pair, others: Sequence[Pair], unbounded: Number) -> Number:
    """The greatest weight at which a line takes a product choice, too [token/request].

    ``hi = min over B_j < B_k of (P_j - P_k)/(B_k - B_j)``: above it, some emptier instance is cheaper.

    Args:
        ops: the world to compute in.
        chosen: ``(P_k, B_k)``, a product choice among itself and the others.
        others: ``(P_j, B_j)`` of the other instances; may be empty.
        unbounded: what stands for infinity in this world; the answer if no instance is emptier.

    Example:
        >>> from math import inf
        >>> from scheduler.ops import SCALAR
        >>> agreement_high(SCALAR, (32, 4), [(160, 1), (20, 10)], inf)
        42.666666666666664

    Source: claim ``agreement_interval``.
    """
    high = unbounded
    for other in others:
        emptier = other[1] < chosen[1]
        high = ops.min_(high, ops.where(emptier, _indifference(ops, emptier, chosen, other), unbounded))
    return high


def agreement_end(tokens: Number, batch_k: Number, batch_j: Number, excess: Number) -> Number:
    """The end of the interval that one other instance sets: ``P_k/B_j - D/(B_j (B_j - B_k))`` [token/request].

    ``D = P_j B_j - P_k B_k >= 0`` is what the product charges j more. So a fuller instance sets an end no higher than
    ``P_k/B_j``, an emptier one an end no lower.

    Args:
        tokens: P of the product choice [token].
        batch_k, batch_j: B of the product choice and of the other instance, different [request].
        excess: D, >= 0 [token request].

    Example:
        >>> agreement_end(32, 4, 1, 160 * 1 - 32 * 4)
        42.666666666666664

    Source: claim ``agreement_interval``.
    """
    return tokens / batch_j - excess / (batch_j * (batch_j - batch_k))


def _indifference(ops: Ops, comparable: Number, chosen: Pair, other: Pair) -> Number:
    """The weight of indifference; where it is not to be read, any number, but no division by 0."""
    batch = ops.where(comparable, other[1], chosen[1] + 1)
    return indifference_rate(chosen[0], chosen[1], other[0], batch)
