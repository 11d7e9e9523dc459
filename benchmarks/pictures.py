"""The picture of the idea, which README and book show: one decision, by product and by weighted sums."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import matplotlib.style
import numpy as np
from matplotlib.figure import Figure

import theory
from benchmarks.measure import ROOT

PATH = ROOT / "docs" / "style" / "one_decision.svg"
#: P-token and batch size of each instance of the picture.
INSTANCES = ((9000, 2), (5200, 4), (2600, 7), (820, 16), (420, 40), (6800, 9), (4000, 14), (1800, 24), (1000, 34))
WEIGHTS = (10, 1500)


def one_decision() -> Figure:
    """Instances as dots; what product and sums find equally good as curves; what each takes."""
    chosen = theory.divergence(INSTANCES).choice
    p, b = zip(*INSTANCES, strict=True)
    figure, axis = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    axis.scatter(p, b, s=40, color="#555555", zorder=3, label="instance")
    ring: dict[str, Any] = {"facecolors": "none", "edgecolors": "#1f5fbf", "linewidths": 2, "zorder": 4}
    axis.scatter(*INSTANCES[chosen], s=130, label="the product takes", **ring)
    grid = np.linspace(120, 9500, 400)
    axis.plot(grid, p[chosen] * b[chosen] / grid, color="#1f5fbf", label="equal product")
    ring |= {"edgecolors": "#b3541e", "linewidths": 1.5, "marker": "s"}
    for weight, style in zip(WEIGHTS, ("--", ":"), strict=True):
        least = min(range(len(INSTANCES)), key=lambda place: p[place] + weight * b[place])
        level = p[least] + weight * b[least]
        axis.plot(grid, (level - grid) / weight, style, color="#b3541e", label=f"equal sum, w = {weight}")
        axis.scatter(*INSTANCES[least], s=130, **ring)
    axis.set(xlim=(0, 9500), ylim=(0, 45))
    axis.set(xlabel="P: prefill tokens to compute first [token]", ylabel="B: batch size [request]")
    axis.legend(fontsize=8)
    return figure


def write(path: Path = PATH) -> None:
    """Write the picture, the same to the byte on every machine and whatever style was set."""
    style = {"svg.hashsalt": "argprod", "svg.fonttype": "path", "savefig.facecolor": "white"}
    with mpl.style.context(["default", style], after_reset=True):
        figure = one_decision()
        figure.savefig(path, metadata={"Date": None, "Creator": None})
        plt.close(figure)


if __name__ == "__main__":
    write()
