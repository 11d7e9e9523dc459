"""Traces of BurstGPT: CSV with ``Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type``.

Source: HPMLL/BurstGPT, README.md; docs/sources.md#burstgpt-traces. ``Timestamp`` is in seconds from the first day's
midnight. The second release adds ``Session ID`` (empty for calls of the API) and ``Elapsed time``. Model and log type
become the request's ``group``. Not read: ``Total tokens``, the sum of the two before it, and ``Elapsed time``.

The files do not say what prompts share, so no request has block keys: nothing is shared, and no cache ever hits.
"""

from __future__ import annotations

from collections.abc import Callable

from replay.traces.columns import Columns, number, whole
from replay.traces.fields import OUTPUT_DOMAIN, PROMPT_DOMAIN, Clock
from replay.traces.options import ReadOptions
from replay.traces.reading import ReadReport
from scheduler.errors import BadInput
from scheduler.state import Request

#: As in :mod:`replay.traces.azure` [token].
BLOCK_TOKENS = 16
TIME, PROMPT, OUTPUT = "Timestamp", "Request tokens", "Response tokens"
MODEL, LOG_TYPE, SESSION = "Model", "Log Type", "Session ID"


def recognises(names: frozenset[str]) -> bool:
    """True if a header with these columns is, or is meant to be, one of this format."""
    return PROMPT in names or OUTPUT in names


def reader(options: ReadOptions, report: ReadReport) -> Callable[[bytes], Request | None]:
    """The function from one line after the other to requests; None for the header and for requests that failed.

    A reply of 0 tokens marks a request that failed. Nobody knows what it cost, and the publishers give every file a
    second time without these; so they are left out and counted in ``report.failed_left_out``. A file with failures
    gives the same requests as the one without.

    Sessions are numbered as they appear. They are for figures about a trace: since nothing is known of what the turns
    of a session share or wait for, they share nothing and wait for nothing here.

    Raises:
        BadInput: closed loop is asked for.

    Raises (the function):
        BadInput: naming the field; the line then has left no trace in the reader.
    """
    if options.closed_loop:
        raise BadInput("closed_loop", True, "false: the lines of a BurstGPT trace do not say what turns wait for")
    clock = Clock(TIME)
    columns: Columns | None = None
    block_tokens = options.block_tokens or BLOCK_TOKENS
    sessions: dict[str, int] = {}
    groups: dict[tuple[str, str], str] = {}

    def read(line: bytes) -> Request | None:
        nonlocal columns
        if columns is None:
            columns = Columns(line, (TIME, PROMPT, OUTPUT), (MODEL, LOG_TYPE, SESSION))
            return None
        when, prompt, output, model, log_type, session = columns.texts(line)
        prompt_tokens, output_tokens = whole(PROMPT, prompt), whole(OUTPUT, output)
        OUTPUT_DOMAIN.check(OUTPUT, output_tokens)
        # A request that failed may have failed before anyone counted its tokens.
        (PROMPT_DOMAIN if output_tokens else OUTPUT_DOMAIN).check(PROMPT, prompt_tokens)
        time = number(TIME, when)
        clock.check(time, when)
        if not output_tokens:
            report.failed_left_out += 1
            return None
        return Request(
            id=report.requests,
            arrival_s=clock.advance(time, when),
            prompt_tokens=prompt_tokens,
            output_tokens=output_tokens,
            block_tokens=block_tokens,
            session=sessions.setdefault(session, len(sessions)) if session else None,
            # One text a group, not one a request: there are millions of them.
            group=groups.setdefault((model, log_type), ", ".join(filter(None, (model, log_type)))),
        )

    return read
