"""What ``argprod detect`` shows: the choice, the findings, and every instance beside what rules make of it."""

from __future__ import annotations

import random

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scheduler.errors import BadInput
from scheduler.explaining import HEADINGS, instance_rows, margin_text, number_text
from scheduler.finding import Choice, Detection
from scheduler.policies.catalogue import policy as read_policy
from scheduler.policies.choosing import decide
from scheduler.state_json import StateFile

_COLORS = {"info": "cyan", "warning": "yellow", "critical": "red"}


def show(console: Console, heading: str, detection: Detection, *, explain: bool = False) -> None:
    """The choice and the findings; with ``explain`` also evidence, claim and advice of each."""
    safe = "[green]safe[/green]" if detection.safe else "[red]not safe[/red]"
    console.print(f"[bold]{escape(heading)}[/bold]: {safe}; {escape(_choice_text(detection.choice))}")
    if not detection.findings:
        console.print("nothing found")
        return
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("severity", no_wrap=True)
    table.add_column("finding", no_wrap=True)
    table.add_column("what", overflow="fold")
    for found in detection.findings:
        color = _COLORS[found.severity.value]
        words = [found.explanation]
        if explain:
            numbers = ", ".join(f"{name} {number_text(value)}" for name, value in found.evidence.items())
            words += [f"Advice: {found.advice}", f"Claim: {found.claim}", f"Evidence: {numbers}"]
        table.add_row(f"[{color}]{found.severity.value}[/{color}]", found.kind.value, escape("\n".join(words)))
    console.print(table)


def _choice_text(choice: Choice | None) -> str:
    if choice is None:
        return "no choice can be told beforehand"
    margin = "" if choice.margin is None else f", the next is {margin_text(choice.margin)}"
    return f"takes {choice.instance} (score {number_text(choice.score)}{margin})"


def show_instances(console: Console, file: StateFile, policy: str, detection: Detection) -> None:
    """A row an instance: what is known of it, P-token, batch size, score, and which rules take it."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(HEADINGS[0], overflow="fold", min_width=4)
    for heading in HEADINGS[1:-1]:
        table.add_column(heading, justify="right", overflow="fold")
    table.add_column(HEADINGS[-1], overflow="fold", min_width=14)
    chosen = None if detection.choice is None else detection.choice.instance
    for name, *cells in instance_rows(file.state, file.request, _scores(policy, file)):
        shown = f"[bold]{escape(name)}[/bold]" if name == chosen else escape(name)
        table.add_row(shown, *map(escape, cells))
    console.print(table)
    console.print(f"P: P-token, queued + new tokens. B: batch size, this request counted. score: of {escape(policy)}.")


def _scores(policy: str, file: StateFile) -> list[str]:
    """Scores of the rule in use; a dash where it draws before it scores."""
    try:
        decision, _ = decide(read_policy(policy), file.state, file.request, rng=random.Random(0))
    except BadInput:
        return ["-"] * len(file.state)
    return [number_text(score) for score in decision.scores]
