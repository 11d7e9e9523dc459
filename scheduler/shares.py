"""The share of a class to act on: over the longest window that still tells the same story as the shorter ones.

A short window is quick and noisy, a long one quiet and late after a change. Going from the shortest window up, each
gives an interval around its share; as soon as an interval no longer meets what all before have in common, something has
changed within that window, and the window before it is taken (intersection of confidence intervals: Goldenshluger and
Nemirovski, On spatially adaptive estimation of nonparametric regression, 1997).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from scheduler.prefix_tree import Node

#: Half width of the intervals in standard errors. After a step, and while all is steady, 1.5 asks for fewer copies too
#: many and too few than 2 and 3 do, and than the last 256 requests do; on a ramp it lags those a little.
WIDTH = 1.5


def settled_share(node: Node, number: int, windows: tuple[int, ...], width: float = WIDTH) -> tuple[float, int]:
    """Share of a class in the recent requests, and over how many of them it is counted.

    Args:
        node: the class.
        number: requests so far, >= 1.
        windows: lengths to choose from, ascending [request].
        width: half width of the intervals, > 0 [standard error].

    Example (nothing but this class for the last 64 of 128 requests):
        >>> node = Node(((1,),), 1, None, 16)
        >>> node.arrivals.extend(range(65, 129))
        >>> settled_share(node, 128, (32, 64, 128))
        (1.0, 64)
    """
    lowest, highest = 0.0, 1.0
    share, taken = 0.0, 0
    for window in windows:
        total = min(window, number)
        seen = node.count_since(number - total) / total
        half = width * math.sqrt(max(seen * (1 - seen), 1 / total) / total)
        lowest, highest = max(lowest, seen - half), min(highest, seen + half)
        if taken and lowest > highest:
            break
        share, taken = seen, total
        if total < window:
            break
    return share, taken


def copies_beside_others(
    share: float, counted: float, sent: Sequence[int], slots: Sequence[int], holders: int, imbalance_left: float
) -> int:
    """Holders to add to a class so that all of them together get no more than their part, other traffic included.

    The coverage law says how many holders a class needs if all other traffic can keep away from them. What is cached on
    the holders cannot: with it they form a union of classes (claim ``coverage_law_many_classes``). Holders are added
    where least is sent, each with what it gets anyway, until ``(x + y)/m <= R/N``.

    Args:
        share: x, share of the class in the work or the requests, in [0, 1].
        counted: its share of the requests, in [0, 1].
        sent: of the last requests, how many went to each slot; empty or all 0: others are taken to keep away.
        slots: slots of the N routable instances.
        holders: bitmask of the slots that hold the prefix.
        imbalance_left: R, mean load of the holders over the mean of all, >= 1.

    Example (half of the traffic, one of four holds it, the other half is spread evenly):
        >>> copies_beside_others(0.5, 0.5, (5, 1, 1, 1), (0, 1, 2, 3), 0b0001, 1.25)
        2
        >>> copies_beside_others(0.5, 0.5, (), (0, 1, 2, 3), 0b0001, 1.0)
        1
    """
    inside = [slot for slot in slots if holders >> slot & 1]
    outside = [slot for slot in slots if not holders >> slot & 1]
    total = sum(sent[slot] for slot in slots) if sent else 0
    others = max(0.0, sum(sent[slot] for slot in inside) / total - counted) if total else 0.0
    of_others = (1 - share) / (1 - counted) if counted < 1 else 0.0  # work of others by their requests
    load, target = share + others * of_others, imbalance_left / len(slots)
    count = len(inside)
    for added, slot in enumerate(sorted(outside, key=lambda slot: sent[slot] if total else 0)):
        if load <= (count + added) * target + 1e-12:
            return added
        load += sent[slot] / total * of_others if total else 0.0
    return len(outside) if load > 0 else 0
