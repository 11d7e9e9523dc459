"""The page: sections in order, figures put in, everything in one file that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from bokeh.document import Document
from bokeh.embed import components
from bokeh.resources import Resources

from argprod.report.latency import latency_figures
from argprod.report.load import BARS_CUT, heat_maps, share_bars
from argprod.report.matrix import matrix_figure
from argprod.report.measures import SERVICE_OBJECTIVE
from argprod.report.model import ReportInput
from argprod.report.tables import (
    facts_table,
    latency_table,
    other_table,
    repeat_facts,
    run_facts,
    source_facts,
    winners_table,
)
from argprod.report.verdict import (
    ahead_lines,
    behind_lines,
    caveats,
    lead_sentence,
    product_of,
    told_by,
    untold_lines,
    warnings,
)
from argprod.report.watch import watch_figures, watch_section
from scheduler.errors import BadInput

_TEMPLATE = Path(__file__).with_name("page.html")


def write_report(path: Path, given: ReportInput) -> None:
    """Write the report.

    Raises:
        BadInput: if the file cannot be written.
    """
    text = render(given)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as fault:
        raise BadInput("--report", str(path), "a file that can be written", fault.strerror or "") from None


def render(given: ReportInput) -> str:
    """The report as HTML."""
    figures: dict[str, Any] = latency_figures(given)
    bar, maps = heat_maps(given)
    bars, cut = share_bars(given)
    matrix = None if given.disagreement is None else matrix_figure(given.disagreement)
    watches = watch_figures(given)
    figures |= {f"watch_{i}": figure for i, figure in enumerate(watches)}
    figures |= {f"map_{i}": figure for i, figure in enumerate(maps)}
    figures |= {f"bars_{i}": figure for i, figure in enumerate(bars)}
    if bar is not None:
        figures["bar"] = bar
    if matrix is not None:
        figures["matrix"] = matrix
    script, divs = components(_in_one_document(figures))
    # Of Bokeh's bundles only the base is needed: 1.2 MB instead of 5.
    library = Resources(mode="inline", components=["bokeh"]).render()
    first_seed = given.seeds[0]
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        library=library,
        script=script,
        title=escape(_title(given)),
        subtitle=escape(_subtitle(given)),
        badge=escape(_badge(given)),
        lead=escape(lead_sentence(given)),
        warnings=_warnings(given),
        standing=_standing(given),
        caveats=_list(caveats(given)),
        winners=winners_table(given),
        latency_table=latency_table(given),
        other_table=other_table(given),
        objective=escape(SERVICE_OBJECTIVE),
        spread=_spread_note(given),
        legend=_row([divs["legend"]]),
        cdfs=_row([divs[f"cdf_{name}"] for name in ("ttft", "tpot", "e2e")]),
        trades=_row([divs["trade_mean"], divs["trade_p99"]]),
        seed=first_seed,
        one=given.one_of_several,
        maps=_maps(divs, len(maps)),
        cut=f", cut at {BARS_CUT:g} times the even share" if cut else "",
        bars=_row([divs[f"bars_{i}"] for i in range(len(bars))]),
        watch=watch_section(given, [divs[f"watch_{i}"] for i in range(len(watches))]),
        matrix=_matrix(given, divs.get("matrix")),
        source_facts=facts_table(source_facts(given)),
        run_facts=facts_table(run_facts(given)),
        settings=facts_table(repeat_facts(given)),
    )


def _maps(divs: dict[str, str], count: int) -> str:
    """The heat maps below their common scale."""
    if not count:
        return "<p>No load sampled.</p>"
    return _row([divs["bar"]]) + _row([divs[f"map_{i}"] for i in range(count)])


def _in_one_document(figures: dict[str, Any]) -> dict[str, Any]:
    """Bokeh looks through the whole document for every root that is added, unless it is told to wait for the last."""
    document = Document()
    with document.models.freeze():
        for figure in figures.values():
            document.add_root(figure)
    return figures


def _title(given: ReportInput) -> str:
    """What was replayed, without parameters and folders: those are among the facts below."""
    name = given.source.name
    if given.source.kind == "trace":
        return f"argprod: {Path(name).name}"
    return f"argprod: {':'.join(name.split(':')[:2])}"


def _subtitle(given: ReportInput) -> str:
    cluster = given.plan.cluster
    counts = (
        (given.request_count, "request", "requests"),
        (len(given.policies), "policy", "policies"),
        (len(given.seeds), given.one_of_several, f"{given.one_of_several}s"),
        (len(cluster), f"{given.kind} instance", f"{given.kind} instances"),
    )
    told = [f"{count:,} {one if count == 1 else many}" for count, one, many in counts]
    if given.cut_short == len(given.runs):
        told[0] = f"{given.arrived:,} of {told[0]}"
    return ", ".join(told)


def _badge(given: ReportInput) -> str:
    """Whether to believe these numbers of engines, or of a model of them."""
    if given.measured_on:
        return f"Measured on {given.measured_on}: what another machine or model does, it does not say."
    return "Simulated: no number here was measured on a GPU."


def _warnings(given: ReportInput) -> str:
    """What may undo the verdict, right beneath its headline."""
    found = warnings(given)
    return f'<div class="warnings">{_list(found)}</div>' if found else ""


def _standing(given: ReportInput) -> str:
    """Where LMetric is ahead, where it is behind, and where the runs do not tell: lists that are set alike."""
    label = product_of(given)
    if label is None or len(given.policies) < 2:
        return ""
    untold = untold_lines(given, label)
    ahead = ahead_lines(given, label) or ["Nowhere: in no measure shown all others are behind or equal."]
    behind = behind_lines(given, label) or ["Nowhere: no policy is ahead in any measure shown."]
    lists = [(f"Where {label} is ahead or equal", ahead), (f"Where {label} is behind", behind)]
    if untold:
        lists.append((f"Where {told_by(given)} do not tell {label} apart from the best", untold))
    return _row([f"<section><h3>{escape(title)}</h3>{_list(lines)}</section>" for title, lines in lists], "lists")


def _spread_note(given: ReportInput) -> str:
    if len(given.seeds) == 1:
        return f"One {given.one_of_several}, so no spread."
    many = f"{given.one_of_several}s"
    return f"Means over {len(given.seeds)} {many}; below them the least and the largest of the {many}."


def _matrix(given: ReportInput, div: str | None) -> str:
    found = given.disagreement
    if found is None:
        if given.measured_on:
            return "<p>Not asked of real engines: there no other rule looks on.</p>"
        return "<p>Not measured: it is told only of runs in which the rule alone decided.</p>"
    left_out = [f"{label}: {reason}." for label, reason in found.left_out.items()]
    alone = "Only one rule ran, so there is nothing to compare it with."
    text = (
        _row([div])
        if div
        else f"<p>{alone if found.rows and found.columns else 'No rule of this experiment can be asked.'}</p>"
    )
    if found.sampled and div is not None:
        text += f"<p>{_range(found.sampled)} decisions sampled per row, evenly spaced.</p>"
    return text + (f"<p>Not asked:</p>{_list(left_out)}" if left_out else "")


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _row(parts: Sequence[str], kind: str = "row") -> str:
    return f'<div class="{kind}">{"".join(parts)}</div>'
