"""The pages of the book and the blocks of code on them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Args:
        page: the file, from docs/.
        line: where it begins.
        kind: what stands behind the fence, as ``python`` or ``{code-cell}``.
        argument: what stands behind the kind.
        text: its lines, without options.
        run_by: the place of the test that runs it, if the line before it names one: ``% run by: tests/...``.
    """

    page: str
    line: int
    kind: str
    argument: str
    text: str
    run_by: str


def toc_files() -> list[str]:
    """The files of the book, from docs/, in its order."""
    text = (DOCS / "_toc.yml").read_text(encoding="utf-8")
    return [f"{name}.md" for name in re.findall(r"^(?:root:|\s*- file:)\s*(\S+)$", text, flags=re.MULTILINE)]


def blocks(page: str) -> Iterator[Block]:
    """The fenced blocks of a page that hold code or data; directives that hold text are left out."""
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    opened: tuple[int, str, str, str, list[str]] | None = None
    for number, line in enumerate(lines, 1):
        if opened is None:
            found = re.match(r"^(`{3,})(\{?[\w:-]*\}?) *(.*)$", line)
            if found:
                opened = (number, found[1], found[2], found[3], [])
        elif line == opened[1]:
            at, _, kind, argument, inside = opened
            opened = None
            before = re.match(r"^% run by: (\S+)$", lines[at - 2]) if at > 1 else None
            text = "\n".join(row for row in inside if not row.startswith(":")) + "\n"
            yield Block(page, at, kind, argument, text, before[1] if before else "")
        else:
            opened[4].append(line)
    assert opened is None, f"{page}: the last block has no end"
