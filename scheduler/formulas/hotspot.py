"""Hot spots: how the batches of the holders of a prefix run away from the others, and when a product rule lets go.

A class of requests shares a prefix that ``M`` of ``N`` instances hold. The fluid picture: requests flow in at ``Q`` per
second, the share ``x`` of the class in equal parts to the holders, the rest in equal parts to the others. Letters:
``a`` flow to one holder, ``b`` flow to one other instance [request/s]; ``T`` residence time, from dispatch to last
token [s]; ``rho`` leverage, P-token outside by P-token inside; ``b_0`` requests resident on each at the start.
"""

from __future__ import annotations

from scheduler.ops import Number, Ops


def hot_rate(class_share: Number, holder_count: Number, rate_per_s: Number) -> Number:
    """Flow to one holder: ``a = x Q / M`` [request/s].

    Args:
        class_share: x, share of the class in the traffic, in [0, 1].
        holder_count: M, >= 1.
        rate_per_s: Q, all requests, >= 0 [request/s].

    Example:
        >>> hot_rate(0.5, 2, 16)
        4.0

    Source: claim ``hotspot_growth``.
    """
    return class_share * rate_per_s / holder_count


def cold_rate(class_share: Number, holder_count: Number, instance_count: Number, rate_per_s: Number) -> Number:
    """Flow to one instance that does not hold the prefix: ``b = (1 - x) Q / (N - M)`` [request/s].

    Args:
        class_share: x, in [0, 1].
        holder_count: M, in [1, N - 1].
        instance_count: N.
        rate_per_s: Q, >= 0 [request/s].

    Example:
        >>> cold_rate(0.5, 2, 10, 16)
        1.0

    Source: claim ``hotspot_growth``.
    """
    return (1 - class_share) * rate_per_s / (instance_count - holder_count)


def hotspot_growth(start_batch: Number, hot_rate: Number, cold_rate: Number, elapsed_s: Number) -> Number:
    """Batch of a holder by batch of another instance while nothing completes: ``(B_0 + a t)/(B_0 + b t)``.

    Args:
        start_batch: B_0, the same on all at the start, >= 0; not 0 if b t is 0 [request].
        hot_rate, cold_rate: a and b, >= 0 [request/s].
        elapsed_s: t, >= 0 [s].

    Example:
        >>> hotspot_growth(4, 4, 1, 12)
        3.25

    Source: claim ``hotspot_growth``; LMetric, arXiv 2603.15202, equation 1.
    """
    return (start_batch + hot_rate * elapsed_s) / (start_batch + cold_rate * elapsed_s)


def residents_between(start: Number, steady: Number, passed: Number) -> Number:
    """Residents on the way from a start to the steady number: ``b_0 + (b_inf - b_0) y`` [request].

    With arrivals at rate a and a mean residence time T, ``y = 1 - exp(-t/T)`` and ``b_inf = a T``.

    Args:
        start: b_0, >= 0 [request].
        steady: b_inf, >= 0 [request].
        passed: y, the part of the way that is done, in [0, 1).

    Example:
        >>> residents_between(2, 10, 0.5)
        6.0

    Source: claim ``silent_band``.
    """
    return start + (steady - start) * passed


def steady_residents(rate_per_s: Number, base_residence_s: Number, slope_s_per_request: Number = 0) -> Number:
    """Residents in the steady state: ``b = a T_0 / (1 - a s)`` if the residence time is ``T_0 + s b`` [request].

    Args:
        rate_per_s: a, flow to the instance, >= 0 [request/s].
        base_residence_s: T_0, residence time on an empty instance, > 0 [s].
        slope_s_per_request: s, what each resident adds to it, >= 0 [s/request]; ``a s < 1``, else the number grows
            without end.

    Example:
        >>> steady_residents(4, 2), steady_residents(4, 2, 0.125)
        (8.0, 16.0)

    Source: claim ``coverage_law_by_work``.
    """
    return rate_per_s * base_residence_s / (1 - rate_per_s * slope_s_per_request)


def leverage(tokens_outside: Number, tokens_inside: Number) -> Number:
    """How much batch imbalance a hit can buy from a product rule: ``rho = P_outside / P_inside``.

    Args:
        tokens_outside: P-token where the prefix is not held, > 0 [token].
        tokens_inside: P-token where it is held, > 0 [token].

    Example:
        >>> leverage(1088, 64)
        17.0

    Source: claim ``leverage_bounds_imbalance``.
    """
    return tokens_outside / tokens_inside


