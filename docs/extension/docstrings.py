"""Docstrings of the house as Markdown: sentences, then ``Args``, ``Returns``, ``Raises``, ``Example``, ``Source``.

Names in roles become links where the book has them, claims lead to their statement, sources to the page of sources.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator

from theory.registry import claims

#: From the target of a role, ``scheduler.router.Router``, to its public name, which the reference has, or None.
Address = Callable[[str], str | None]

_LISTS = ("Args", "Attributes", "Raises")
_HEAD = re.compile(r"^(Args|Attributes|Returns|Raises|Example|Source)( \([^)]*\))?:(?: (.*))?$")
_ENTRY = re.compile(r"^(\*{0,2}[A-Za-z_][\w.]*(?:, \*{0,2}[A-Za-z_][\w.]*)*): (.*)$", flags=re.DOTALL)
_CODE = re.compile(r":\w+:`[^`]+`|``.+?``|`[^`]+`", flags=re.DOTALL)
_SOURCE = re.compile(r"docs/sources\.md#([\w-]+)")


def inline(text: str, address: Address) -> str:
    """Running text: code stays code, all else is shown as it is."""
    parts: list[str] = []
    end = 0
    near_claim = _claims_in(text)
    for found in _CODE.finditer(text):
        parts.append(_shown(text[end : found.start()]))
        parts.append(_code(found, found.start() in near_claim, address))
        end = found.end()
    return "".join((*parts, _shown(text[end:])))


def _claims_in(text: str) -> set[int]:
    """Where a name in code is that of a claim: behind the word, alone or in a list."""
    places: set[int] = set()
    for found in re.finditer(r"\bclaims?\s+((?:``\w+``(?:,\s+and\s+|,\s+|\s+and\s+)?)+)", text):
        for name in re.finditer(r"``(\w+)``", found[1]):
            if name[1] in claims():
                places.add(found.start(1) + name.start())
    return places


def _code(found: re.Match[str], is_claim: bool, address: Address) -> str:
    text = found[0]
    if text.startswith(":"):
        target = text.partition("`")[2].rstrip("`")
        short = target.removeprefix("~")
        name = short.rpartition(".")[2] if target.startswith("~") else short
        public = address(short)
        return f"`{name}`" if public is None else f"{{py:obj}}`{name} <{public}>`"
    if is_claim:
        return f"{{prf:ref}}`{text.strip('`').replace('_', ' ')} <{text.strip('`')}>`"
    return " ".join(text.split())


def _shown(text: str) -> str:
    """Plain words as Markdown; a source that is named leads to its page."""
    parts = _SOURCE.split(text)
    plain = [re.sub(r"([\\*_<>\[\]$~#|`])", r"\\\1", part) for part in parts[::2]]
    links = [f"[{name}](../sources.md#{name})" for name in parts[1::2]]
    return "".join(word for pair in zip(plain, [*links, ""], strict=True) for word in pair)


def as_markdown(docstring: str, address: Address) -> str:
    """A docstring, cleaned of its indent, as Markdown."""
    return "\n\n".join(_parts(textwrap.dedent(docstring).strip().split("\n"), address))


def _parts(lines: list[str], address: Address) -> Iterator[str]:
    for head, note, body in _sections(lines):
        text = textwrap.dedent("\n".join(body)).strip("\n")
        if not head:
            yield from _paragraphs(text, address)
        elif head in _LISTS:
            entries = list(_entries(text))
            if entries:
                yield f"**{head}{note}**"
                yield "\n".join(f"- {_names(name)}{inline(words, address)}" for name, words in entries)
        elif head == "Example":
            yield f"**Example{inline(note, address)}**"
            yield f"```pycon\n{text}\n```"
        else:
            yield f"**{head}**: " + "\n\n".join(_paragraphs(text, address))


def _sections(lines: list[str]) -> Iterator[tuple[str, str, list[str]]]:
    """The parts of a docstring: name of the section (or nothing), what stands behind it in parentheses, its lines."""
    head, note, body = "", "", list[str]()
    for line in lines:
        found = _HEAD.match(line)
        if found:
            yield head, note, body
            head, note, body = found[1], found[2] or "", [found[3]] if found[3] else []
        elif head and line and not line.startswith(" ") and (not body or not body[-1]):
            yield head, note, body  # running text goes on after a section
            head, note, body = "", "", [line]
        else:
            body.append(line)
    yield head, note, body


def _paragraphs(text: str, address: Address) -> Iterator[str]:
    for block in re.split(r"\n\s*\n", text):
        if not block.strip():
            continue
        lines = block.split("\n")
        if all(line.startswith("    ") for line in lines):
            yield f"```text\n{textwrap.dedent(block)}\n```"
        elif any(re.match(r"(- |\d+\. )", line) for line in lines):
            yield "\n".join(_list(block, address))
        else:
            yield inline(" ".join(line.strip() for line in lines), address)


def _list(block: str, address: Address) -> Iterator[str]:
    """A paragraph that holds a list: each item becomes one line."""
    items = re.split(r"\n(?=- |\d+\. )", block)
    for item in items:
        mark = re.match(r"- |\d+\. ", item)
        words = " ".join(item.split())
        yield words[: mark.end()] + inline(words[mark.end() :], address) if mark else inline(words, address) + "\n"


def _entries(text: str) -> Iterator[tuple[str, str]]:
    """Each name of a list of arguments, errors or attributes with its words; the name is empty in running text."""
    for block in re.split(r"\n(?=\S)", _joined(text)):
        words = " ".join(block.split())
        found = _ENTRY.match(words)
        if found:
            yield found[1], found[2]
        elif words:
            yield "", words


def _joined(text: str) -> str:
    """A list of names that goes on in a second line of the same indent is one entry."""
    return re.sub(r",\n(?=\w)", ", ", text)


def _names(names: str) -> str:
    return "" if not names else ", ".join(f"`{name}`" for name in names.split(", ")) + ": "
