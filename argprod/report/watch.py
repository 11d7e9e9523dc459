"""What detector and mitigation did: findings over time, decisions that mitigation changed, and what that cost."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
from bokeh.models.ranges import Range1d
from bokeh.models.tools import HoverTool

from argprod.report.model import ReportInput
from argprod.report.style import COLOURS, WIDTH, plain_figure
from argprod.report.tables import html_table, right_cell
from argprod.watch_table import watch_rows
from replay.experiment import Run
from replay.sim.noticed import Noticed
from replay.sim.ticks import TICKS_PER_S
from scheduler.finding import Kind

#: Slices of the run in a figure of findings.
_SLICES = 60
_COLOUR_OF = {kind.value: COLOURS[place % len(COLOURS)] for place, kind in enumerate(Kind)}
_CHANGED = "#111111"
#: Of the lines of one figure all but the first, so that of equal ones the lower shows through.
_DASHES = ([10, 10], [4, 8], [2, 4], [12, 4, 2, 4])


def watched_runs(given: ReportInput) -> dict[str, Run]:
    """The first run of each policy that the detector looked at."""
    firsts = {label: given.runs_of(label)[0] for label in given.policies}
    return {label: run for label, run in firsts.items() if run.summary.watch is not None}


def watch_figures(given: ReportInput) -> list[Any]:
    """One figure for each policy with a decision that was unsafe or changed: both over time, first seed."""
    figures: list[Any] = []
    for label, run in watched_runs(given).items():
        noticed = run.record.noticed
        if noticed is not None and noticed.events:
            figures.append(_figure(label, noticed, given.span_s, figures[0].x_range if figures else None))
    return figures


def slices_of(noticed: Noticed, span_s: float) -> tuple[Any, dict[str, Any]]:
    """Edges of the slices of a run [s], and unsafe decisions in each by kind of finding."""
    last_s = max([span_s, *(at / TICKS_PER_S for at, *_ in noticed.events)])
    edges = np.linspace(0.0, max(last_s, 1e-9), _SLICES + 1)
    times: dict[str, list[float]] = {}
    for at, kinds, _, _ in noticed.events:
        for kind in kinds:
            times.setdefault(kind, []).append(at / TICKS_PER_S)
    return edges, {kind: np.histogram(found, edges)[0] for kind, found in sorted(times.items())}


def _figure(label: str, noticed: Noticed, span_s: float, x_range: Any) -> Any:
    edges, counts = slices_of(noticed, span_s)
    changed = [(at / TICKS_PER_S, kind, price) for at, _, kind, price in noticed.events if kind]
    made = plain_figure(
        width=WIDTH // 2,
        height=230,
        title=f"{label}: {noticed.unsafe:,} of {noticed.decisions:,} decisions unsafe, {len(changed):,} changed",
        tools="pan,box_zoom,wheel_zoom,reset,save",
        x_range=Range1d(start=0.0, end=float(edges[-1])) if x_range is None else x_range,
        x_axis_label="simulated time [s]",
        y_axis_label=f"unsafe decisions in {edges[1]:.3g} s",
    )
    lines = []
    for place, (kind, count) in enumerate(counts.items()):
        dash: Any = _DASHES[(place - 1) % len(_DASHES)] if place else "solid"
        data = {"x": edges[:-1], "y": count, "kind": [kind] * len(count)}
        look = {"color": _COLOUR_OF[kind], "line_dash": dash, "width": 2}
        lines.append(made.step("x", "y", source=data, mode="after", legend_label=kind, **look))
    if lines:
        tips = [("finding", "@kind"), ("from", "@x{0,0} s"), ("decisions", "@y")]
        made.add_tools(HoverTool(tooltips=tips, renderers=lines))
    if changed:
        data = {
            "x": [at for at, _, _ in changed],
            "y": [0] * len(changed),
            "kind": [kind for _, kind, _ in changed],
            "price": [price for _, _, price in changed],
        }
        marks = made.scatter(
            "x", "y", source=data, marker="triangle", size=9, color=_CHANGED, legend_label="changed by mitigation"
        )
        tips = [("mitigation", "@kind"), ("at", "@x{0,0.0} s"), ("price", "@price{0,0} token")]
        made.add_tools(HoverTool(tooltips=tips, renderers=[marks]))
    made.legend.label_text_font_size = "11px"
    made.legend.background_fill_alpha = 0.7
    if made.legend:
        made.add_layout(made.legend[0], "right")
    return made


def watch_section(given: ReportInput, divs: list[str]) -> str:
    """Table and figures; a sentence if no run was watched."""
    labels = {label: given.runs_of(label) for label in watched_runs(given)}
    if not labels:
        return "<p>Nobody looked: a rule alone decided. Give --mitigation or --findings to let the detector look.</p>"
    rows = []
    for label, runs in labels.items():
        found = [run.summary.watch for run in runs if run.summary.watch is not None]
        for name, *values in watch_rows(found):
            rows.append([escape(label), escape(name), *(right_cell(value) for value in values)])
    heads = ["policy", "finding or mitigation", "decisions", "info", "warning", "critical", "price [token]"]
    figures = f'<div class="row">{"".join(divs)}</div>' if divs else "<p>No decision was unsafe or changed.</p>"
    return html_table([heads], rows, "findings") + figures
