"""Traces of LLM inference in Azure, 2023 and 2024: CSV with ``TIMESTAMP,ContextTokens,GeneratedTokens``.

Source: Azure/AzurePublicDataset; docs/sources.md#azure-traces. ``TIMESTAMP`` is a date and a time of day, in 2023
without an offset (``2023-11-16 18:15:46.6805900``), in 2024 with one (``2024-05-10 00:00:00.009930+00:00``); as many
decimals as are needed, none for a full second. A time without an offset is taken as UTC.

The files do not say what prompts share, so no request has block keys: nothing is shared, and no cache ever hits.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable

from replay.traces.columns import Columns, whole
from replay.traces.fields import OUTPUT_DOMAIN, PROMPT_DOMAIN, Clock
from replay.traces.options import ReadOptions
from replay.traces.reading import ReadReport
from scheduler.errors import BadInput
from scheduler.state import Request

#: Without keys a block is only what memory is counted in. 16 tokens is what most engines take; with more, short
#: prompts would fill the cache with blocks that are mostly empty [token].
BLOCK_TOKENS = 16
TIME, PROMPT, OUTPUT = "TIMESTAMP", "ContextTokens", "GeneratedTokens"

_NS_PER_S = 10**9
_FORM = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[ T]([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9])(?:\.([0-9]{1,9}))?"
    r"(?:Z|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))?",
    re.ASCII,
)


def recognises(names: frozenset[str]) -> bool:
    """True if a header with these columns is, or is meant to be, one of this format."""
    return PROMPT in names or OUTPUT in names


def reader(options: ReadOptions, report: ReadReport) -> Callable[[bytes], Request | None]:
    """The function from one line after the other to requests; None for the header.

    A reply of 0 tokens is read as 1 and counted in ``report.empty_outputs``, as in :mod:`replay.traces.mooncake`.

    Raises:
        BadInput: closed loop is asked for.

    Raises (the function):
        BadInput: naming the field; the line then has left no trace in the reader.
    """
    if options.closed_loop:
        raise BadInput("closed_loop", True, "false: the lines of an Azure trace name no turns")
    clock = Clock(TIME, _NS_PER_S)
    columns: Columns | None = None
    block_tokens = options.block_tokens or BLOCK_TOKENS

    def read(line: bytes) -> Request | None:
        nonlocal columns
        if columns is None:
            columns = Columns(line, (TIME, PROMPT, OUTPUT))
            return None
        time, prompt, output = columns.texts(line)
        prompt_tokens = PROMPT_DOMAIN.check(PROMPT, whole(PROMPT, prompt))
        output_tokens = OUTPUT_DOMAIN.check(OUTPUT, whole(OUTPUT, output))
        time_ns = nanoseconds(time)
        clock.check(time_ns, time)
        report.empty_outputs += not output_tokens
        return Request(
            id=report.requests,
            arrival_s=clock.advance(time_ns, time),
            prompt_tokens=prompt_tokens,
            output_tokens=output_tokens or 1,
            block_tokens=block_tokens,
        )

    return read


def nanoseconds(text: str) -> int:
    """Nanoseconds from before the year 1 to a time stamp; whole ones, since a float of seconds would lose microseconds.

    Raises:
        BadInput: naming the field.

    Example:
        >>> later, earlier = "2024-05-10 02:00:01+02:00", "2024-05-09T23:59:59.9999999Z"
        >>> nanoseconds(later) - nanoseconds(earlier)
        1000000100
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise _no_time(text)
    date, hour, minute, second, fraction, sign, hours, minutes = match.groups()
    try:
        days = dt.date.fromisoformat(date).toordinal()
    except ValueError:
        raise _no_time(text) from None
    seconds = days * 86_400 + int(hour) * 3600 + int(minute) * 60 + int(second)
    if sign:
        seconds -= int(f"{sign}1") * (int(hours) * 3600 + int(minutes) * 60)
    return seconds * _NS_PER_S + int((fraction or "0").ljust(9, "0"))


def _no_time(text: str) -> BadInput:
    return BadInput(TIME, text, "a date and a time, as 2023-11-16 18:15:46.6805900 or 2024-05-10 00:00:00+00:00")
