"""Colours, dashes and the look that all figures share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from bokeh.palettes import Blues256
from bokeh.plotting import figure

#: Ten colours that stay apart for colour-blind eyes: Okabe and Ito's without yellow, and four darker ones.
COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#333333",
    "#882255",
    "#8c8c1f",
    "#6a51a3",
)
#: After ten policies colours come again, with another dash and another mark.
DASHES = ("solid", "dashed", "dotted")
MARKS = ("circle", "square", "triangle")
#: From light (least) to dark (most).
SHADES = tuple(reversed(Blues256))
#: Width of the page's content [pixel].
WIDTH = 1200
#: Rows and bars of one figure, at most; more instances are shown in groups of neighbours.
INSTANCES_SHOWN_MAX = 128


@dataclass(frozen=True, slots=True)
class Look:
    """How a policy is drawn, the same in every figure."""

    colour: str
    dash: str
    mark: str


def looks(policies: Sequence[str]) -> dict[str, Look]:
    """The look of each policy, by its place."""
    count = len(COLOURS)
    return {
        label: Look(COLOURS[i % count], DASHES[i // count % len(DASHES)], MARKS[i // count % len(MARKS)])
        for i, label in enumerate(policies)
    }


def plain_figure(**options: Any) -> Any:
    """A figure with the report's look."""
    made: Any = figure(**options)
    made.toolbar.logo = None
    made.toolbar.autohide = True
    made.outline_line_color = "#cccccc"
    made.title.text_font_size = "12px"
    made.title.text_color = "#222222"
    for axis in made.axis:
        axis.axis_label_text_font_size = "12px"
        axis.axis_label_text_font_style = "normal"
        axis.major_label_text_font_size = "11px"
        axis.axis_line_color = "#999999"
        axis.major_tick_line_color = "#999999"
        axis.minor_tick_line_color = None
    made.grid.grid_line_color = "#e8e8e8"
    return made


def strip_figure(height: int, width: int = WIDTH) -> Any:
    """A figure that shows nothing but what is laid out in it: a legend or a colour bar."""
    made = figure(width=width, height=height, toolbar_location=None, tools="", min_border=0)
    made.axis.visible = False
    made.grid.visible = False
    made.outline_line_color = None
    return made


def grouped(values: Any, most: int = INSTANCES_SHOWN_MAX) -> Any:
    """Means of neighbours along the first axis, so that no more than ``most`` rows are left.

    Example:
        >>> grouped(np.array([1.0, 3.0, 5.0]), 2).tolist()
        [2.0, 5.0]
    """
    array = np.asarray(values, dtype=float)
    size = -(-len(array) // most)
    if size == 1:
        return array
    return np.stack([array[start : start + size].mean(axis=0) for start in range(0, len(array), size)])


def instances_of_group(index: int, count: int, most: int = INSTANCES_SHOWN_MAX) -> str:
    """Which instances a row stands for.

    Example:
        >>> instances_of_group(1, 3, 2), instances_of_group(1, 2, 2), instances_of_group(0, 4, 2)
        ('2', '1', '0 to 1')
    """
    size = -(-count // most)
    first, last = index * size, min(count, (index + 1) * size) - 1
    return str(first) if first == last else f"{first} to {last}"
