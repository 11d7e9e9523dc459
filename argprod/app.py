"""All commands of the command line."""

from __future__ import annotations

from typing import Annotated

import typer

import argprod
from argprod.calibrate_command import calibrate_command
from argprod.census_command import census_command
from argprod.claims_command import claims_command
from argprod.demo_command import demo_command
from argprod.derive_command import derive_command
from argprod.detect_command import detect_command
from argprod.engines_command import engines_command
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
# Short helps of at most 45 letters: longer ones are cut in the list of commands.
app.command("demo", short_help="Six rules on a generated chat workload.")(demo_command)
app.command("replay", short_help="A trace or workload under several rules.")(replay_command)
app.command("tune", short_help="Sweep the knobs of a rule.")(tune_command)
app.command("calibrate", short_help="Step times of an engine, measured.")(calibrate_command)
app.command("census", short_help="Where weighted lines differ, and its cost.")(census_command)
app.command("claims", short_help="What is claimed of routing, and how we know.")(claims_command)
app.command("derive", short_help="A claim's closed form, step by step.")(derive_command)
app.command("prove", short_help="A claim's theorems, by Z3.")(prove_command)
app.command("search", short_help="States in which a rule goes wrong.")(search_command)
app.command("detect", short_help="What is wrong with a state, before routing.")(detect_command)
app.command("policies", short_help="The routing rules, their knobs and sources.")(policies_command)
app.command("engines", short_help="The real engines and their parameters.")(engines_command)
app.command("workloads", short_help="The generated workloads.")(workloads_command)


@app.callback(invoke_without_command=True)
def _top(
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
        print(f"argprod {argprod.__version__}")
        raise typer.Exit
