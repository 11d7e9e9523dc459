"""Turns one line of JSON into a typed record, and says what is wrong where that fails.

The quick way is one call of a msgspec decoder. Only a line that it refuses is looked at again, slowly, field by
field, so that the message names the field, the value and what was expected. Errors raised here are
:class:`scheduler.errors.BadInput`; the reader that knows the file and the line turns them into
:class:`scheduler.errors.BadTrace`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from replay.traces.chain import BLOCK_ID_MAX
from scheduler.domains import REQUEST_DOMAINS, TIME_DOMAIN, TOKENS_MAX, Domain
from scheduler.errors import BadInput

PROMPT_DOMAIN = REQUEST_DOMAINS["prompt_tokens"]
#: Real traces hold replies of no tokens (cut off, or empty); see :func:`output_tokens`.
OUTPUT_DOMAIN = Domain(0, TOKENS_MAX, integer=True, unit="token")

_IN_WORDS: dict[object, str] = {
    int: "an integer",
    int | float: "a finite number",
    list[int]: "a list of integers",
    str: "text",
    int | str: "an integer or text",
    int | None: "an integer or null",
    int | float | None: "a finite number or null",
}

#: The longest trace [s]: no request arrives later than this after the first, see TIME_DOMAIN.
SPAN_S_MAX = 1e9

_UNITS = {1: "s", 1000: "ms", 10**9: "ns"}

Record = TypeVar("Record", bound=msgspec.Struct)


def decoder(record: type[Record]) -> Callable[[bytes], Record]:
    """The function from a line to a record; fields that the record does not know are ignored.

    Raises (the function):
        BadInput: naming the first field that is missing or of the wrong kind.
    """
    quick = msgspec.json.Decoder(record).decode

    def decode(line: bytes) -> Record:
        try:
            if not line.isascii():
                line.decode()
            return quick(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise explained(line, record) from None

    return decode


def loosely(line: bytes) -> dict[str, Any]:
    """The object on a line as Python's own reader sees it, which lets NaN and Infinity pass so that they can be named.

    Raises:
        BadInput: if the line is no JSON object.
    """
    try:
        row = json.loads(line.decode())
    except UnicodeDecodeError:
        raise BadInput("line", line[:60], "UTF-8 text") from None
    except (ValueError, RecursionError) as error:
        raise BadInput("line", _shown(line), "one JSON object", str(error)[:60]) from None
    if not isinstance(row, dict):
        raise BadInput("line", _shown(line), "one JSON object a line")
    return row


def explained(line: bytes, record: type[msgspec.Struct]) -> BadInput:
    """The error for a line that the decoder of ``record`` refused."""
    try:
        row = loosely(line)
    except BadInput as error:
        return error
    for field in msgspec.structs.fields(record):
        words = _IN_WORDS[field.type]
        if field.encode_name not in row:
            if field.required:
                return BadInput(field.encode_name, None, f"{words}, in every line", f"the line has {_names(row)}")
            continue
        value = row[field.encode_name]
        if isinstance(value, list) and field.type == list[int]:
            for index, item in enumerate(value):
                if isinstance(item, bool) or not isinstance(item, int):
                    return BadInput(f"{field.encode_name}[{index}]", item, "an integer")
        try:
            msgspec.convert(value, field.type)
        except msgspec.ValidationError:
            return BadInput(field.encode_name, value, words)
        if isinstance(value, float) and not math.isfinite(value):
            return BadInput(field.encode_name, value, words)
    return BadInput("line", _shown(line), "strict JSON, without NaN or Infinity")


class Clock:
    """Times of arrival, from the first request on and never backwards.

    Args:
        field: the name of the field, for messages.
        units_per_s: 1000 for a trace in milliseconds; times may be integers of any size.
    """

    def __init__(self, field: str, units_per_s: int = 1) -> None:
        self._field, self._units_per_s = field, units_per_s
        self._domain = Domain(TIME_DOMAIN.low, None if units_per_s > 1000 else 1e16, unit=_UNITS[units_per_s])
        self._first: float | None = None
        self._before: float = 0
        self._before_text = ""

    def check(self, time: float, text: str | None = None) -> None:
        """Refuse a time that is no time, lies before the request before, or further behind the first than a run can be.

        Args:
            time: in units of the clock.
            text: how the file writes it, if otherwise than by this number.

        Raises:
            BadInput: naming both times.
        """
        self._domain.check(self._field, time)
        if self._first is None:
            return
        told = time if text is None else text
        if time < self._before:
            expected = f"a time that does not go back from {self._before_text}, that of the request before"
            raise BadInput(self._field, told, expected)
        if time - self._first > SPAN_S_MAX * self._units_per_s:
            expected = (
                f"a time at most {SPAN_S_MAX:g} s after the first request; the one before is at {self._before_text}"
            )
            raise BadInput(self._field, told, expected)

    def advance(self, time: float, text: str | None = None) -> float:
        """Move to a checked time; the seconds since the first request [s]."""
        if self._first is None:
            self._first = time
        self._before = time
        self._before_text = repr(time) if text is None else text
        return (time - self._first) / self._units_per_s


def check_ids(field: str, ids: list[int], prompt_tokens: int, block_tokens: int, *, whole: bool) -> None:
    """Refuse a list of block ids that does not fit the prompt.

    Args:
        field: the name of the field, for messages.
        ids: one id a block.
        prompt_tokens: length of the prompt [token].
        block_tokens: tokens in a block [token].
        whole: True if every full block must have its id (the last, partial one may be left out). Both public formats
            list them all, so a shorter list is a damaged one. False: any number up to all.

    Raises:
        BadInput: naming the number of ids and what fits.
    """
    most = -(-prompt_tokens // block_tokens)
    least = prompt_tokens // block_tokens if whole else 0
    if not least <= len(ids) <= most:
        expected = f"{least} to {most} ids" if least < most else f"{most} ids"
        raise BadInput(field, f"{len(ids)} ids", f"{expected} ({prompt_tokens} tokens in blocks of {block_tokens})")
    if ids and (min(ids) < 0 or max(ids) > BLOCK_ID_MAX):
        index = next(index for index, block in enumerate(ids) if not 0 <= block <= BLOCK_ID_MAX)
        raise BadInput(f"{field}[{index}]", ids[index], "an id from 0 to 2**64 - 1")


def _names(row: dict[str, Any]) -> str:
    return ", ".join(str(name)[:30] for name in list(row)[:8]) or "no field"


def _shown(line: bytes) -> str:
    return line[:60].decode(errors="replace").strip()
