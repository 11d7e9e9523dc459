"""Traces of Mooncake: ``{"timestamp": ms, "input_length", "output_length", "hash_ids"}``, one id per 512-token block.

Source: kvcache-ai/Mooncake, ``FAST25-release/traces``; docs/sources.md#mooncake-traces. The files know no sessions, so
every request arrives on its own, at its time stamp. Other tools write the same format with other block sizes:
``block_tokens`` says so.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from replay.traces.chain import Chain
from replay.traces.fields import OUTPUT_DOMAIN, PROMPT_DOMAIN, Clock, check_ids, decoder
from replay.traces.options import ReadOptions
from replay.traces.reading import ReadReport
from scheduler.errors import BadInput
from scheduler.state import Request

BLOCK_TOKENS = 512


class MooncakeLine(msgspec.Struct, frozen=True, gc=False):
    """One line; lengths in tokens."""

    timestamp: int | float
    input_length: int
    output_length: int
    hash_ids: list[int]


def recognises(names: frozenset[str]) -> bool:
    """True if a line with these fields is, or is meant to be, a line of this format."""
    return "hash_ids" in names or "input_length" in names


def reader(options: ReadOptions, report: ReadReport) -> Callable[[bytes], Request]:
    """The function from one line after the other to requests.

    An output length of 0 is read as 1 and counted in ``report.empty_outputs``: an engine that has done the prefill has
    also sampled one token, and the prefill is what such a request costs.

    Raises:
        BadInput: closed loop is asked for.

    Raises (the function):
        BadInput: naming the field; the line then has left no trace in the reader.
    """
    if options.closed_loop:
        raise BadInput("closed_loop", True, "false: the lines of a Mooncake trace name no turns")
    decode = decoder(MooncakeLine)
    clock = Clock("timestamp", 1000)
    chain = Chain()
    block_tokens = options.block_tokens or BLOCK_TOKENS

    def read(line: bytes) -> Request:
        row = decode(line)
        PROMPT_DOMAIN.check("input_length", row.input_length)
        OUTPUT_DOMAIN.check("output_length", row.output_length)
        check_ids("hash_ids", row.hash_ids, row.input_length, block_tokens, whole=True)
        clock.check(row.timestamp)
        report.empty_outputs += not row.output_length
        return Request(
            id=report.requests,
            arrival_s=clock.advance(row.timestamp),
            prompt_tokens=row.input_length,
            output_tokens=row.output_length or 1,
            block_keys=chain.keys(row.hash_ids),
            block_tokens=block_tokens,
        )

    return read
