"""Directives of the book: ``{claim} NAME`` states a claim with its evidence, ``{ledger}`` lists all of them.

All text comes from the registry, and each link leads to the line of the code that derives, proves or tests it, on a
page of this book. What a derivation shows was checked by SymPy when the page was built.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from source_pages import link
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from theory.derivation import all_derivations
from theory.registry import PATH, Claim, Status, claims

#: How sphinx-proof calls a claim, by its status; all share one count.
KINDS = {
    Status.PROVED: "theorem",
    Status.BOUNDED: "proposition",
    Status.MEASURED: "observation",
    Status.REFUTED: "conjecture",
    Status.OPEN: "conjecture",
}
_EVIDENCE = (("derivation", "derivation"), ("proof", "theorem"), ("property", "test"), ("measurement", "measurement"))


_GREEK = ("alpha", "delta", "gamma", "kappa", "lambda", "rho", "tau")
#: Letters with an index, Greek letters, and signs: what is typed in the registry, and how it is set.
_LETTER = re.compile(rf"\b(?:([A-Za-z]|{'|'.join(_GREEK)})_([a-z0-9]+)|({'|'.join(_GREEK)}))\b('?)")
_SIGNS = {"<=": "≤", ">=": "≥"}


def plain(text: str) -> str:
    """Text of the registry as Markdown, letters of formulas set as such; what stands between backticks stays code."""
    parts = text.split("`")
    return "`".join(part if place % 2 else _set(part) for place, part in enumerate(parts))


def _set(text: str) -> str:
    r"""Text with its formulas' letters in TeX.

    Example:
        >>> print(_set("P_k B_k <= rho_i b_cold*"))
        $P_{k}$ $B_{k}$ ≤ $\rho_{i}$ $b_{\text{cold}}$\*
    """
    for typed, sign in _SIGNS.items():
        text = text.replace(typed, sign)
    made: list[str] = []
    end = 0
    for found in _LETTER.finditer(text):
        made += [_escaped(text[end : found.start()]), _tex(found[1], found[2], found[3], found[4])]
        end = found.end()
    return "".join([*made, _escaped(text[end:])])


def _escaped(text: str) -> str:
    return re.sub(r"([\\*_<>\[\]$~#])", r"\\\1", text)


def _tex(letter: str | None, index: str | None, alone: str | None, prime: str) -> str:
    name = letter or alone or ""
    base = f"\\{name}" if name in _GREEK else name
    below = "" if index is None else index if len(index) < 3 else rf"\text{{{index}}}"
    return f"${base}{f'_{{{below}}}' if below else ''}{prime}$"


def title_of(claim: Claim) -> str:
    """A claim's name in words."""
    return claim.id.replace("_", " ")


class ClaimDirective(SphinxDirective):  # type: ignore[misc]  # Sphinx is not where types are checked
    """States a claim: its text, its status, what it assumes, and the evidence."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The nodes."""
        found = claims().get(self.arguments[0])
        if found is None:
            raise self.error(f"there is no claim {self.arguments[0]}")
        self.env.note_dependency(str(PATH))
        block = self.parse_text_to_nodes("\n".join(_statement(found)))
        for kind, word in _EVIDENCE:
            places: Sequence[str] = getattr(found, kind)
            if places:
                block[0][-1] += self._list(word, places)
        folded = nodes.container(classes=["claim-evidence"])
        steps = "\n\n".join(
            all_derivations()[place]().latex() for place in found.derivation if place in all_derivations()
        )
        if steps:
            folded += self.parse_text_to_nodes(f"::::{{dropdown}} Derivation, step by step\n{steps}\n::::")
        return [*block, folded]

    def _list(self, word: str, places: Sequence[str]) -> nodes.Node:
        line = nodes.paragraph(classes=["evidence", f"evidence-{word}"])
        line += nodes.strong(text=f"{word}s: " if len(places) > 1 else f"{word}: ")
        for number, place in enumerate(places):
            if number:
                line += nodes.Text(", ")
            line += link(self.env, place, _short(place))
        return line


def _short(place: str) -> str:
    name = place.replace("::", ":").rpartition(":")[2]
    return Path(name).name.removeprefix("test_").replace("_", " ")


def _statement(claim: Claim) -> Iterator[str]:
    yield f"::::{{prf:{KINDS[claim.status]}}} {title_of(claim)}"
    yield f":label: {claim.id}"
    yield f":class: claim claim-{claim.status.value}"
    yield ""
    yield plain(claim.statement)
    yield ""
    source = "" if claim.origin == "new" else f" ({claim.origin})"
    bound = f": {plain(claim.bound)}" if claim.bound else ""
    yield f"**{claim.status.value}**{bound}{source}. `argprod claims {claim.id}`"
    if claim.premises:
        yield ""
        yield f"*Premises:* {plain('; '.join(claim.premises))}."
    if claim.note:
        yield ""
        yield ":::{dropdown} Note"
        yield plain(claim.note)
        yield ":::"
    yield "::::"


class LedgerDirective(SphinxDirective):  # type: ignore[misc]  # Sphinx is not where types are checked
    """Lists all claims, in the order of the registry."""

    def run(self) -> list[nodes.Node]:
        """The nodes."""
        self.env.note_dependency(str(PATH))
        rows = ["| no. | claim | status | evidence |", "| ---: | --- | --- | --- |"]
        for claim in claims().values():
            number = "" if claim.number is None else claim.number
            name = f"{{prf:ref}}`{title_of(claim)} <{claim.id}>`"
            rows.append(f"| {number} | {name} | {claim.status.value} | {', '.join(_counted(claim))} |")
        return list(self.parse_text_to_nodes("\n".join(rows)))


def _counted(claim: Claim) -> Iterator[str]:
    for kind, word in _EVIDENCE:
        count = len(getattr(claim, kind))
        if count:
            yield f"{count} {word}{'s' if count > 1 else ''}"


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    directives: dict[str, type[Directive]] = {"claim": ClaimDirective, "ledger": LedgerDirective}
    for name, directive in directives.items():
        app.add_directive(name, directive)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
