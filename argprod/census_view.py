"""What a census found, for the terminal: tables that fit 80 columns, and what single forks can and cannot say."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from argprod.tables import number
from replay.census_counts import SANE, BestLine, Counts
from replay.census_effects import Estimate, ForkSummary
from replay.census_taking import Census
from scheduler.policies.linear import BATCH_SCALE, TOKEN_SCALE

#: Length of the longest bar.
_BAR = 30
#: With fewer forks intervals, signs and ranks say nothing, and are not shown.
_FEW = 8
#: Measures of the table of forks, by the names of the JSON, and what each is.
_MEASURES = {
    "present": "it and those there before it, as if nothing arrived later",
    "near": "all that arrive by then, the product decides anew",
    "net_near": "that beyond a neutral fork",
}


def show_census(console: Console, census: Census) -> None:
    """All tables of a census, and how to read them."""
    counts = census.counts
    console.print(weight_table(counts))
    _tell_counts(console, counts)
    console.print(slice_table(counts))
    if census.lines:
        console.print(fork_table(census))
        for line in census.lines:
            _tell_run(console, line)
        _tell_chance(console, census)
    console.print("All numbers are simulated.")
    console.print(conclusion(census))


def weight_table(counts: Counts) -> Table:
    """One row a weight: how often that line would have taken another instance."""
    table = _table(f"lines P + w B against the product, {counts.decisions} decisions")
    for heading in ("w\ntoken/request", "lambda\n1", "differs\ndecisions", "\n%"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    most = max((row.share for row in counts.weights), default=0.0)
    for row in counts.weights:
        length = round(_BAR * row.share / most) if most else 0
        table.add_row(
            number(row.weight),
            f"{row.weight_lambda:.3f}",
            str(row.differing),
            number(100 * row.share),
            "█" * max(length, 1 if row.differing else 0),
        )
    return table


def slice_table(counts: Counts) -> Table:
    """One row a part of the run: which weight the product stood for, and which fixed one would have been best."""
    table = _table("weight of the product's choices over the run, P/B [token/request]")
    headings = ("from\ns", "to\ns", "p10", "p50", "p90", "best line\nw", "differs\n%")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for part in counts.slices:
        table.add_row(
            number(part.from_s, 4),
            number(part.to_s, 4),
            *(number(value) for value in part.implied),
            _range(part.best),
            number(100 * part.best.share),
        )
    return table


def fork_table(census: Census) -> Table:
    """One row a line and measure: change of the sum of end-to-end times by one decision, mean with interval."""
    table = _table("change of the sum of all E2E times if one decision is the line's [s], + = line worse")
    table.add_column("w", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for heading in ("forks", "mean", "95%", "median", "quartiles", "sign\n%", "rank\ncorr"):
        table.add_column(heading, justify="right", no_wrap=heading not in ("95%", "quartiles"))
    for line in census.lines:
        predicted = line.predicted["predicted_offset_s"]
        table.add_row(number(line.weight), "predicted", *_cells(predicted), "", "")
        shown = [name for name in _MEASURES if name in line.e2e]
        for place, name in enumerate(shown):
            foreseen = line.foresight["predicted_offset_s"][name]
            few = line.e2e[name].forks < _FEW
            sign = None if few or foreseen.same_sign is None else 100 * foreseen.same_sign
            correlation = "-" if few or foreseen.rank_correlation is None else f"{foreseen.rank_correlation:.2f}"
            end = place == len(shown) - 1
            table.add_row("", name, *_cells(line.e2e[name]), number(sign), correlation, end_section=end)
    return table


def conclusion(census: Census) -> str:
    """The answer in a sentence: how often lines differ, and whether single decisions are shown to cost something."""
    rows = census.counts.weights
    least, most = (number(100 * end([row.share for row in rows])) for end in (min, max))
    weights = f"w from {rows[0].weight:g} to {rows[-1].weight:g}"
    words = (
        f"In short: lines of {weights} differ at {least if least == most else f'{least} to {most}'}% of the decisions; "
    )
    if not census.lines:
        return words + "none was forked, so nothing is known of the cost of one."
    costs = {line.weight: found for line in census.lines if (found := line.e2e.get("net_near")) is not None}
    shown = [
        f"w {number(weight)} ({'line' if found.mean > 0 else 'product'} worse)"
        for weight, found in costs.items()
        if _known(found) and not (found.low or 0) <= 0 <= (found.high or 0)
    ]
    if shown:
        return words + f"a cost of single decisions is shown for {', '.join(shown)}: there the interval excludes 0."
    return words + "a cost of single decisions is not shown: no interval of net_near excludes 0."


def _tell_counts(console: Console, counts: Counts) -> None:
    console.print(
        f"lambda: the same line in the rule linear, with token scale {TOKEN_SCALE:g} and batch scale {BATCH_SCALE:g}"
    )
    for text, share in counts.published.items():
        console.print(f"as published, {escape(text)}: differs in {number(100 * share)}%")
    low, high = SANE
    console.print(f"all w from {low:g} to {high:g} agree with the product in {number(100 * counts.beyond_dispute)}%")
    best = counts.best
    console.print(
        f"best fixed w, known in hindsight: {_range(best)}, differs in {number(100 * best.share)}%; "
        f"with one of its own in each of {len(counts.slices)} parts {number(100 * counts.best_by_slice)}%",
    )
    for kind, found in counts.findings.items():
        lines = ", ".join(f"w {weight}: {number(100 * share)}%" for weight, share in found.differing.items())
        console.print(
            f"found {escape(kind)} at {number(100 * found.decisions / counts.decisions)}% of the decisions "
            f"({found.unsafe} unsafe); there lines differ: {lines}"
        )


def _tell_run(console: Console, line: ForkSummary) -> None:
    """What the forks did to the whole run: raw, and beyond neutral forks."""
    words = [f"w {number(line.weight)}: run {_interval(line.e2e['run'])} s"]
    if "net_run" in line.e2e:
        words.append(f"net_run {_interval(line.e2e['net_run'])} s")
    if "own" in line.e2e:
        words.append(f"own {_interval(line.e2e['own'])} s")
    console.print("; ".join(words))


def _tell_chance(console: Console, census: Census) -> None:
    named = "; ".join(f"{name}: {what}" for name, what in _MEASURES.items())
    console.print(
        f"predicted: tau (q + (n + kappa) B), line less product. {named}. All that arrive by then: within "
        f"{census.horizon_s:g} s after the decision. run, net_run: the same over the whole run; own: of the request "
        "itself. 95%: bootstrap interval of the mean. sign, rank: of predicted "
        "beside observed."
    )
    console.print(
        "A neutral fork takes a twin of the same P and B: what it changes is chance. Decided anew, one fork is mostly "
        "chance, and all forks share the luck of the one run they leave; only net_near is free of it, in the mean."
    )
    for line in census.lines:
        netted = line.e2e.get("net_near")
        if line.forks < _FEW:
            console.print(f"w {number(line.weight)}, {line.forks} forks: too few to conclude.")
        elif netted is not None and netted.forks < _FEW:
            console.print(f"w {number(line.weight)}, {netted.forks} forks with a neutral one: too few to conclude.")
    if not any("net_near" in line.e2e for line in census.lines):
        console.print("No decision nearby has a twin, so there is nothing to hold the chance against.")


def _table(title: str) -> Table:
    return Table(title=escape(title), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)


def _range(best: BestLine) -> str:
    """The weights of a best line, in one number where they are nearly one."""
    if best.high is None:
        return f"{number(best.low)}+"
    low, high = number(best.low), number(best.high)
    return low if low == high else f"{low} to {high}"


def _known(found: Estimate) -> bool:
    """Whether there are forks enough for an interval."""
    return found.forks >= _FEW and found.low is not None and found.high is not None


def _interval(found: Estimate) -> str:
    if not _known(found):
        return f"{number(found.mean)} [-]"
    return f"{number(found.mean)} [{number(found.low)}, {number(found.high)}]"


def _cells(found: Estimate) -> Sequence[str]:
    low, middle, high = found.quartiles
    ends = "-" if not _known(found) else f"{number(found.low)}, {number(found.high)}"
    return str(found.forks), number(found.mean), ends, number(middle), f"{number(low)}, {number(high)}"
