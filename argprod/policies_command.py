"""``argprod policies`` and ``argprod workloads``: what can be named, with knobs, defaults and sources."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape

from replay.workloads.catalogue import WORKLOADS, parse_workload
from scheduler.policies.catalogue import CATALOGUE
from scheduler.policies.catalogue import policy as read_policy
from scheduler.policies.rule import Rule

RuleName = Annotated[str | None, typer.Argument(help="A rule.", show_default=False)]
WorkloadName = Annotated[str | None, typer.Argument(help="A workload.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def _rule_facts(rule: Rule) -> dict[str, Any]:
    return {
        "name": rule.name,
        "summary": rule.summary,
        "source": rule.source,
        "readable": rule.readable,
        "needs": list(rule.needs),
        "knobs": [
            {
                "name": knob.name,
                "default": knob.default,
                "meaning": knob.meaning,
                "domain": knob.domain.describe() if knob.domain else list(knob.choices),
                "sweep": list(knob.sweep),
            }
            for knob in rule.all_knobs()
        ],
    }


def policies_command(name: RuleName = None, as_json: AsJson = False) -> None:
    """List the routing rules; with a name, one rule with its knobs, defaults and source."""
    rules = list(CATALOGUE.values())
    if name is not None:
        rules = [read_policy(name).rule]
    if as_json:
        print(msgspec.json.format(msgspec.json.encode([_rule_facts(rule) for rule in rules])).decode())
        return
    console = Console(highlight=False)
    width = max(len(rule.name) for rule in rules)
    for rule in rules:
        console.print(f"[bold]{rule.name:<{width}}[/bold]  {escape(rule.summary)}")
        if name is None:
            continue
        console.print(f"source: {escape(rule.source)}")
        for knob in rule.all_knobs():
            domain = knob.domain.describe() if knob.domain else " or ".join(knob.choices)
            console.print(f"  [bold]{knob.name}[/bold] = {'none' if knob.default is None else knob.default}: ", end="")
            console.print(escape(f"{knob.meaning}; {domain}"))
            if knob.sweep:
                console.print(f"    tune tries {', '.join(map(str, knob.sweep))}")
    if name is None:
        console.print("\nKnobs, defaults and sources: argprod policies NAME")


def workloads_command(name: WorkloadName = None, as_json: AsJson = False) -> None:
    """List the generated workloads; with a name, one with its parameters and defaults."""
    workloads = list(WORKLOADS.values())
    if name is not None:
        workloads = [parse_workload(name)[0]]
    if as_json:
        facts = [
            {"name": w.name, "summary": w.summary, "params": {p.name: p.default for p in w.parameters}}
            for w in workloads
        ]
        print(msgspec.json.format(msgspec.json.encode(facts)).decode())
        return
    console = Console(highlight=False)
    width = max(len(workload.name) for workload in workloads)
    for workload in workloads:
        console.print(f"[bold]workload:{workload.name:<{width}}[/bold]  {escape(workload.summary)}")
        if name is None:
            continue
        for parameter in workload.parameters:
            console.print(f"  [bold]{parameter.name}[/bold] = {parameter.default}: ", end="")
            console.print(escape(f"{parameter.domain.describe()}; {parameter.source}"))
    if name is None:
        console.print("\nParameters and defaults: argprod workloads NAME")
