"""argprod's own JSON lines: the fields of :class:`scheduler.state.Request` under their own names.

    {"id": 7, "arrival_s": 12.5, "prompt_tokens": 1000, "output_tokens": 50, "block_keys": [0, 1], "block_tokens": 512,
     "expected_output_tokens": 64.0, "session": 3, "after": 2, "think_s": 1.5, "group": "chat"}

Required: ``arrival_s`` [s], ``prompt_tokens`` and ``output_tokens`` (both >= 1). The rest is optional: ``block_keys``
(ids of the blocks in order, any number up to all of them, for a prompt may be cacheable in part), ``block_tokens``
(512; one size in a file), ``expected_output_tokens``, ``session``, ``after`` with ``think_s`` (this request is sent
``think_s`` seconds after the reply to request ``after``, an id of a line before), ``group``, ``id`` (rising from line
to line; left out, one more than before). ``docs/formats.md`` has the domains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import BinaryIO

import msgspec

from replay.traces.chain import Chain
from replay.traces.fields import PROMPT_DOMAIN, Clock, check_ids, decoder
from replay.traces.options import ReadOptions
from replay.traces.reading import ReadReport
from scheduler.domains import REQUEST_DOMAINS, TIME_DOMAIN
from scheduler.errors import BadInput
from scheduler.state import Request, checked_request

BLOCK_TOKENS = 512


class OwnLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line, see the head of this file."""

    arrival_s: int | float
    prompt_tokens: int
    output_tokens: int
    block_keys: list[int] = msgspec.field(default_factory=list)
    block_tokens: int | None = None
    expected_output_tokens: int | float | None = None
    session: int | None = None
    after: int | None = None
    think_s: int | float = 0.0
    group: str = ""
    id: int | None = None


def recognises(names: frozenset[str]) -> bool:
    """True if a line with these fields is, or is meant to be, a line of this format."""
    return "arrival_s" in names or "prompt_tokens" in names


def reader(options: ReadOptions, report: ReadReport) -> Callable[[bytes], Request]:
    """The function from one line after the other to requests.

    A link to a request that is not among the lines before is an error, unless a bad line was skipped before: then the
    link may have led there, and it is cut and counted in ``report.links_cut``.

    ``options.closed_loop=False`` leaves all links out. Without a link ``think_s`` means nothing and is read as 0.

    Raises (the function):
        BadInput: naming the field; the line then has left no trace in the reader.
    """
    decode = decoder(OwnLine)
    clock = Clock("arrival_s")
    chain = Chain()
    seen: set[int] = set()
    last_id = -1
    block_tokens_before = 0

    def read(line: bytes) -> Request:
        nonlocal last_id, block_tokens_before
        row = decode(line)
        wanted_tokens = block_tokens_before or options.block_tokens
        block_tokens = (wanted_tokens or BLOCK_TOKENS) if row.block_tokens is None else row.block_tokens
        if wanted_tokens and block_tokens != wanted_tokens:
            why = "as in the lines before" if block_tokens_before else "as asked for"
            raise BadInput("block_tokens", block_tokens, f"{wanted_tokens}, {why}")
        _check(row, block_tokens, last_id)
        clock.check(row.arrival_s)
        after = row.after
        if after is not None and after not in seen:
            if not report.skipped:
                raise BadInput("after", after, "the id of a request in a line before")
            report.links_cut += 1
            after = None
        if options.closed_loop is False:
            after = None
        last_id = last_id + 1 if row.id is None else row.id
        seen.add(last_id)
        block_tokens_before = block_tokens
        return Request(
            id=last_id,
            arrival_s=clock.advance(row.arrival_s),
            prompt_tokens=row.prompt_tokens,
            output_tokens=row.output_tokens,
            block_keys=chain.keys(row.block_keys),
            block_tokens=block_tokens,
            expected_output_tokens=row.expected_output_tokens,
            session=row.session,
            after=after,
            think_s=row.think_s if after is not None else 0.0,
            group=row.group,
        )

    return read


def write(requests: Iterable[Request], file: BinaryIO) -> int:
    """Write requests as lines of this format; the number of lines.

    What :func:`reader` makes of them is the same requests, with times counted from the first arrival and block keys
    numbered in order of first appearance.

    Raises:
        BadInput: of a request that could not be read back, naming its place and field.
    """
    encode = msgspec.json.Encoder().encode
    count = 0
    for request in requests:
        try:
            checked_request(request)
        except BadInput as fault:
            field = f"requests[{count}].{fault.field.removeprefix('request.')}"
            raise BadInput(field, fault.value, fault.expected, fault.hint) from None
        line = OwnLine(
            id=request.id,
            arrival_s=request.arrival_s,
            prompt_tokens=request.prompt_tokens,
            output_tokens=request.output_tokens,
            block_keys=list(request.block_keys),
            block_tokens=request.block_tokens,
            expected_output_tokens=request.expected_output_tokens,
            session=request.session,
            after=request.after,
            think_s=request.think_s,
            group=request.group,
        )
        file.write(encode(line) + b"\n")
        count += 1
    return count


def _check(row: OwnLine, block_tokens: int, last_id: int) -> None:
    """Refuse numbers outside their domains.

    Raises:
        BadInput: naming the field.
    """
    PROMPT_DOMAIN.check("prompt_tokens", row.prompt_tokens)
    PROMPT_DOMAIN.check("output_tokens", row.output_tokens)
    REQUEST_DOMAINS["block_tokens"].check("block_tokens", block_tokens)
    if row.expected_output_tokens is not None:
        REQUEST_DOMAINS["expected_output_tokens"].check("expected_output_tokens", row.expected_output_tokens)
    TIME_DOMAIN.check("think_s", row.think_s)
    check_ids("block_keys", row.block_keys, row.prompt_tokens, block_tokens, whole=False)
    if row.id is not None and row.id <= last_id:
        raise BadInput("id", row.id, f"an integer > {last_id}, the id of the request before")
