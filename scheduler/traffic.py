"""What is known of one prefix class: how much of the traffic and of the work it is, and who holds its prefix."""

from __future__ import annotations

import msgspec


class ClassTraffic(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one prefix class.

    Args:
        name: of the class.
        share: its share of the requests, in [0, 1].
        work_share: its share of the occupied batch slots (residence in place), in [0, 1], or None.
        window_requests: over how many requests the share was counted, or None if it is known without error.
        resident_requests: over how many resident requests the work share was counted, or None likewise.
        holders: indices of the instances that hold its prefix.
        prefix_tokens: length of the prefix that its requests share, or None [token].
        streak: how many requests of the class in a row, up to now, the rule would have sent to a holder, or None.
        applies: whether the request at hand belongs to the class; None: if its group has the name of the class.

    Example (half of all requests on one of four instances):
        >>> ClassTraffic(name="system prompt", share=0.5, window_requests=200, holders=(0,)).work_share is None
        True

    Source: claims ``coverage_law``, ``coverage_law_by_work``, ``confirmation``.
    """

    name: str
    share: float
    work_share: float | None = None
    window_requests: int | None = None
    resident_requests: int | None = None
    holders: tuple[int, ...] = ()
    prefix_tokens: int | None = None
    streak: int | None = None
    applies: bool | None = None
