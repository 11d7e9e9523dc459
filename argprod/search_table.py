"""A state that was found as a table: quantities down, instances across, and what each rule makes of them.

Instances that do not fit beside each other go below, so that no line is wider than the console.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from proofs.search import Found, Question, SequenceQuestion
from proofs.search.replaying import scores_of
from proofs.search.telling import short
from scheduler.policies.rule import Policy
from scheduler.state_json import StateFile
from scheduler.testing.laws import product_indicators

#: Whole numbers from here on are told to a few digits.
_LONG = 10**15
#: Between columns: padding and divider; and the two edges of the table.
_GAP = 2
_EDGES = 2
#: Room for the names of the quantities.
_NAMES = 38

#: A quantity and its text on every instance.
Row = tuple[str, list[str]]


def rule_label(policy: Policy) -> str:
    """The rule with the knobs that differ from their defaults; the line always with its weight.

    Example:
        >>> from scheduler import policy
        >>> rule_label(policy("linear")), rule_label(policy("lmetric"))
        ('linear:weight=0.7', 'lmetric')
    """
    if policy.rule.name != "linear" or "weight=" in policy.label:
        return policy.label
    name, _, knobs = policy.label.partition(":")
    return f"{name}:weight={policy.values['weight']}" + (f",{knobs}" if knobs else "")


def rows_of(question: Question | SequenceQuestion, found: Found) -> list[Row]:
    """The state, P-token and batch size, the score of every rule (least wins), and the costs."""
    state = found.file.state
    names = [name for name in type(state).__struct_fields__ if name not in ("ids", "now_s")]
    rows = [
        (name.replace("_", " "), list(map(_text, getattr(state, name))))
        for name in names
        if getattr(state, name) is not None
    ]
    rows += _indicators("", found.file)
    rows += _scores("", found.rule, found.file)
    if isinstance(question, SequenceQuestion):
        return [*rows, ("residents", list(map(_text, found.costs)))]
    if question.against is not None:
        rows += _scores("", question.against, found.file)
    if found.truth is not None:
        rows += [*_indicators("true ", found.truth), *_scores("true ", found.rule, found.truth)]
    return [*rows, (f"cost: {rule_label(question.cost)}", list(map(_text, found.costs)))]


def _indicators(prefix: str, file: StateFile) -> list[Row]:
    tokens, batches = zip(*product_indicators(file.state, file.request), strict=True)
    return [
        (f"{prefix}P-token (P)", list(map(_text, tokens))),
        (f"{prefix}batch size (B)", list(map(_text, batches))),
    ]


def _scores(prefix: str, policy: Policy, file: StateFile) -> list[Row]:
    keys, eligible = scores_of(policy, file)
    label = rule_label(policy)
    rows = [(f"{prefix}score: {label}", [", ".join(map(_text, key)) for key in keys])]
    if policy.rule.eligible is not None:
        rows.insert(0, (f"{prefix}kept by {label}", ["yes" if kept else "no" for kept in eligible]))
    return rows


def _text(value: Any) -> str:
    if isinstance(value, int | Fraction):
        exact = Fraction(value)
        return str(exact) if exact.denominator == 1 and abs(exact) < _LONG else short(exact)
    return f"{float(value):.6g}"


def show_state(console: Console, question: Question | SequenceQuestion, found: Found) -> None:
    """Print the rows, as many instances at a time as fit."""
    rows, ids = rows_of(question, found), found.file.state.ids
    names = min(_NAMES, max(len(name) for name, _ in rows))
    widths = [max(len(cells[index]) for _, cells in rows) for index in range(len(ids))]
    for shown in _fitting(widths, console.width - names - _EDGES):
        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        table.add_column("", overflow="fold", max_width=names, min_width=names)
        for index in shown:
            mark = f"[bold]{ids[index]}[/bold]" if index == found.chosen else ids[index]
            table.add_column(mark, justify="right", no_wrap=True)
        for name, cells in rows:
            table.add_row(escape(name), *(cells[index] for index in shown))
        console.print(table)


def _fitting(widths: list[int], room: int) -> list[list[int]]:
    """Indices in groups, each as wide as the room at most; one that is wider has a group of its own."""
    groups: list[list[int]] = []
    left = 0
    for index, width in enumerate(widths):
        if not groups or left < width + _GAP:
            groups.append([])
            left = room
        groups[-1].append(index)
        left -= width + _GAP
    return groups
