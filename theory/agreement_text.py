"""A divergence in words and in LaTeX."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import sympy as sp

from theory.ops import rational

if TYPE_CHECKING:
    from theory.agreement import Choice, Divergence
    from theory.verdict import Comparison


def unicode(found: Divergence) -> str:
    """Lines for a terminal; see the example of :func:`theory.agreement.divergence`."""
    lines = []
    margin = "" if found.margin is None else f", next best {float(100 * found.margin):.3g}% more"
    for choice in found.choices:
        lines.append(
            f"product: {_names(found, choice.instances)} (P = {choice.p_token}, B = {choice.batch_size}){margin}"
        )
        lines.append(f"  {_interval(choice)}")
    if not found.connected:
        lines.append("  between these intervals a line takes none of the tied choices")
    parts = [f"{_names(found, s.instances)} for w in ({s.low}, {s.high})" for s in found.stretches]
    lines.append(f"line: {', '.join(parts)}")
    if found.comparison is not None:
        lines.append(_compared(found, found.comparison))
    return "\n".join(lines)


def _names(found: Divergence, instances: Iterable[int]) -> str:
    names = [found.ids[index] for index in instances]
    return f"instance{'s' if len(names) > 1 else ''} {', '.join(names)}"


def _interval(choice: Choice) -> str:
    closed = f"[{choice.low}, " + ("inf)" if choice.high == math.inf else f"{choice.high}]")
    weights = ("(0" if choice.high == math.inf else f"[{choice.weight_low}") + f", {choice.weight_high}]"
    own = f"w = {choice.implied_rate}, lambda = {choice.implied_weight}"
    return f"agrees with a line for w in {closed}, lambda in {weights}; its own ratio is {own}"


def _compared(found: Divergence, asked: Comparison) -> str:
    if asked.low == asked.high:
        return f"at w = {asked.low}: {_names(found, asked.pieces[0].instances)}, {asked.verdict.value}"
    parts = []
    for piece in asked.pieces:
        where = f"at {piece.low}" if piece.low == piece.high else f"from {piece.low} to {piece.high}"
        parts.append(f"{_names(found, piece.instances)} {where} ({piece.verdict.value})")
    return f"over w in [{asked.low}, {asked.high}]: {asked.verdict.value}: {', '.join(parts)}"


def latex(found: Divergence) -> str:
    """One ``aligned`` block: every choice with its intervals, then the line's choice by weight."""
    rows = [
        rf"k &= {_list(choice.instances)}: & w &\in {_closed(choice.low, choice.high)}, & "
        rf"\lambda &\in {_weights(choice)}, & \tfrac{{P_k}}{{B_k}} &= {_number(choice.implied_rate)}"
        for choice in found.choices
    ]
    rows += [
        rf"\arg\min_i P_i + w B_i &= {_list(stretch.instances)}: & "
        rf"w &\in \left({_number(stretch.low)}, {_number(stretch.high)}\right)"
        for stretch in found.stretches
    ]
    body = " \\\\\n".join(rows)
    return f"\\begin{{aligned}}\n{body}\n\\end{{aligned}}"


def _number(value: Any) -> str:
    return str(sp.latex(sp.oo if value == math.inf else rational(value)))


def _list(instances: Iterable[int]) -> str:
    return ", ".join(map(str, instances))


def _closed(low: Any, high: Any) -> str:
    return rf"\left[{_number(low)}, {_number(high)}\right{')' if high == math.inf else ']'}"


def _weights(choice: Choice) -> str:
    begin = "(" if choice.high == math.inf else "["
    return rf"\left{begin}{_number(choice.weight_low)}, {_number(choice.weight_high)}\right]"
