"""Rates, windows and limits on a stream of requests, lazily, whatever the stream came from.

Ids are kept. A request whose ``after`` names a request that the shaping left out loses that link: it then arrives on
its own, at its ``arrival_s``, and :class:`ShapeReport` counts it. ``limited`` never cuts a link, since links lead
backwards.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

from scheduler.domains import Domain
from scheduler.errors import BadInput
from scheduler.state import Request

RATE_SCALE_DOMAIN = Domain(0, None, unit="1", low_open=True)
LIMIT_DOMAIN = Domain(1, None, integer=True, unit="request")
START_DOMAIN = Domain(0, None, unit="s")


@dataclass
class ShapeReport:
    """What shaping has done so far.

    Args:
        kept: requests given.
        dropped: requests left out before the window; those after it are never drawn.
        links_cut: requests whose ``after`` led to one left out.
    """

    kept: int = 0
    dropped: int = 0
    links_cut: int = 0


def scaled(requests: Iterable[Request], rate_scale: float) -> Iterator[Request]:
    """Divide the gaps between arrivals by ``rate_scale``: 2 sends the same requests in half the time.

    Think times stay as they are. Where later turns wait for replies, a higher rate thus means more users and not more
    hasty ones; where arrivals are replayed as they stand, think times are not looked at. Scaling by a and then by b
    is scaling by ab.

    Raises:
        BadInput: unless ``rate_scale`` is a finite number > 0.
    """
    RATE_SCALE_DOMAIN.check("rate_scale", rate_scale)
    return iter(requests) if rate_scale == 1 else _scaled(requests, rate_scale)


def windowed(
    requests: Iterable[Request], from_s: float = 0.0, to_s: float | None = None, report: ShapeReport | None = None
) -> Iterator[Request]:
    """Keep the requests that arrive in [from_s, to_s), with times counted from ``from_s``.

    Args:
        requests: in order of arrival; nothing is drawn behind the first request at or after ``to_s``.
        from_s: start of the window [s].
        to_s: end of the window, or None for no end [s].
        report: counts what was kept, dropped and cut.

    Raises:
        BadInput: unless 0 <= from_s < to_s.
    """
    START_DOMAIN.check("from_s", from_s)
    if to_s is not None and (isinstance(to_s, bool) or math.isnan(to_s) or to_s <= from_s):
        raise BadInput("to_s", to_s, f"a time > {from_s!r}, the start of the window [s]")
    return _windowed(requests, from_s, to_s, ShapeReport() if report is None else report)


def limited(requests: Iterable[Request], limit: int | None) -> Iterator[Request]:
    """The first ``limit`` requests, or all of them for None.

    Raises:
        BadInput: unless ``limit`` is an integer >= 1.
    """
    if limit is not None:
        LIMIT_DOMAIN.check("limit", limit)
    return itertools.islice(requests, limit)


def _scaled(requests: Iterable[Request], rate_scale: float) -> Iterator[Request]:
    first_s: float | None = None
    for request in requests:
        if first_s is None:
            first_s = request.arrival_s
        yield msgspec.structs.replace(request, arrival_s=first_s + (request.arrival_s - first_s) / rate_scale)


def _windowed(requests: Iterable[Request], from_s: float, to_s: float | None, report: ShapeReport) -> Iterator[Request]:
    kept: set[int] = set()
    for request in requests:
        if to_s is not None and request.arrival_s >= to_s:
            return
        if request.arrival_s < from_s:
            report.dropped += 1
            continue
        report.kept += 1
        kept.add(request.id)
        lost = request.after is not None and request.after not in kept
        report.links_cut += lost
        if lost:
            request = msgspec.structs.replace(request, arrival_s=request.arrival_s - from_s, after=None, think_s=0.0)
        elif from_s:
            request = msgspec.structs.replace(request, arrival_s=request.arrival_s - from_s)
        yield request
