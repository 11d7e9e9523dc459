"""Figures of the evaluation, drawn from its rows; each gives a figure that the page shows."""

from __future__ import annotations

import itertools
import math

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from benchmarks.evaluation.questions import PRODUCT, rivals, settings
from benchmarks.evaluation.scene import LOADS, SEEDS, WORKLOADS
from benchmarks.evaluation.sweeps import FORMS, STATIC, SWEPT_LOADS, curve
from benchmarks.evaluation.tables import NAMES, against, of, short
from benchmarks.tables import result

BLUE, ORANGE, GREY = "#1f5fbf", "#b3541e", "#555555"
COLOURS = (BLUE, ORANGE, "#2e7d4f", "#7b4fa3", "#8a7a1f")
MARKERS = "osD^v"
#: Rules that are named in the picture of all; the others are dots.
NAMED = (
    "linear",
    "dynamo",
    "llm_d_default",
    "simulated_ttft",
    "smetric",
    "marginal_delay",
    "preble",
    "sglang_cache_aware",
    "bailian",
    "vllm_v1",
)
#: How far the picture of all goes, in ratios to the product; rules further out are counted.
SHOWN = (0.55, 3.2)


def census() -> Figure:
    """Of the real trace: on how many decisions a fixed weight differs from the product, and what weight would not."""
    found = result("census")["rows"]
    rows = {name: row for name, row in found.items() if name.startswith("mooncake")}
    figure, axes = plt.subplots(1, 2, figsize=(7.4, 3.0), layout="constrained")
    for (name, row), colour in zip(rows.items(), (BLUE, ORANGE), strict=False):
        weights, shares = zip(*((float(w), 100 * share) for w, share in row["differing_share"].items()), strict=True)
        label = name.replace("mooncake_conversation", "as recorded").replace("as recorded, ", "")
        axes[0].plot(weights, shares, "o-", ms=3, color=colour, label=label)
        slices = row["implied_weight_p50_by_slice"]
        axes[1].step(range(len(slices)), slices, where="mid", color=colour, label=label)
    axes[0].set(
        xscale="log", ylim=(0, None), xlabel="weight of the line [token/request]", ylabel="decisions that differ [%]"
    )
    axes[1].set(yscale="log", xlabel="twentieths of the hour", ylabel="median P/B [token/request]")
    axes[1].set_yticks([500, 1000, 2000, 5000], ["500", "1000", "2000", "5000"])
    axes[1].minorticks_off()
    axes[0].legend(fontsize=8)
    for axis in axes:
        axis.tick_params(labelsize=8)
    return figure


def weight_curves() -> Figure:
    """The line over the product, by its weight: both forms on each workload at two loads."""
    figure, axes = plt.subplots(
        2, len(SWEPT_LOADS), figsize=(7.6, 6.4), layout="constrained", sharey="row", sharex=True
    )
    for axis, (form, load) in zip(axes.flat, itertools.product(FORMS, SWEPT_LOADS), strict=True):
        for workload, colour, marker in zip(WORKLOADS, COLOURS, MARKERS, strict=True):
            weights, ratios = zip(*curve(workload, load, form), strict=True)
            places = [math.log10(weight / (1 - weight)) for weight in weights]
            axis.plot(places, ratios, color=colour, marker=marker, ms=3.5, lw=1.2, label=NAMES[workload])
        axis.axhline(1, color="black", lw=1)
        shown = (0.01, 0.1, 0.3, *STATIC.values(), 0.9, 0.99)
        axis.set_xticks([math.log10(w / (1 - w)) for w in shown], [f"{w:g}" for w in shown], fontsize=7, rotation=45)
        axis.set(yscale="log")
        axis.set_title(f"{form.replace('_', ' ')}, {LOADS[load]:g} of the maximum", fontsize=9)
    for axis, ticks in zip(axes[:, 0], ((0.8, 1, 1.5, 2, 3, 5, 10, 20), (0.8, 0.9, 1, 1.1, 1.2, 1.3)), strict=True):
        axis.set_ylabel("TTFT and TPOT over the product's", fontsize=8)
        axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=8)
        axis.minorticks_off()
    for axis in axes[1]:
        axis.set_xlabel("weight")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=5, fontsize=8)
    return figure


def everyone(load: str = "near") -> Figure:
    """Every rule at its best setting: mean TTFT and mean TPOT over the product's, one panel a workload.

    Rules outside :data:`SHOWN` are counted in a corner: some are so far out that the others would be one dot.
    """
    figure, axes = plt.subplots(2, 3, figsize=(7.6, 5.2), layout="constrained")
    for axis, workload in zip(axes.flat, WORKLOADS, strict=False):
        product, outside = of(workload, load, PRODUCT, SEEDS), 0
        for rule in rivals():
            if rule != PRODUCT:
                text = list(settings(workload, load, rule).values())[:2][-1]
                rows = of(workload, load, text, SEEDS)
                x, y = (against(rows, product, metric).ratio for metric in ("ttft_mean", "tpot_mean"))
                named = rule in NAMED
                outside += max(x, y) > SHOWN[1]
                axis.plot(x, y, MARKERS[NAMED.index(rule) % 5] if named else ".", ms=5 if named else 4,
                          color=_colour(rule), label=rule if named else None)  # fmt: skip
        axis.plot(1, 1, "*", ms=11, color=BLUE, label="the product")
        axis.axhline(1, color="black", lw=0.6)
        axis.axvline(1, color="black", lw=0.6)
        axis.set(xscale="log", yscale="log", xlim=SHOWN, ylim=SHOWN)
        axis.text(0.97, 0.04, f"{outside} further out", transform=axis.transAxes, ha="right", fontsize=7)
        axis.set_title(NAMES[workload], fontsize=9)
        for one in (axis.xaxis, axis.yaxis):
            one.set_major_locator(FixedLocator((0.6, 0.8, 1, 1.5, 2, 3)))
            one.set_major_formatter(lambda value, _: f"{value:g}")
            one.set_minor_locator(NullLocator())
        axis.tick_params(labelsize=7, which="both")
    axes.flat[-1].axis("off")
    axes.flat[-1].legend(*axes.flat[0].get_legend_handles_labels(), loc="center", fontsize=8)
    figure.supxlabel(f"{short('ttft_mean')} over the product's", fontsize=9)
    figure.supylabel(f"{short('tpot_mean')} over the product's", fontsize=9)
    return figure


def _colour(rule: str) -> str:
    return COLOURS[1 + NAMED.index(rule) % 4] if rule in NAMED else "#b0b0b0"
