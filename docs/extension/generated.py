"""``{generated} MODULE:FUNCTION [ARGUMENT ...]``: Markdown that a function gives, at its place on the page.

For tables of results: they are computed from committed data when the page is built, never typed.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def function_of(place: str) -> Callable[..., str]:
    """The function that ``MODULE:FUNCTION`` names.

    Raises:
        LookupError: if there is none.
    """
    module, _, name = place.partition(":")
    try:
        found: Callable[..., str] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as fault:
        raise LookupError(f"{place}: {fault}") from None
    return found


def kept_together(text: str) -> str:
    """The text with intervals that no line break parts.

    Example:
        >>> kept_together("-20% [-25, -14]") == "-20% [-25,\N{NO-BREAK SPACE}-14]", kept_together("[a, b](c)")
        (True, '[a, b](c)')
    """
    return re.sub(r"(\[[+-]?[\d.]+,) ([+-]?[\d.]+\])", "\\1\N{NO-BREAK SPACE}\\2", text)


class GeneratedDirective(SphinxDirective):  # type: ignore[misc]  # Sphinx is not where types are checked
    """Shows what a function gives."""

    required_arguments = 1
    optional_arguments = 4  # words that the function takes

    def run(self) -> list[nodes.Node]:
        """The nodes."""
        function = function_of(self.arguments[0])
        file = inspect.getsourcefile(function)
        if file is not None:
            self.env.note_dependency(file)
        return list(self.parse_text_to_nodes(kept_together(function(*self.arguments[1:]))))


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("generated", GeneratedDirective)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