def spills(batch_inside: Number, batch_outside: Number, leverage: Number) -> Number:
    """The condition under which a product rule sends a request of the class outside: ``B_in > rho B_out``.

    With equality the tie rule decides.

    Args:
        batch_inside: least batch size among the holders, the request counted, >= 1 [request].
        batch_outside: least batch size among the others, the request counted, >= 1 [request].
        leverage: rho, > 0.

    Example:
        >>> spills(18, 1, 17), spills(17, 1, 17)
        (True, False)

    Source: claims ``leverage_bounds_imbalance``, ``silent_band``, ``cold_instance_starvation``.
    """
    return batch_inside > leverage * batch_outside


def silent_imbalance(cold_residents: Number, leverage: Number) -> Number:
    """The greatest ratio of residents, holder by other, that a product rule lets stand: ``rho + (rho - 1)/b_cold``.

    Args:
        cold_residents: b_cold, > 0 [request].
        leverage: rho, >= 1.

    Example:
        >>> silent_imbalance(4, 17)
        21.0

    Source: claim ``silent_band``.
    """
    return leverage + (leverage - 1) / cold_residents


def spill_time_s(start: Number, hot_rate: Number, cold_rate: Number, leverage: Number) -> Number:
    """Time to the first spill while nothing completes: ``t* = (rho - 1)(1 + b_0)/(a - rho b)`` [s].

    Args:
        start: b_0, residents of each instance at the start, >= 0 [request].
        hot_rate, cold_rate: a and b, with ``a > rho b``; else there is never a spill [request/s].
        leverage: rho, >= 1.

    Example:
        >>> spill_time_s(1, 4, 0, 17)
        8.0

    Source: claim ``silent_band``.
    """
    return (leverage - 1) * (1 + start) / (hot_rate - leverage * cold_rate)


def spill_progress(start: Number, hot_rate: Number, cold_rate: Number, leverage: Number, residence_s: Number) -> Number:
    """The part y of the way to the steady state at which the first spill comes, in [0, 1).

    ``y = (rho - 1)(1 + b_0)/((a - rho b) T + (rho - 1) b_0)``.

    Args:
        start: b_0, >= 0 [request].
        hot_rate, cold_rate: a and b, with ``(a - rho b) T > rho - 1``; else there is never a spill [request/s].
        leverage: rho, >= 1.
        residence_s: T, the same for all requests, > 0 [s].

    Example:
        >>> spill_progress(0, 4, 0, 17, 8)
        0.5

    Source: claim ``silent_band``.
    """
    drift = (hot_rate - leverage * cold_rate) * residence_s
    return (leverage - 1) * (1 + start) / (drift + (leverage - 1) * start)


def spill_time_with_completions_s(
    ops: Ops, start: Number, hot_rate: Number, cold_rate: Number, leverage: Number, residence_s: Number
) -> Number:
    """Time to the first spill with exponential residence times of mean T: ``t* = -T ln(1 - y)`` [s].

    Args:
        ops: the world to compute in; it must have a logarithm.
        start, hot_rate, cold_rate, leverage, residence_s: as for :func:`spill_progress`, which gives y.

    Example:
        >>> from scheduler.ops import SCALAR
        >>> round(spill_time_with_completions_s(SCALAR, 0, 4, 0, 17, 8), 3)
        5.545

    Source: claim ``silent_band``.
    """
    return -residence_s * ops.log(1 - spill_progress(start, hot_rate, cold_rate, leverage, residence_s))


def residents_to_share(ops: Ops, leverage: Number, *, cold_is_first: bool) -> Number:
    """Fewest residents on a warm instance with which an empty one without cache wins against it [request].

    ``floor(rho)``; ``ceil(rho) - 1`` if the cold instance has the lower index and so wins ties.

    Args:
        ops: the world to compute in.
        leverage: rho, P-token on the cold instance by P-token on the warm one, >= 1; exact numbers, please.
        cold_is_first: whether the cold instance has the lower index.

    Example:
        >>> from scheduler.ops import SCALAR
        >>> residents_to_share(SCALAR, 17, cold_is_first=False), residents_to_share(SCALAR, 17, cold_is_first=True)
        (17, 16)

    Source: claim ``cold_instance_starvation``.
    """
    return -ops.floor(-leverage) - 1 if cold_is_first else ops.floor(leverage)
