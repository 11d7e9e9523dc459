"""Why an instance was taken: every instance with its indicators and score, and what other rules would have taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scheduler.finding import Detection
from scheduler.indicators import batch_size, new_prefill_tokens, p_token
from scheduler.ops import SCALAR
from scheduler.policies.catalogue import policy as read_policy
from scheduler.policies.choosing import decide
from scheduler.state import ClusterState, Request

#: Rules that are asked what they would do, beside the one in use: they need nothing that a state must not have.
OTHERS = ("lmetric", "marginal_delay", "join_shortest_queue", "linear")
HEADINGS = ("instance", "run", "wait", "queued", "hit", "P", "B", "score", "taken by")


def taken_by(state: ClusterState, request: Request) -> dict[str, list[str]]:
    """Which of :data:`OTHERS` take which instance, by id.

    Raises:
        BadInput: if state or request lie outside their domains.
    """
    taken: dict[str, list[str]] = {}
    for name in OTHERS:
        decision, _ = decide(read_policy(name), state, request)
        taken.setdefault(decision.id, []).append(name)
    return taken


def instance_rows(state: ClusterState, request: Request, scores: Sequence[str]) -> list[tuple[str, ...]]:
    """A row an instance, with the cells of :data:`HEADINGS`.

    Args:
        state: what is known of the cluster.
        request: the request at hand.
        scores: of every instance, as text.
    """
    taken = taken_by(state, request)
    rows = []
    for index, name in enumerate(state.ids):
        queued, hit = state.queued_prefill_tokens[index], state.hit_tokens[index]
        running, waiting = state.running[index], state.waiting[index]
        tokens = p_token(queued, new_prefill_tokens(SCALAR, request.prompt_tokens, hit))
        numbers = (running, waiting, queued, hit, tokens, batch_size(running, waiting))
        rows.append((name, *map(str, numbers), scores[index], " ".join(taken.get(name, ()))))
    return rows


def as_text(rows: Sequence[Sequence[str]]) -> str:
    """Rows under :data:`HEADINGS`, names to the left and numbers to the right.

    Example:
        >>> print(as_text([("a", "1", "0", "0", "128", "32", "2", "64", "lmetric")]))
        instance  run  wait  queued  hit  P   B  score  taken by
        a         1    0     0       128  32  2  64     lmetric
    """
    table = [HEADINGS, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table]
    return "\n".join(line.rstrip() for line in lines)


def number_text(value: Any) -> str:
    """A number, text or tuple of them for a table.

    Example:
        >>> number_text(0.123456), number_text(12), number_text((1, 2.5)), number_text(None), number_text(True)
        ('0.1235', '12', '1, 2.5', '-', 'yes')
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(number_text, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def margin_text(margin: float) -> str:
    """How much higher the next score is.

    Example:
        >>> margin_text(0), margin_text(0.0002), margin_text(50.2)
        ('equal', '0.02% higher', '51.2 times as high')
    """
    if margin == 0:
        return "equal"
    return f"{100 * margin:.3g}% higher" if margin < 1 else f"{1 + margin:.4g} times as high"


def findings_text(detection: Detection) -> str:
    """One line a finding, the gravest first, with its advice."""
    lines = [
        f"{found.severity.value}: {found.kind.value}: {found.explanation} {found.advice} (claim {found.claim})"
        for found in detection.findings
    ]
    return "\n".join(lines) or "nothing found"
