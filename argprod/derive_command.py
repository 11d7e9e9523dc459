"""``argprod derive``: the steps of a derivation, each checked as it is shown."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from scheduler.errors import BadInput

Name = Annotated[str, typer.Argument(help="A claim; argprod claims lists them.", show_default=False)]
Latex = Annotated[bool, typer.Option("--latex", help="LaTeX in Markdown instead of Unicode.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON: place, title, steps in Unicode and LaTeX.")]


def derive_command(name: Name, latex: Latex = False, as_json: AsJson = False) -> None:
    """Derive the closed form of a claim step by step; every step is checked by SymPy as it is written."""
    from theory.derivation import all_derivations  # theory loads SymPy, which no other command needs
    from theory.registry import claim as read_claim

    claim = read_claim(name)
    if not claim.derivation:
        hint = f"its proof: argprod prove {claim.id}" if claim.proof else f"it is {claim.status.value}"
        raise BadInput("claim", name, "a claim that has a derivation", hint)
    derivations = all_derivations()
    for place in claim.derivation:
        if place not in derivations:
            raise BadInput(f"claim {name}", place, "a derivation of the tree", "is it there, and has it @derivation?")
    found = [(place, derivations[place]()) for place in claim.derivation]
    if as_json:
        import msgspec

        facts = [
            {
                "place": place,
                "title": work.title,
                "symbols": {str(symbol): meaning for symbol, meaning in work.symbols.items()},
                "steps": [{"text": step.text, "unicode": step.unicode(), "latex": step.latex()} for step in work.steps],
            }
            for place, work in found
        ]
        print(msgspec.json.format(msgspec.json.encode({"claim": claim.id, "derivations": facts})).decode())
        return
    if latex:
        print("\n\n".join(work.latex() for _, work in found))
        return
    console = Console(highlight=False, markup=False)
    console.print(claim.statement)
    for place, work in found:
        console.print(f"\n{place}\n", soft_wrap=True)
        console.print(work.unicode(console.width), soft_wrap=True)
