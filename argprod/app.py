"""All commands of the command line."""

from __future__ import annotations

from typing import Annotated

import typer

import argprod
from argprod.claims_command import claims_command
from argprod.demo_command import demo_command
from argprod.derive_command import derive_command
from argprod.policies_command import policies_command, workloads_command
from argprod.prove_command import prove_command
from argprod.replay_command import replay_command
from argprod.search_command import search_command
from argprod.tune_command import tune_command

app = typer.Typer(
    name="argprod",
    help="Route LLM requests by the smallest product of P-token and batch size, and know when that works.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("demo")(demo_command)
app.command("replay")(replay_command)
app.command("tune")(tune_command)
app.command("derive")(derive_command)
app.command("prove")(prove_command)
app.command("claims")(claims_command)
app.command("search")(search_command)
app.command("policies")(policies_command)
app.command("workloads")(workloads_command)


@app.callback(invoke_without_command=True)
def _top(
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
        print(f"argprod {argprod.__version__}")
        raise typer.Exit
