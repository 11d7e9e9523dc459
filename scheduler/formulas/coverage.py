"""Coverage: how many instances must hold a prefix, how many the product makes by itself, what mitigation must add.

Letters: ``N`` instances, ``M`` of them hold the prefix of a class, ``x`` its share of the traffic, ``rho`` leverage.
Counts are whole numbers; give shares as Fractions (``Fraction(count, window)``), because a binary float such as
``0.55 * 100`` can round over a whole number and cost a copy.
"""

from __future__ import annotations

from scheduler.ops import Number, Ops


def covered(class_share: Number, holder_count: Number, instance_count: Number) -> Number:
    """The condition under which a class makes no hot spot: ``x N <= M``.

    Args:
        class_share: x, share of the class in the requests or, better, in the work, in [0, 1].
        holder_count: M, >= 1.
        instance_count: N.

    Example:
        >>> covered(0.25, 4, 16), covered(0.3, 4, 16)
        (True, False)

    Source: claim ``coverage_law``; for sets of classes ``coverage_law_many_classes``.
    """
    return class_share * instance_count <= holder_count


def work_share(class_share: Number, class_residence_s: Number, other_residence_s: Number) -> Number:
    """Share of the occupied batch slots: ``x T_c / (x T_c + (1 - x) T_o)``.

    Args:
        class_share: x, share of the class in the requests, in [0, 1].
        class_residence_s: T_c, mean residence time of its requests, > 0 [s].
        other_residence_s: T_o, of all others, > 0 [s].

    Example:
        >>> work_share(0.25, 9, 3)
        0.5

    Source: claim ``coverage_law_by_work``.
    """
    work = class_share * class_residence_s
    return work / (work + (1 - class_share) * other_residence_s)


def copies_needed(ops: Ops, class_share: Number, instance_count: Number) -> Number:
    """Fewest holders that cover a class: ``ceil(x N)``.

    Args:
        ops: the world to compute in.
        class_share: x, in [0, 1]; exact.
        instance_count: N.

    Example:
        >>> from fractions import Fraction
        >>> from scheduler.ops import SCALAR
        >>> copies_needed(SCALAR, Fraction(9, 10), 16)
        15

    Source: claim ``replicate_to_coverage``.
    """
    return -ops.floor(-(class_share * instance_count))


def copies_missing(ops: Ops, class_share: Number, holder_count: Number, instance_count: Number) -> Number:
    """Further copies that cover a class: ``max(0, ceil(x N) - M)``.

    Args:
        ops: the world to compute in.
        class_share: x, in [0, 1]; exact.
        holder_count: M, >= 0.
        instance_count: N.

    Example:
        >>> from fractions import Fraction
        >>> from scheduler.ops import SCALAR
        >>> copies_missing(SCALAR, Fraction(9, 10), 6, 16), copies_missing(SCALAR, Fraction(1, 10), 6, 16)
        (9, 0)

    Source: claim ``replicate_to_coverage``.
    """
    return ops.max_(0, copies_needed(ops, class_share, instance_count) - holder_count)


def product_copies(
    ops: Ops, class_share: Number, holder_count: Number, instance_count: Number, leverage: Number
) -> Number:
    """Holders at which the product stops spilling, at any load: ``max(M, ceil(x N / (x + rho (1 - x))))``.

    Args:
        ops: the world to compute in.
        class_share: x, in [0, 1); exact.
        holder_count: M, the holders now, >= 1.
        instance_count: N.
        leverage: rho, >= 1; exact.

    Example:
        >>> from fractions import Fraction
        >>> from scheduler.ops import SCALAR
        >>> product_copies(SCALAR, Fraction(9, 10), 1, 16, 17)
        6

    Source: claim ``product_heals_only_to_its_leverage``.
    """
    quiet = class_share * instance_count / (class_share + leverage * (1 - class_share))
    return ops.max_(holder_count, -ops.floor(-quiet))


def keeps_the_peak(batch_outside: Number, batch_peak: Number) -> Number:
    """The condition under which a request to the least batch outside does not raise the largest batch anywhere.

    Args:
        batch_outside: least number of residents among the instances that do not hold the prefix [request].
        batch_peak: greatest number of residents among all [request].

    Example:
        >>> keeps_the_peak(3, 9), keeps_the_peak(9, 9)
        (True, False)

    Source: claim ``filter_mitigation``.
    """
    return batch_outside < batch_peak


def gap_between(start: Number, hot_rate: Number, cold_rate: Number, residence_s: Number, passed: Number) -> Number:
    """Gap between the residents of a holder and of another instance: ``g_0 (1 - y) + (a - b) T y`` [request].

    Args:
        start: g_0, the gap when the flows become a and b [request].
        hot_rate, cold_rate: a and b, flows to one of each [request/s].
        residence_s: T, the same for all requests, > 0 [s].
        passed: ``y = 1 - exp(-t/T)``, in [0, 1).

    Example:
        >>> gap_between(40, 1, 1, 8, 0.75)
        10.0

    Source: claim ``replicate_to_coverage``.
    """
    return start * (1 - passed) + (hot_rate - cold_rate) * residence_s * passed
