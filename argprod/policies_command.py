"""``argprod policies`` and ``argprod workloads``: what can be named, with knobs, defaults and sources."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from replay.workloads.catalogue import WORKLOADS
from scheduler.policies.catalogue import CATALOGUE
from scheduler.policies.rule import Knob, Rule

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def _knob(knob: Knob) -> str:
    return f"{knob.name}={'none' if knob.default is None else knob.default}"


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


def policies_command(as_json: AsJson = False) -> None:
    """List the routing rules with their knobs, defaults and sources."""
    if as_json:
        print(msgspec.json.format(msgspec.json.encode([_rule_facts(rule) for rule in CATALOGUE.values()])).decode())
        return
    table = Table(pad_edge=False)
    for heading in ("rule", "what it does", "knobs and defaults", "source"):
        table.add_column(heading, overflow="fold")
    for rule in CATALOGUE.values():
        table.add_row(rule.name, rule.summary, " ".join(_knob(knob) for knob in rule.all_knobs()), rule.source)
    Console().print(table)


def workloads_command(as_json: AsJson = False) -> None:
    """List the generated workloads with their parameters and defaults."""
    if as_json:
        facts = [
            {"name": w.name, "summary": w.summary, "params": {p.name: p.default for p in w.parameters}}
            for w in WORKLOADS.values()
        ]
        print(msgspec.json.format(msgspec.json.encode(facts)).decode())
        return
    table = Table(pad_edge=False)
    for heading in ("workload", "what it is", "parameters and defaults"):
        table.add_column(heading, overflow="fold")
    for workload in WORKLOADS.values():
        table.add_row(
            f"workload:{workload.name}",
            workload.summary,
            " ".join(f"{parameter.name}={parameter.default}" for parameter in workload.parameters),
        )
    Console().print(table)
