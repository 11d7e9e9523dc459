"""Exact numbers in words, those beyond binary64 among them."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction


def short(value: Fraction, digits: int = 6) -> str:
    """A number to a few digits, however large it is.

    Example:
        >>> short(Fraction(5, 4)), short(Fraction(10) ** 400, 2)
        ('1.25', '1.0e+400')
    """
    try:
        return f"{float(value):.{digits}g}"
    except OverflowError:
        return f"{Decimal(value.numerator) / Decimal(value.denominator):.{digits}g}"


def plain(value: Fraction) -> float | str:
    """A number as JSON holds it: a float, or its digits as text where no float is large enough.

    Example:
        >>> plain(Fraction(5, 4)), len(str(plain(Fraction(10) ** 400)))
        (1.25, 401)
    """
    try:
        return float(value)
    except OverflowError:
        return str(value)
