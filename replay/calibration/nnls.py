"""Least squares with coefficients that are never negative, for a handful of columns.

Where SciPy is installed its solver does it; a machine that only measures may lack it. Then every set of columns is
tried: the best fit is the plain least squares fit on some set of columns, all of whose coefficients are positive
(Lawson and Hanson, *Solving Least Squares Problems*, chapter 23), and of five columns there are 32 sets. Both give the
same numbers; a test compares them.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def non_negative_least_squares(matrix: Array, target: Array) -> Array:
    """The non-negative ``x`` of least ``|matrix x - target|``.

    Args:
        matrix: independent columns; of about equal length, or the result loses digits.
        target: one number a row.

    Example:
        >>> non_negative_least_squares(np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([2.0, 5.0])).round(9).tolist()
        [2.0, 3.0]
    """
    triangle, rotated = reduced(matrix, target)
    try:
        from scipy.optimize import nnls
    except ImportError:
        return by_active_sets(triangle, rotated)
    return np.asarray(nnls(triangle, rotated)[0], dtype=np.float64)


def by_active_sets(matrix: Array, target: Array) -> Array:
    """The same, by trying every set of columns; for at most a dozen.

    Example:
        >>> by_active_sets(np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([2.0, 1.0])).round(9).tolist()
        [1.5, 0.0]
    """
    count = matrix.shape[1]
    best, least = np.zeros(count), float(target @ target)
    for size in range(1, count + 1):
        for chosen in combinations(range(count), size):
            columns = matrix[:, chosen]
            found = np.linalg.lstsq(columns, target, rcond=None)[0]
            if found.min() < 0:
                continue
            rest = target - columns @ found
            if float(rest @ rest) < least:
                least = float(rest @ rest)
                best = np.zeros(count)
                best[list(chosen)] = found
    return best


def reduced(matrix: Array, target: Array) -> tuple[Array, Array]:
    """A problem of as many rows as columns with the same solutions: least squares does not see a rotation."""
    rotation, triangle = np.linalg.qr(matrix)
    return np.asarray(triangle, dtype=np.float64), np.asarray(rotation.T @ target, dtype=np.float64)
