"""Traces of Qwen on Bailian: a line a turn, with its parent turn and one id per 16-token block.

``{"chat_id", "parent_chat_id" (-1 at the root), "timestamp" (s), "input_length", "output_length", "type", "turn",
"hash_ids"}``. Source: alibaba-edu/qwen-bailian-usagetraces-anon, README.md; docs/sources.md#bailian-traces. An id names
the content of its one block, not the chain before it, so ids are chained here. ``type`` (text, search, image, file)
becomes the request's ``group``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from replay.traces.chain import Chain
from replay.traces.fields import OUTPUT_DOMAIN, PROMPT_DOMAIN, Clock, check_ids, decoder
from replay.traces.options import ReadOptions
from replay.traces.reading import ReadReport
from scheduler.state import Request

BLOCK_TOKENS = 16
ROOT = -1


class BailianLine(msgspec.Struct, frozen=True, gc=False):
    """One line; lengths in tokens, time in seconds. ``turn`` is not read: following the parents says more."""

    chat_id: int | str
    timestamp: int | float
    input_length: int
    output_length: int
    hash_ids: list[int]
    parent_chat_id: int | str = ROOT
    type: str = ""


class _Turn(NamedTuple):
    """What a later turn needs to know of its parent."""

    id: int
    session: int
    arrival_s: float


def recognises(names: frozenset[str]) -> bool:
    """True if a line with these fields is, or is meant to be, a line of this format."""
    return "chat_id" in names or "parent_chat_id" in names


def reader(options: ReadOptions, report: ReadReport) -> Callable[[bytes], Request]:
    """The function from one line after the other to requests.

    The session is that of the parent; a turn whose parent is not among the lines before begins a session of its own
    and is counted in ``report.links_cut`` (the published files are cuts out of longer logs). With
    ``options.closed_loop`` a turn has ``after`` = the id of its parent and ``think_s`` = the gap between the two
    arrivals. The file does not say when the parent's reply ended, so this gap holds the reply's own duration too: an
    upper bound of the pause. An output length of 0 is read as 1 and counted, as in :mod:`replay.traces.mooncake`.

    Raises (the function):
        BadInput: naming the field; the line then has left no trace in the reader.
    """
    decode = decoder(BailianLine)
    clock = Clock("timestamp")
    chain = Chain()
    block_tokens = options.block_tokens or BLOCK_TOKENS
    turns: dict[int | str, _Turn] = {}
    sessions = 0

    def read(line: bytes) -> Request:
        nonlocal sessions
        row = decode(line)
        PROMPT_DOMAIN.check("input_length", row.input_length)
        OUTPUT_DOMAIN.check("output_length", row.output_length)
        check_ids("hash_ids", row.hash_ids, row.input_length, block_tokens, whole=True)
        clock.check(row.timestamp)
        arrival_s = clock.advance(row.timestamp)
        parent = None if row.parent_chat_id == ROOT else turns.get(row.parent_chat_id)
        report.links_cut += parent is None and row.parent_chat_id != ROOT
        report.empty_outputs += not row.output_length
        if parent is None:
            session = sessions
            sessions += 1
        else:
            session = parent.session
        turns[row.chat_id] = _Turn(report.requests, session, arrival_s)
        linked = parent if options.closed_loop else None
        return Request(
            id=report.requests,
            arrival_s=arrival_s,
            prompt_tokens=row.input_length,
            output_tokens=row.output_length or 1,
            block_keys=chain.keys(row.hash_ids),
            block_tokens=block_tokens,
            session=session,
            after=linked.id if linked else None,
            think_s=arrival_s - linked.arrival_s if linked else 0.0,
            group=row.type,
        )

    return read
