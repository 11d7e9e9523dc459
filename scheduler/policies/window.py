"""Sums over a sliding window of time, as a persistent value: the old one stays valid, a step costs little.

A queue of tuples of at most ``CHUNK`` entries and one sum an instance. A step copies at most one chunk and, once in
``CHUNK`` steps, the list of the n/CHUNK chunks; tuples do not nest deeper as the window fills, so it can be pickled and
copied. Amounts are whole numbers (nanoseconds, tokens), so that sums do not drift however long the window runs.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

from scheduler.policies.common import widened

#: Entries in a full chunk.
CHUNK = 64

Entry = tuple[float, int, int]


class Window(NamedTuple):
    """What happened on each instance within the window.

    Args:
        totals: sum of the amounts in the window, one an instance.
        chunks: full chunks of ``(time_s, instance, amount)``, oldest first.
        newest: what came after them.
        gone: how many entries at the front have left already.
    """

    totals: tuple[int, ...]
    chunks: tuple[tuple[Entry, ...], ...] = ()
    newest: tuple[Entry, ...] = ()
    gone: int = 0


def opened(instance_count: int) -> Window:
    """A window in which nothing happened yet."""
    return Window((0,) * instance_count)


def added(window: Window, time_s: float, instance: int, amount: int) -> Window:
    """The window with one more amount; times should not go back, an earlier one leaves with its neighbours."""
    totals = list(widened(window.totals, instance + 1))
    totals[instance] += amount
    chunks, newest = window.chunks, (*window.newest, (time_s, instance, amount))
    if len(newest) == CHUNK:
        chunks, newest = (*chunks, newest), ()
    return Window(tuple(totals), chunks, newest, window.gone)


def expired(window: Window, before_s: float) -> Window:
    """The window without all that happened before a time.

    Example:
        >>> expired(added(added(opened(2), 1.0, 0, 5), 9.0, 1, 7), before_s=2.0).totals
        (0, 7)
    """
    totals, gone, dropped = list(window.totals), window.gone, 0
    for chunk in itertools.chain(window.chunks, (window.newest,)):
        while gone < len(chunk) and chunk[gone][0] < before_s:
            _, instance, amount = chunk[gone]
            totals[instance] -= amount
            gone += 1
        if gone < CHUNK:
            break
        gone, dropped = 0, dropped + 1
    if (gone, dropped) == (window.gone, 0):
        return window
    return Window(tuple(totals), window.chunks[dropped:], window.newest, gone)
