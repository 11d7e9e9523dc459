"""Sums over a sliding window of time, as a persistent value: the old one stays valid, a step is amortised O(1).

A queue of two linked lists (newest first, oldest first; Okasaki, Purely Functional Data Structures, 5.2) and one sum an
instance. Amounts are whole numbers (nanoseconds, tokens), so that sums do not drift however long the window runs.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Window(NamedTuple):
    """What happened on each instance within the window.

    Args:
        totals: sum of the amounts in the window, one an instance.
        oldest: linked list ``(time_s, instance, amount, next)``, oldest first.
        newest: the same for what came after, newest first.
    """

    totals: tuple[int, ...]
    oldest: Any = None
    newest: Any = None


def opened(instance_count: int) -> Window:
    """A window in which nothing happened yet."""
    return Window((0,) * instance_count)


def added(window: Window, time_s: float, instance: int, amount: int) -> Window:
    """The window with one more amount; times should not go back, an earlier one leaves with its neighbours."""
    totals = list(window.totals)
    totals[instance] += amount
    return Window(tuple(totals), window.oldest, (time_s, instance, amount, window.newest))


def expired(window: Window, before_s: float) -> Window:
    """The window without all that happened before a time.

    Example:
        >>> expired(added(added(opened(2), 1.0, 0, 5), 9.0, 1, 7), before_s=2.0).totals
        (0, 7)
    """
    totals, oldest, newest = list(window.totals), window.oldest, window.newest
    changed = False
    while True:
        if oldest is None and newest is not None:
            changed = True
            while newest is not None:
                time_s, instance, amount, newest = newest
                oldest = (time_s, instance, amount, oldest)
        if oldest is None or oldest[0] >= before_s:
            return Window(tuple(totals), oldest, newest) if changed else window
        changed = True
        totals[oldest[1]] -= oldest[2]
        oldest = oldest[3]
