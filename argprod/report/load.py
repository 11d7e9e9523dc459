"""Load figures: requests in flight on every instance over time, and how requests and prompt tokens were shared out.

Both are of the first seed. All policies share one colour scale and one scale of the bars, so that they can be compared.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from bokeh.models.annotations import ColorBar, Span, Title
from bokeh.models.mappers import LinearColorMapper
from bokeh.models.ranges import Range1d
from bokeh.models.tools import HoverTool

from argprod.report.measures import number
from argprod.report.model import ReportInput
from argprod.report.style import SHADES, WIDTH, grouped, instances_of_group, plain_figure, strip_figure
from replay.experiment import Run
from replay.sim.record import RunRecord
from replay.sim.ticks import TICKS_PER_S

#: Columns of a heat map.
_COLUMNS = 240
#: The colour scale ends at this multiple of the usual peak, so that one collapsed policy does not bleach the others.
_PEAKS = 2
#: Bars are cut at this multiple of an even share, so that one hot instance does not flatten all other figures.
BARS_CUT = 2.5
_REQUESTS, _TOKENS = "#0072b2", "#e69f00"


def _first_runs(given: ReportInput) -> dict[str, Run]:
    return {label: given.runs_of(label)[0] for label in given.policies}


def even_samples(record: RunRecord) -> tuple[Any, float, float]:
    """Load on an even time grid: rows are instances, and the first and last time [s].

    Samples are taken at arrivals, so their distances differ; between two of them the earlier one stands.
    """
    at = np.asarray(record.load_at, dtype=float) / TICKS_PER_S
    load = np.asarray(record.load, dtype=float)
    grid = np.linspace(at[0], at[-1], min(_COLUMNS, len(at)))
    return load[np.searchsorted(at, grid, side="right") - 1].T, float(at[0]), float(at[-1])


def _darkest(loads: list[Any]) -> float:
    """Where the colour scale ends: twice the median over the policies of their peaks, if any policy gets there."""
    usual = float(np.median([np.quantile(load, 0.995) for load in loads]))
    return max(1.0, min(_PEAKS * usual, max(float(load.max()) for load in loads)))


def heat_maps(given: ReportInput) -> tuple[Any, list[Any]]:
    """The colour bar, and one heat map a policy; an empty list if no load was sampled."""
    maps = {label: even_samples(run.record) for label, run in _first_runs(given).items() if run.record.load}
    if not maps:
        return None, []
    shown = {label: grouped(load) for label, (load, _, _) in maps.items()}
    darkest = _darkest(list(shown.values()))
    beyond = "; more has the darkest colour" if any(load.max() > darkest for load in shown.values()) else ""
    mapper = LinearColorMapper(palette=SHADES, low=0, high=darkest)
    count = len(given.plan.cluster)
    alone = len(maps) == 1
    figures: list[Any] = []
    for label, (every, first_s, last_s) in maps.items():
        load = shown[label]
        made = plain_figure(
            width=WIDTH if alone else WIDTH // 2,
            height=70 + max(90, min(200, 10 * len(load))),
            title=f"{label}, at most {every.max():,.0f} in flight",
            tools="pan,box_zoom,wheel_zoom,reset,save",
            x_range=figures[0].x_range if figures else Range1d(start=first_s, end=max(last_s, first_s + 1e-9)),
            y_range=Range1d(start=-0.5, end=len(load) - 0.5),
            x_axis_label=f"{given.kind} time [s]",
            y_axis_label="instance" if len(load) == count else "group of instances",
        )
        made.grid.visible = False
        made.yaxis.ticker.min_interval = 1
        made.image(
            image=[load.astype(np.float32)],
            x=first_s,
            y=-0.5,
            dw=max(last_s - first_s, 1e-9),
            dh=len(load),
            color_mapper=mapper,
        )
        tips = [("time", "$x{0,0} s"), ("instance", "$y{0}"), ("in flight", "@image{0.0}")]
        made.add_tools(HoverTool(tooltips=tips))
        figures.append(made)
    bar = strip_figure(62, WIDTH // 2)
    bar.scatter([float("nan")], [float("nan")])
    bar.add_layout(
        ColorBar(
            color_mapper=mapper,
            orientation="horizontal",
            width=WIDTH // 2 - 60,
            height=12,
            title=f"requests in flight on an instance{beyond}",
            title_text_font_size="12px",
            title_text_font_style="normal",
            padding=2,
            location=(20, 0),
        ),
        "above",
    )
    return bar, figures


def share_bars(given: ReportInput) -> tuple[list[Any], bool]:
    """One figure a policy: the share of each instance in requests and in prompt tokens; and whether bars are cut."""
    count = len(given.plan.cluster)
    even = 100 / count
    shares = {}
    for label, run in _first_runs(given).items():
        columns = (run.summary.instance_requests, run.summary.instance_prompt_tokens)
        totals = [max(1, sum(column)) for column in columns]
        shares[label] = [100 * np.asarray(c) / total for c, total in zip(columns, totals, strict=True)]
    top = max(float(grouped(column).max()) for columns in shares.values() for column in columns)
    cut = top > BARS_CUT * even
    high = BARS_CUT * even if cut else 1.08 * max(top, even)
    across = 4 if count <= 20 else (2 if count <= 64 else 1)
    width = WIDTH // across
    return [_share_figure(label, one, two, high, width) for label, (one, two) in shares.items()], cut


def _share_figure(label: str, requests: Any, tokens: Any, high: float, width: int) -> Any:
    """Shares of one policy in percent, the axis up to ``high``."""
    count = len(requests)
    even = 100 / count
    most = " and ".join(
        f"{number(float(column.max()) / even, 2)}x {name}"
        for name, column in (("requests", requests), ("tokens", tokens))
    )
    requests, tokens = grouped(requests), grouped(tokens)
    groups = len(requests)
    made = plain_figure(
        width=width,
        height=170,
        tools="save",
        toolbar_location=None,
        x_range=Range1d(start=-0.6, end=groups - 0.4),
        y_range=Range1d(start=0, end=high),
        y_axis_label="%",
    )
    made.title = None
    shown = label if len(label) <= width // 7 else label[: width // 7 - 1] + "…"
    made.add_layout(
        Title(text=f"busiest: {most}", text_font_size="11px", text_font_style="normal", text_color="#555555"), "above"
    )
    made.add_layout(Title(text=shown, text_font_size="12px", text_color="#222222"), "above")
    made.xgrid.visible = False
    made.xaxis.ticker.min_interval = 1
    index = np.arange(groups)
    data = {
        "left": index - 0.2,
        "right": index + 0.2,
        "requests": requests,
        "tokens": tokens,
        "instance": [instances_of_group(i, count) for i in range(groups)],
    }
    left = made.vbar(x="left", top="requests", width=0.38, source=data, color=_REQUESTS)
    right = made.vbar(x="right", top="tokens", width=0.38, source=data, color=_TOKENS)
    made.add_layout(Span(location=even, dimension="width", line_color="#333333", line_dash="dashed", line_width=1))
    tips = [("instance", "@instance"), ("requests", "@requests{0.00} %"), ("prompt tokens", "@tokens{0.00} %")]
    made.add_tools(HoverTool(tooltips=tips, renderers=[left, right]))
    return made
