"""Why requests were lost, in few lines: reasons that differ in numbers only are one, with the range of each number."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TypeVar

Each = TypeVar("Each")
_NUMBER = r"\d+(?:\.\d+)?"


def alike(
    found: Iterable[Each], reason_of: Callable[[Each], str], name_of: Callable[[Each], str | None] = lambda _: None
) -> list[tuple[str, list[Each]]]:
    """What was lost by reason, the most frequent first, with the reason as it is told of all of them.

    Args:
        found: what was lost.
        reason_of: gives the reason of each.
        name_of: gives a name whose digits are no numbers, as that of an instance is; None: there is none.

    Example:
        >>> alike(["900 tokens never fit", "is gone", "70 tokens never fit"], str)
        [('70 to 900 tokens never fit', ['900 tokens never fit', '70 tokens never fit']), ('is gone', ['is gone'])]
    """
    grouped: dict[tuple[str, ...], list[tuple[Each, list[str]]]] = {}
    for one in found:
        words, numbers = _parts(reason_of(one), name_of(one))
        grouped.setdefault(words, []).append((one, numbers))
    told = []
    for words, members in sorted(grouped.items(), key=lambda item: -len(item[1])):
        columns = zip(*(numbers for _, numbers in members), strict=True)
        ranges = [_range(column) for column in columns]
        text = "".join(word + number for word, number in zip(words, [*ranges, ""], strict=True))
        told.append((text, [one for one, _ in members]))
    return told


def _parts(reason: str, name: str | None) -> tuple[tuple[str, ...], list[str]]:
    """The words between the numbers, and the numbers."""
    pattern = _NUMBER if not name else f"{re.escape(name)}|{_NUMBER}"
    words, numbers, end = [""], [], 0
    for match in re.finditer(pattern, reason):
        words[-1] += reason[end : match.start()]
        end = match.end()
        if match.group() == name:
            words[-1] += match.group()
        else:
            numbers.append(match.group())
            words.append("")
    words[-1] += reason[end:]
    return tuple(words), numbers


def _range(numbers: Iterable[str]) -> str:
    found = sorted(set(numbers), key=float)
    return found[0] if len(found) == 1 else f"{found[0]} to {found[-1]}"
