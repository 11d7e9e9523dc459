"""The matrix of disagreement as a heat map with numbers."""

from __future__ import annotations

from math import pi
from typing import Any

from bokeh.models.mappers import LinearColorMapper
from bokeh.models.ranges import FactorRange
from bokeh.models.tools import HoverTool
from bokeh.transform import transform

from argprod.report.style import SHADES, WIDTH, plain_figure
from replay.disagreement import DisagreementMatrix

_LABEL_CHARACTERS = 30


def matrix_figure(found: DisagreementMatrix) -> Any | None:
    """Rows are the rules that ran, columns those that were asked; None if no rule meets another one."""
    if not found.rows or not found.columns or len({*found.rows, *found.columns}) == 1:
        return None
    short = {label: _shortened(label) for label in (*found.rows, *found.columns)}
    rows, columns = _unique(found.rows, short), _unique(found.columns, short)
    wordy = max(map(len, columns.values()))
    label_width = 40 + 7 * max(map(len, rows.values()))
    cell = max(34, min(110, (WIDTH - label_width) // len(columns)))
    turned = 7 * wordy > cell
    # Turned labels lean to the right; the last one must not leave the figure.
    beyond = max(0, int(4.5 * len(list(columns.values())[-1])) - cell // 2) if turned else 0
    made = plain_figure(
        width=min(WIDTH, label_width + cell * len(columns) + beyond),
        height=40 + 28 * len(rows) + (int(5.5 * wordy) if turned else 0),
        x_range=FactorRange(factors=list(columns.values())),
        y_range=FactorRange(factors=list(reversed(rows.values()))),
        x_axis_location="above",
        toolbar_location=None,
        tools="",
    )
    made.grid.visible = False
    made.axis.major_tick_line_color = None
    if turned:
        made.xaxis.major_label_orientation = pi / 4
        made.min_border_right = beyond
    cells = [
        (row, column, value)
        for row, values in zip(found.rows, found.values, strict=True)
        for column, value in zip(found.columns, values, strict=True)
        if value is not None
    ]
    data = {
        "x": [columns[column] for _, column, _ in cells],
        "y": [rows[row] for row, _, _ in cells],
        "row": [row for row, _, _ in cells],
        "column": [column for _, column, _ in cells],
        "value": [value for _, _, value in cells],
        "text": [_percent(value) for _, _, value in cells],
        "ink": ["#ffffff" if value > 0.55 else "#222222" for _, _, value in cells],
    }
    mapper = LinearColorMapper(palette=SHADES, low=0, high=1)
    boxes = made.rect(
        "x", "y", 1, 1, source=data, fill_color=transform("value", mapper), line_color="#ffffff", line_width=1
    )
    made.text(
        "x",
        "y",
        text="text",
        source=data,
        text_align="center",
        text_baseline="middle",
        text_font_size="11px",
        text_color="ink",
    )
    tips = [("run of", "@row"), ("asked", "@column"), ("would have chosen another", "@value{0.0 %}")]
    made.add_tools(HoverTool(tooltips=tips, renderers=[boxes]))
    return made


def _percent(value: float) -> str:
    """Whole percents, but nothing that is not 0 or 100 may look like it."""
    if 0 < value < 0.01:
        return "<1"
    if 0.99 < value < 1:
        return ">99"
    return f"{100 * value:.0f}"


def _shortened(label: str) -> str:
    return label if len(label) <= _LABEL_CHARACTERS else label[: _LABEL_CHARACTERS - 1] + "…"


def _unique(labels: tuple[str, ...], short: dict[str, str]) -> dict[str, str]:
    """Shortened labels; where two would read alike they are numbered."""
    result: dict[str, str] = {}
    for label in labels:
        text, number = short[label], 2
        while text in result.values():
            text = f"{short[label]} ({number})"
            number += 1
        result[label] = text
    return result
