"""Every error that argprod raises on purpose.

    ArgprodError
    ├── BadInput         a value the caller gave is outside its domain (exit code 2)
    │   └── BadTrace     the same, in a line of a trace file
    └── EngineFailure    an engine broke while it ran (exit code 1)
        └── JobRefused   an engine will not take this one request, and is none the worse

An expected outcome (a request that cannot fit, a queue that is full) is a value, not an error; a broken invariant is
an ``assert``. A message names what was wrong, where, what was expected and what to try.
"""

from __future__ import annotations

import difflib
import enum
from collections.abc import Iterable
from typing import Any, TypeGuard

#: Longest text of a value in a message.
LETTERS_SHOWN = 80
#: So many names are listed in a message, at most.
NAMES_SHOWN = 20
#: Whole numbers of more bits are told by their size; Python writes none of more than 4300 digits, 14,280 bits.
BITS_SHOWN = 4096


class Absent(enum.Enum):
    """Stands in a message for a value that was not given at all, where None is what somebody wrote."""

    MISSING = "missing"


class ArgprodError(Exception):
    """The root of all errors raised on purpose."""


class BadInput(ArgprodError):
    """A value is outside its domain.

    Args:
        field: the name of the argument or of the field, with its place (``instances[3].running``).
        value: what was received; ``Absent.MISSING`` if nothing was.
        expected: the domain in words (``an integer >= 0``).
        hint: what to try, or an empty string.

    Example:
        >>> str(BadInput("instances", 0, "an integer >= 1"))
        'instances: expected an integer >= 1, got 0'
    """

    def __init__(self, field: str, value: object, expected: str, hint: str = "") -> None:
        told = "it is missing" if value is Absent.MISSING else f"got {shown(value)}"
        super().__init__(f"{field}: expected {expected}, {told}" + (f" ({hint})" if hint else ""))
        self.field, self.value, self.expected, self.hint = field, value, expected, hint

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors cross process boundaries; what cannot be sent is sent as text."""
        return type(self), (self.field, _sendable(self.value), self.expected, self.hint)


class BadTrace(BadInput):
    """A line of a trace cannot be read.

    Args:
        source: the file or the name of the stream.
        line: the number of the line, from 1; 0 if the fault belongs to the whole file.
        field: the field within the line.
        value: what was received.
        expected: the domain in words.
        hint: what to try.
    """

    def __init__(self, source: str, line: int, field: str, value: object, expected: str, hint: str = "") -> None:
        place = f"{source}:{line}" if line else source
        super().__init__(f"{place}: {field}" if field else place, value, expected, hint)
        self.source, self.line, self._inner = source, line, field

    def __reduce__(self) -> tuple[Any, ...]:
        """See :class:`BadInput`."""
        inner = (self.source, self.line, self._inner, _sendable(self.value), self.expected, self.hint)
        return type(self), inner


def _sendable(value: object) -> object:
    return value if isinstance(value, str | int | float | bytes | Absent | None) else shown(value)


def shown(value: object) -> str:
    """A value for a message, on one line of at most 80 letters, whatever it is.

    Python refuses to write whole numbers of thousands of digits, and an object may raise when it is asked for its
    text; neither may hide the message.

    Example:
        >>> shown("a"), shown(10**5000)
        ("'a'", 'an integer of 16610 bits')
    """
    try:
        text = f"an integer of {value.bit_length()} bits" if _is_huge(value) else repr(value)
    except Exception:  # noqa: BLE001 - see above
        text = f"a value of type {type(value).__name__} that cannot be shown"
    return text if len(text) <= LETTERS_SHOWN else text[: LETTERS_SHOWN - 3] + "..."


def _is_huge(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and value.bit_length() > BITS_SHOWN


class EngineFailure(ArgprodError):
    """An engine stopped answering or broke its contract."""


class JobRefused(EngineFailure):
    """An engine will not take a request, say because it is too long; no fault of the engine's."""


def unknown_name(field: str, value: str, known: Iterable[str], listed_by: str = "") -> BadInput:
    """The error for a name that is in no catalogue, with the nearest names as the hint.

    Args:
        field: what it should name.
        value: what was received.
        known: the names.
        listed_by: the command that lists them, for when they are too many for a message.

    Example:
        >>> str(unknown_name("policy", "lmetrik", ["lmetric", "linear"]))
        "policy: expected one of linear, lmetric, got 'lmetrik' (nearest: lmetric)"
    """
    names = sorted(known)
    near = difflib.get_close_matches(value, names, n=3, cutoff=0.5)
    few = len(names) <= NAMES_SHOWN
    hints = [f"nearest: {', '.join(near)}"] if near else []
    hints += [f"all of them: {listed_by}"] if listed_by and not few else []
    return BadInput(
        field, value, f"one of {', '.join(names) if few else f'{len(names)} known names'}", "; ".join(hints)
    )
