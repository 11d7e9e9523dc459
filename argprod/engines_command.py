"""``argprod engines``: the real engines that ``replay --engine`` takes, with their parameters and defaults."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape

from argprod.policies_command import AsJson
from replay.engines.catalogue import OPTIONS, parameters_of

EngineName = Annotated[str | None, typer.Argument(help="An engine.", show_default=False)]
#: What each engine is, in a line.
SUMMARIES = {
    "torch": "models with random weights in this machine, by transformers (.venv-engines/bin/argprod)",
    "http": "OpenAI-compatible servers, one for each --endpoint",
}


def engines_command(name: EngineName = None, as_json: AsJson = False) -> None:
    """List the real engines with their parameters and defaults; with a name, one of them."""
    names = list(OPTIONS) if name is None else [name]
    told = {each: parameters_of(each) for each in names}
    if as_json:
        facts = [
            {
                "name": each,
                "summary": SUMMARIES[each],
                "params": [{"name": param, "default": default, "meaning": text} for param, default, text in params],
            }
            for each, params in told.items()
        ]
        print(msgspec.json.format(msgspec.json.encode(facts)).decode())
        return
    console = Console(highlight=False)
    for each, params in told.items():
        console.print(f"[bold]{each}[/bold]  {escape(SUMMARIES[each])}")
        for param, default, text in params:
            console.print(f"  [bold]{param}[/bold] = {escape(_shown(default))}: {escape(text)}")
    console.print("\nThe simulator is the default: --engine sim. Usage: --engine torch:layers=4,processes=yes")


def _shown(default: object) -> str:
    if default is None or default == "":
        return "none"
    return ("yes" if default else "no") if isinstance(default, bool) else str(default)
