"""Reads traces in CSV: a header that names the columns, then one request a line.

Columns are found by name, in any order; those that nobody asked for are ignored, as unknown fields of JSON are. Values
are read strictly: what Python would also take for a number (``nan``, ``1_000``, digits of other scripts) is refused.
Errors are :class:`scheduler.errors.BadInput`, as in :mod:`replay.traces.fields`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence

from scheduler.errors import BadInput

#: Enough for every number that can be in a domain, and few enough for Python to write them in a message.
_WHOLE = re.compile(r"[+-]?[0-9]{1,1000}", re.ASCII)
_NUMBER = re.compile(r"[+-]?[0-9]{1,1000}(\.[0-9]{0,1000})?([eE][+-]?[0-9]{1,3})?", re.ASCII)


def values(line: bytes) -> list[str]:
    """The values on a line, without the blanks around them.

    Raises:
        BadInput: if the line is no text, or its quotes do not close.
    """
    try:
        # A line ends at its newline, so a value that goes on in the next line is a damaged one.
        row = next(csv.reader([line.decode().rstrip("\r\n")], strict=True), [])
    except UnicodeDecodeError:
        raise BadInput("line", line[:60], "UTF-8 text") from None
    except csv.Error as error:
        raise BadInput("line", _shown(line), "one line of comma-separated values", str(error)) from None
    return [value.strip() for value in row]


class Columns:
    """Where the wanted columns are.

    Args:
        header: the first line of the file.
        required: names of columns that must be there.
        optional: names of columns that may be missing; their values are then empty.

    Raises:
        BadInput: naming the column that is missing, or there twice.

    Example:
        >>> Columns(b"b,c,a", ("a",), ("b", "d")).texts(b"1,2,3")
        ['3', '1', '']
    """

    def __init__(self, header: bytes, required: Sequence[str], optional: Sequence[str] = ()) -> None:
        names = values(header)
        for name in (*required, *optional):
            if names.count(name) > 1:
                raise BadInput(name, f"{names.count(name)} columns of this name", "one")
            if name not in names and name in required:
                raise BadInput(name, ", ".join(names), "a column of this name in the header")
        self._count = len(names)
        self._places = [names.index(name) if name in names else None for name in (*required, *optional)]

    def texts(self, line: bytes) -> list[str]:
        """The values of the wanted columns on a line, required ones first.

        Raises:
            BadInput: unless the line has as many values as the header.
        """
        row = values(line)
        if len(row) != self._count:
            raise BadInput("line", _shown(line), f"{self._count} values, as the header has", f"it has {len(row)}")
        return ["" if place is None else row[place] for place in self._places]


def whole(field: str, text: str) -> int:
    """The integer that a value is.

    Raises:
        BadInput: naming the field.
    """
    if not _WHOLE.fullmatch(text):
        raise BadInput(field, text, "an integer")
    return int(text)


def number(field: str, text: str) -> int | float:
    """The number that a value is, in decimals; an integer if it is written as one.

    Raises:
        BadInput: naming the field.
    """
    if _WHOLE.fullmatch(text):
        return int(text)
    if not _NUMBER.fullmatch(text):
        raise BadInput(field, text, "a finite number")
    return float(text)


def _shown(line: bytes) -> str:
    return line[:60].decode(errors="replace").strip()
