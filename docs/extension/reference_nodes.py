"""What the directives of the reference share: sections with an anchor, links to code, text in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from docutils import nodes
from source_pages import ROOT, link
from sphinx.util.docutils import SphinxDirective


class Reference(SphinxDirective):  # type: ignore[misc]  # Sphinx is not where types are checked
    """Makes pages from what the code says of itself."""

    def section(self, anchor: str, title: str, *children: nodes.Node, code: bool = True) -> nodes.section:
        """A section; its title is set as code unless it is words."""
        made = nodes.section("", ids=[anchor], names=[anchor])
        name = nodes.title(title, "")
        name += nodes.literal(title, title) if code else nodes.Text(title)
        made += name
        made.extend(children)
        return made

    def markdown(self, text: str) -> list[nodes.Node]:
        """Text in Markdown as nodes."""
        return list(self.parse_text_to_nodes(text)) if text.strip() else []

    def code(self, text: str, language: str) -> nodes.literal_block:
        """A block of code."""
        return nodes.literal_block(text, text, language=language)

    def source(self, *places: str) -> nodes.paragraph:
        """A line of links to code."""
        line = nodes.paragraph(classes=["evidence"])
        for number, place in enumerate(places):
            if number:
                line += nodes.Text(", ")
            line += link(self.env, place, place.replace(":", ", "))
        return line

    def depends_on(self, files: Sequence[str]) -> None:
        """The page is made again when one of these files changes, or what makes the page."""
        for path in (*(ROOT / file for file in files), *Path(__file__).parent.glob("*.py")):
            self.env.note_dependency(str(path))
