"""A page of the book for every source file that a claim leads to: highlighted, with an anchor at each line.

Links to code stay inside the book: it is complete without a network, and shows the code that it was built from.
"""

from __future__ import annotations

import ast
import gzip
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import JsonLexer, get_lexer_for_filename
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

ROOT = Path(__file__).resolve().parent.parent.parent
#: Larger files than this are cut where they are shown [line].
LINES_MAX = 2000
#: Of files that are packed, whose lines are long.
PACKED_MAX = 100


def line_of(place: str) -> int:
    """The line at which a place begins: ``FILE.py:NAME``, ``FILE.py::NAME``, or a file as a whole.

    Raises:
        LookupError: if there is no such file or function.
    """
    file, _, function = place.replace("::", ":").partition(":")
    if not (ROOT / file).is_file():
        raise LookupError(f"{file} does not exist")
    if not function:
        return 1
    lines = _functions(ROOT / file)
    if function not in lines:
        raise LookupError(f"{file} has no {function}")
    return lines[function]


@cache
def _functions(path: Path) -> dict[str, int]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {node.name: node.lineno for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for node in tree.body:  # constants
        for target in node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]:
            if isinstance(target, ast.Name):
                found.setdefault(target.id, node.lineno)
    return found


def link(env: BuildEnvironment, place: str, text: str) -> nodes.reference:
    """A link to a place in the code, from the page that is being read; the file gets its page."""
    line, file = line_of(place), place.partition(":")[0]
    for path in (ROOT / file, Path(__file__)):  # a page is made again when what it leads to has changed
        env.note_dependency(str(path))
    pages: dict[str, set[str]] = env.__dict__.setdefault("argprod_sources", {})
    pages.setdefault(file, set()).add(env.docname)
    uri = f"{env.app.builder.get_relative_uri(env.docname, _page(file))}#L-{line}"
    return nodes.reference(text, text, refuri=uri, internal=True, classes=["source-link"])


def _page(file: str) -> str:
    return f"source/{file}"


def _text(file: str) -> str:
    data = (ROOT / file).read_bytes()
    return (gzip.decompress(data) if file.endswith(".gz") else data).decode("utf-8")


def _pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    form = HtmlFormatter(linenos="inline", anchorlinenos=True, lineanchors="L", wrapcode=True)
    for file in sorted(app.env.__dict__.get("argprod_sources", {})):
        lines = _text(file).splitlines(keepends=True)
        most = PACKED_MAX if file.endswith(".gz") else LINES_MAX
        shown = highlight("".join(lines[:most]), get_lexer_for_filename(file.removesuffix(".gz")), form)
        rest = f"<p>{len(lines) - most:,} more lines.</p>" if len(lines) > most else ""
        yield _page(file), {"title": file, "body": f"<h1>{file}</h1>{shown}{rest}", "parents": []}, "page.html"


def _forget(_: Sphinx, env: BuildEnvironment, docname: str) -> None:
    for pages in env.__dict__.get("argprod_sources", {}).values():
        pages.discard(docname)


def _merge(_: Sphinx, env: BuildEnvironment, __: list[str], other: BuildEnvironment) -> None:
    for file, pages in other.__dict__.get("argprod_sources", {}).items():
        env.__dict__.setdefault("argprod_sources", {}).setdefault(file, set()).update(pages)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_lexer("jsonl", JsonLexer)  # Pygments has no name of its own for lines of JSON
    app.connect("html-collect-pages", _pages)
    app.connect("env-purge-doc", _forget)
    app.connect("env-merge-info", _merge)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
