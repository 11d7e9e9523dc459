"""What a fixed weight, noise, a missing term or a rounding can cost the choice, and what it cannot.

Letters: ``P`` P-token, ``B`` batch size counting the request, ``w`` price of one batch slot in prefill tokens, ``r = w
B/P`` that price in units of the instance's own ratio, ``k`` the chosen instance, ``m`` or ``j`` another one.
"""

from __future__ import annotations

from fractions import Fraction

from scheduler.ops import Number, Ops

#: Largest relative error of one rounding to nearest in binary64.
UNIT_ROUNDOFF = Fraction(1, 2**53)


def dominates(ops: Ops, tokens: Number, batch: Number, other_tokens: Number, other_batch: Number) -> Number:
    """The condition under which the first is no worse in both indicators and better in one.

    Args:
        ops: the world.
        tokens, batch: P and B of the first [token, request].
        other_tokens, other_batch: P and B of the second.

    Example:
        >>> from scheduler.ops import SCALAR
        >>> dominates(SCALAR, 32, 4, 160, 4), dominates(SCALAR, 32, 4, 160, 1), dominates(SCALAR, 32, 4, 32, 4)
        (True, False, False)

    Source: claim ``never_dominated``.
    """
    no_worse = ops.and_(tokens <= other_tokens, batch <= other_batch)
    return ops.and_(no_worse, ops.or_(tokens < other_tokens, batch < other_batch))


def relative_rate(rate: Number, tokens: Number, batch: Number) -> Number:
    """Price of a batch slot in units of an instance's own ratio: ``r = w B/P``; 1 where the line fits it.

    Args:
        rate: w, > 0 [token/request].
        tokens: P, > 0 [token].
        batch: B, >= 1 [request].

    Example:
        >>> relative_rate(256, 1024, 8)
        2.0

    Source: claim ``price_of_a_fixed_weight``.
    """
    return rate * batch / tokens


def price_of_weight(relative_rate: Number) -> Number:
    """What a weight that is off by a factor r can cost: ``(1 + r)^2/(4 r)``, the product's regret.

    The line's own regret at the product's choice is its square root. The same for r and 1/r; 1 at r = 1.

    Args:
        relative_rate: r, > 0: ``w B/P`` at the product's choice, or the factor s between two weights.

    Example:
        >>> price_of_weight(2), price_of_weight(0.25)
        (1.125, 1.5625)

    Source: claims ``price_of_a_fixed_weight``, ``margin_buys_weight_robustness``.
    """
    return (1 + relative_rate) * (1 + relative_rate) / (4 * relative_rate)


def price_of_weight_on_range(
    ops: Ops, rate: Number, tokens_low: Number, tokens_high: Number, batch_low: Number, batch_high: Number
) -> Number:
    """What a weight can cost on a range of states: the worse of ``r = w B_low/P_high`` and ``r = w B_high/P_low``.

    Args:
        ops: the world.
        rate: w, > 0 [token/request].
        tokens_low, tokens_high: range of P, > 0 [token].
        batch_low, batch_high: range of B, >= 1 [request].

    Example:
        >>> from scheduler.ops import SCALAR
        >>> price_of_weight_on_range(SCALAR, 256, 64, 4096, 1, 16)
        16.50390625

    Source: claim ``price_of_a_fixed_weight``.
    """
    least, most = relative_rate(rate, tokens_high, batch_low), relative_rate(rate, tokens_low, batch_high)
    return ops.max_(price_of_weight(least), price_of_weight(most))


def noise_factor(token_error: Number, batch_error: Number) -> Number:
    """What relative errors of the indicators can cost: ``(1+e)(1+d) / ((1-e)(1-d))``; ``e = d`` gives the square.

    Args:
        token_error: e, the observed P lies within a factor ``1 +- e`` of the true one, in [0, 1).
        batch_error: d, the same of B, in [0, 1).

    Example:
        >>> noise_factor(Fraction(1, 9), 0), noise_factor(Fraction(1, 9), Fraction(1, 9))
        (Fraction(5, 4), Fraction(25, 16))

    Source: claim ``noise_margin``.
    """
    return (1 + token_error) * (1 + batch_error) / ((1 - token_error) * (1 - batch_error))


def least_product(ops: Ops, tokens: Number, batch: Number, token_error: Number, batch_error: Number) -> Number:
    """The least product that an instance observed within ``+- errors`` can have: ``max(1, P-p) max(1, B-b)``.

    Args:
        ops: the world.
        tokens, batch: P and B as observed [token, request].
        token_error, batch_error: p and b, the largest absolute errors, >= 0 [token, request].

    Example (one slot and 100 tokens unknown):
        >>> from scheduler.ops import SCALAR
        >>> least_product(SCALAR, 600, 4, 100, 1), least_product(SCALAR, 60, 1, 100, 1)
        (1500, 1)

    Source: claim ``noise_margin``.
    """
    return ops.max_(1, tokens - token_error) * ops.max_(1, batch - batch_error)


