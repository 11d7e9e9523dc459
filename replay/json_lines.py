"""Logs of JSON lines that say all they can when their writer was interrupted: written line by line, read to the end.

The last line may have been cut short; without its newline it is left out. A line before it that cannot be read is an
error, which names it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

import msgspec

from scheduler.errors import BadTrace

#: Letters of a line that an error shows.
_LETTERS = 80


def write_lines(file: IO[bytes], entries: Iterable[Any]) -> None:
    """Write entries, one a line, and let them leave this process."""
    file.write(b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries))
    file.flush()


def read_lines(path: Path, expected: str, heard: Callable[[int, bytes], None]) -> None:
    """Read a log.

    Args:
        path: of the file.
        expected: what it should be, for errors.
        heard: told of each line that is not empty, and of its number from 1. What it cannot decode it lets through as
            :class:`msgspec.MsgspecError`.

    Raises:
        BadTrace: for a line that cannot be read, but for the last, if it was cut short behind the first.
        OSError: if the file cannot be read.
    """
    rows, begun = path.read_bytes().split(b"\n"), False
    for number, row in enumerate(rows, 1):
        if not row.strip():
            continue
        try:
            heard(number, row)
        except msgspec.MsgspecError as fault:
            if number == len(rows) and begun:  # no newline behind it: it was being written
                return
            told = row[:_LETTERS].decode("utf-8", "replace")
            raise BadTrace(str(path), number, "", told, expected, str(fault)) from None
        begun = True
    if not begun:
        raise BadTrace(str(path), 0, "", "nothing", expected)
