"""What is known of one prefix class: how much of the traffic and of the work it is, and who holds its prefix."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from scheduler.domains import REQUESTS_MAX, TOKENS_MAX, Domain

#: The domains of the fields that are numbers, in the order of :class:`ClassTraffic`; all but ``share`` may be None.
TRAFFIC_DOMAINS: Mapping[str, Domain] = MappingProxyType(
    {
        "share": Domain(0, 1, unit="share of the traffic", typical_high=1),
        "work_share": Domain(0, 1, unit="share of the traffic", typical_high=1),
        "window_requests": Domain(0, 2**40, integer=True, unit="request", typical_high=4096),
        "resident_requests": Domain(0, 2**40, integer=True, unit="request", typical_high=4096),
        "prefix_tokens": Domain(0, TOKENS_MAX, integer=True, unit="token", typical_high=20_000),
        "streak": Domain(0, 2**40, integer=True, unit="request", typical_high=64),
        "copies_missing": Domain(0, REQUESTS_MAX, integer=True, unit="instance", typical_high=16),
    }
)

#: Those that are true or false, or None.
TRAFFIC_FLAGS = ("applies", "alarmed")


class ClassTraffic(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one prefix class.

    Classes that are given together are taken as disjoint, but for those that the request at hand belongs to: these hold
    each other, as the prefixes of one prompt do, and only the largest of them counts in a sum.

    Args:
        name: of the class.
        share: its share of the requests, in [0, 1].
        work_share: its share of the occupied batch slots (residence in place), in [0, 1], or None.
        window_requests: over how many requests the share was counted, or None if it is known without error.
        resident_requests: over how many resident requests the work share was counted; None: as ``window_requests``.
        holders: indices of the instances that hold its prefix.
        prefix_tokens: length of the prefix that its requests share, or None [token].
        streak: how many requests of the class in a row, up to now, the rule would have sent to a holder, or None.
        applies: whether the request at hand belongs to the class; None: if its group has the name of the class.
        alarmed: whether a monitor has tested it: its alarm stands until the class is covered, and nobody tests again.
        copies_missing: how many further holders the monitor wants, or None: as many as the share asks for.

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
    alarmed: bool | None = None
    copies_missing: int | None = None
