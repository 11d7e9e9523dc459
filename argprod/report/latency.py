"""Latency figures: distributions of TTFT, TPOT and E2E, and the trade-off between TTFT and TPOT.

One legend above them serves all five figures: a click on a policy hides it everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, floor, log10
from typing import Any

import numpy as np
from bokeh.models.annotations import Legend, LegendItem
from bokeh.models.formatters import NumeralTickFormatter
from bokeh.models.tickers import BasicTicker, FixedTicker
from bokeh.models.tools import HoverTool

from argprod.report.model import ReportInput
from argprod.report.style import WIDTH, Look, looks, plain_figure, strip_figure
from replay.metrics import Spread, latencies

#: Shares at which a distribution is drawn: even, and closer in the tail.
QUANTILES = np.unique(np.concatenate([np.linspace(0, 0.98, 340), np.linspace(0.98, 1, 61)]))
_ROW_PIXELS = 24
_TOOLS = "pan,box_zoom,wheel_zoom,reset,save"
#: The axes of a trade-off are logarithmic, both, if on one the largest value exceeds the least by this factor.
_LOG_FROM = 5
#: Said on every logarithmic axis.
_LOG = ", logarithmic"

#: Below this factor a logarithmic axis of a distribution has labels between the powers of ten.
_LABELLED_FROM = 200


def latency_figures(given: ReportInput) -> dict[str, Any]:
    """The figures by name: ``legend``, ``cdf_ttft``, ``cdf_tpot``, ``cdf_e2e``, ``trade_mean``, ``trade_p99``."""
    styles = looks(given.policies)
    lines: dict[str, list[Any]] = {label: [] for label in given.policies}
    figures: dict[str, Any] = {}
    seen = {
        label: [latencies(run.record.sims) for run in given.runs_of(label)]  # arrays of every seed
        for label in given.policies
    }
    for name, unit, factor in (("ttft", "s", 1), ("tpot", "ms", 1000), ("e2e", "s", 1)):
        curves = {
            label: factor * np.concatenate([getattr(found, name) for found in of_seeds])
            for label, of_seeds in seen.items()
        }
        figures[f"cdf_{name}"] = _cdf(name.upper(), unit, curves, styles, lines)
    figures["trade_mean"] = _trade_off(given, "mean", lambda spread: spread.mean, styles, lines)
    figures["trade_p99"] = _trade_off(given, "p99", lambda spread: spread.p99, styles, lines)
    return {"legend": _legend(given.policies, styles, lines), **figures}


def _cdf(title: str, unit: str, curves: dict[str, Any], styles: dict[str, Look], lines: dict[str, list[Any]]) -> Any:
    made = plain_figure(
        width=WIDTH // 3,
        height=330,
        x_axis_type="log",
        tools=_TOOLS,
        x_axis_label=f"{title} [{unit}]{_LOG}",
        title=title,
    )
    made.yaxis.axis_label = "share of requests"
    extremes = [
        extreme
        for values in curves.values()
        for extreme in (values[values > 0].min(initial=np.inf), values.max(initial=0))
    ]
    least, most = min(extremes), max(extremes)
    if 0 < least < most < _LABELLED_FROM * least:
        made.xaxis.ticker = FixedTicker(ticks=_round_numbers(least, most))
        made.xaxis.formatter = NumeralTickFormatter(format="0,0.[0000]")
    for label, values in curves.items():
        known = values[values > 0]
        if not len(known):
            continue
        look = styles[label]
        data = {
            "x": np.quantile(known, QUANTILES).astype(np.float32),
            "y": QUANTILES.astype(np.float32),
        }
        line = made.line(
            "x", "y", source=data, color=look.colour, line_dash=look.dash, line_width=2, alpha=0.9, name=label
        )
        lines[label].append(line)
    made.x_range.only_visible = True  # whoever hides a collapsed policy wants to see the others larger
    tips = [("policy", "$name"), (title, "@x{0.000} " + unit), ("share", "@y{0.0 %}")]
    made.add_tools(HoverTool(tooltips=tips, line_policy="nearest"))
    return made


def _trade_off(
    given: ReportInput,
    name: str,
    of: Callable[[Spread], float | None],
    styles: dict[str, Look],
    lines: dict[str, list[Any]],
) -> Any:
    """One point a policy and seed; the lower left corner is best."""
    rows: list[tuple[str, int, float, float]] = [
        (run.policy, run.summary.seed, ttft, 1000 * tpot)
        for run in given.runs
        if (ttft := of(run.summary.ttft_s)) is not None and (tpot := of(run.summary.tpot_s)) is not None
    ]
    columns = [row[2] for row in rows], [row[3] for row in rows]
    scale = "log" if any(map(_wide, columns)) and all(min(values) > 0 for values in columns) else "linear"
    made = plain_figure(
        width=WIDTH // 2,
        height=380,
        tools=_TOOLS,
        title=f"{name} (lower left is better)",
        x_axis_type=scale,
        y_axis_type=scale,
        x_axis_label=f"TTFT {name} [s]" + (_LOG if scale == "log" else ""),
        y_axis_label=f"TPOT {name} [ms]" + (_LOG if scale == "log" else ""),
    )
    made.axis.formatter = NumeralTickFormatter(format="0,0.[000]")
    for axis, values in zip((made.xaxis, made.yaxis), columns, strict=True):
        if scale == "log":
            wide = _wide(values)
            axis.ticker = (
                FixedTicker(ticks=_round_numbers(min(values), max(values)))
                if wide
                else BasicTicker(desired_num_ticks=8)
            )
    for label in given.policies:
        own = [row for row in rows if row[0] == label]
        if not own:
            continue
        look = styles[label]
        data = {"x": [row[2] for row in own], "y": [row[3] for row in own], "seed": [row[1] for row in own]}
        points = made.scatter(
            "x",
            "y",
            source=data,
            marker=look.mark,
            size=12,
            fill_color=look.colour,
            fill_alpha=0.75,
            line_color="#ffffff",
            name=label,
        )
        lines[label].append(points)
    made.x_range.only_visible = made.y_range.only_visible = True
    tips = [("policy", "$name"), (given.one_of_several, "@seed"), ("TTFT", "@x{0,0.000} s"), ("TPOT", "@y{0,0.00} ms")]
    made.add_tools(HoverTool(tooltips=tips))
    return made


def _wide(values: Sequence[float]) -> bool:
    return max(values, default=1.0) > _LOG_FROM * min(values, default=1.0)


def _round_numbers(least: float, most: float) -> list[float]:
    """1, 2 and 5 times powers of ten around a range; over three decades the powers alone.

    Example:
        >>> _round_numbers(3, 30)
        [2, 5, 10, 20, 50]
    """
    steps = (1, 2, 5) if most < 1000 * least else (1,)
    powers = range(floor(log10(least)) - 1, ceil(log10(most)) + 2)
    ticks = [step * 10**power if power >= 0 else step / 10**-power for power in powers for step in steps]
    low = max([tick for tick in ticks if tick <= least], default=ticks[0])
    high = min([tick for tick in ticks if tick >= most], default=ticks[-1])
    return [tick for tick in ticks if low <= tick <= high]


def _legend(policies: Sequence[str], styles: dict[str, Look], lines: dict[str, list[Any]]) -> Any:
    """A strip with the legend of all figures; its own samples have no data, they are there to be drawn."""
    columns = max(1, min(len(policies), WIDTH // (60 + 7 * max(map(len, policies)))))
    rows = -(-len(policies) // columns)
    made = strip_figure(_ROW_PIXELS * rows + 10)
    items = []
    for label in policies:
        look = styles[label]
        own = {"x": [float("nan")], "y": [float("nan")]}
        sample = made.line("x", "y", source=own, line_color=look.colour, line_dash=look.dash, line_width=3)
        mark = made.scatter("x", "y", source=own, marker=look.mark, size=9, fill_color=look.colour, line_color=None)
        items.append(LegendItem(label=label, renderers=[sample, mark, *lines[label]]))
    legend = Legend(
        items=items,
        ncols=columns,
        nrows=rows,
        location="top_left",
        click_policy="hide",
        border_line_color=None,
        label_text_font_size="12px",
        orientation="horizontal",
        spacing=14,
        margin=0,
    )
    made.add_layout(legend)
    return made