def most_product(tokens: Number, batch: Number, token_error: Number, batch_error: Number) -> Number:
    """The greatest product that an instance observed within ``+- errors`` can have: ``(P+p)(B+b)``.

    Arguments as for :func:`least_product`.

    Example:
        >>> most_product(400, 2, 100, 1)
        1500

    Source: claim ``noise_margin``.
    """
    return (tokens + token_error) * (batch + batch_error)


def sure_rate_low(tokens: Number, batch: Number) -> Number:
    """Lower end of the weights that agree with the product's choice in every state: ``P/(B+1)`` [token/request].

    Args:
        tokens: P of the product's choice, > 0 [token].
        batch: B of the product's choice, a whole number >= 1 [request].

    Example:
        >>> sure_rate_low(1200, 5), sure_rate_high(1200, 5)
        (200.0, 300.0)

    Source: claim ``margin_buys_weight_robustness``.
    """
    return tokens / (batch + 1)


def sure_rate_high(tokens: Number, batch: Number) -> Number:
    """Upper end of the weights that agree in every state: ``P/(B-1)``; for B = 1 there is none [token/request].

    Args:
        tokens: P of the product's choice, > 0 [token].
        batch: B of the product's choice, a whole number >= 2 [request].

    Source: claim ``margin_buys_weight_robustness``.
    """
    return tokens / (batch - 1)


def power_score(tokens: Number, batch: Number, token_exponent: Number, batch_exponent: Number) -> Number:
    """The scores that no separate rescaling of the indicators affects: ``P^a B^b``; the product has a = b = 1.

    Args:
        tokens: P, > 0 [token].
        batch: B, > 0 [request].
        token_exponent: a, > 0.
        batch_exponent: b, > 0.

    Example:
        >>> power_score(32, 4, 1, 1), power_score(32, 4, 1, 2)
        (128, 512)

    Source: claim ``exponent_is_the_hidden_weight``.
    """
    return tokens**token_exponent * batch**batch_exponent


def leverage_cap(leverage: Number, token_exponent: Number, batch_exponent: Number) -> Number:
    """How much batch imbalance a hit can buy under ``P^a B^b``: ``rho^(a/b)``.

    Args:
        leverage: rho, P outside by P inside, > 0.
        token_exponent: a, > 0.
        batch_exponent: b, > 0.

    Example (the product, and a rule that weighs the batch twice):
        >>> leverage_cap(16, 1, 1), leverage_cap(16, 1, 2)
        (16.0, 4.0)

    Source: claim ``exponent_is_the_hidden_weight``.
    """
    return leverage ** (token_exponent / batch_exponent)


def batch_taken_at_most(tokens: Number, other_tokens: Number, other_batch: Number) -> Number:
    """The greatest batch at which the product still takes an instance rather than another: ``P_j B_j / P_k`` [request].

    With a floor of one token it is at most ``P_j B_j``; without floor P_k may be 0 and there is no bound.

    Args:
        tokens: P_k of the instance, > 0 [token].
        other_tokens, other_batch: P_j and B_j of the other one.

    Example (a whole prompt of 4096 tokens cached, against an idle instance):
        >>> batch_taken_at_most(1, 4096, 1)
        4096.0

    Source: claim ``zero_collapse``.
    """
    return other_tokens * other_batch / tokens


def idle_regret(tokens: Number) -> Number:
    """What it can cost not to count the request itself: an idle instance is taken at up to ``P_k/2`` times the best.

    Args:
        tokens: P of the idle instance that was taken, >= 2 [token].

    Example (a cold prompt of 4096 tokens; another instance holds all of it and runs one request):
        >>> idle_regret(4096)
        2048.0

    Source: claim ``idle_collapse``.
    """
    return tokens / 2


def rounding_margin(roundings: Number, unit_roundoff: Number = UNIT_ROUNDOFF) -> Number:
    """How far from the best a choice by rounded keys can be: ``((1+u)/(1-u))^k``.

    Args:
        roundings: k, the most roundings on the way from the inputs to any key, >= 0.
        unit_roundoff: u, the largest relative error of one rounding, in [0, 1).

    Example (the line's key is rounded four times):
        >>> float(rounding_margin(4)) - 1
        8.881784197001252e-16

    Source: claim ``float_choice_is_near_exact``.
    """
    return noise_factor(unit_roundoff, 0) ** roundings
