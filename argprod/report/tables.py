"""The tables of the report as HTML: who wins, all metrics, settings and provenance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from argprod.report.measures import (
    E2E,
    GOODPUT,
    HITS,
    IMBALANCE_P50,
    IMBALANCE_P99,
    SERVICE_OBJECTIVE,
    THROUGHPUT,
    TPOT,
    TTFT,
    Measure,
    number,
    over_seeds,
)
from argprod.report.model import ReportInput
from argprod.report.ranking import Ranking, Relation, Standing, rank, rankings
from argprod.report.verdict import outcome, product_of
from argprod.source_view import NOTHING_SHARED, remarkable
from replay.metrics import TPOT_LIMIT_S, TTFT_BASE_S, TTFT_S_PER_PROMPT_TOKEN, Summary
from replay.sim.cost_model import MODELS

_TEXT_COLUMNS = ("measure", "best", "next", "policy", "finding or mitigation")


def winners_table(given: ReportInput) -> str:
    """One row a measure: the best policy, the next one, and where LMetric stands; nothing where one policy ran."""
    if len(given.policies) == 1:
        return ""
    label = product_of(given)
    heads = ["measure", "best", "value", "next", "value", "against the best"]
    heads += [label, "place", "against the best"] if label is not None else []
    rows = [_winner_row(ranking, label) for ranking in rankings(given)]
    return html_table([heads], rows, "winners")


def _winner_row(ranking: Ranking, label: str | None) -> list[str]:
    measure, best = ranking.measure, ranking.best
    direction = "more is better" if measure.more else "less is better"
    row = [f'{escape(measure.label)} <span class="note">{direction}</span>']
    row += [_name(best.policy), right_cell(measure.shown(best.value.mean))]
    if len(ranking.standings) > 1:
        second = ranking.standings[1]
        row += [
            _name(second.policy),
            right_cell(measure.shown(second.value.mean)),
            right_cell(_against_best(ranking, second)),
        ]
    else:
        row += ["–", right_cell("–"), right_cell("–")]
    if label is not None:
        own = ranking.of(label)
        if own is None:
            row += [right_cell("–")] * 3
        else:
            row += [right_cell(measure.shown(own.value.mean)), right_cell(_place(ranking, label))]
            row += [right_cell(_against_best(ranking, own))]
    return row


def _place(ranking: Ranking, label: str) -> str:
    """The places that a policy may have, as far as the runs tell: ``2 of 4``, ``1–3 of 4``."""
    first, untold = 1 + len(ranking.ahead_of(label)), len(ranking.untold_from(label))
    places = f"{first}–{first + untold}" if untold else str(first)
    return f"{places} of {len(ranking.standings)}"


def _against_best(ranking: Ranking, standing: Standing) -> str:
    own = standing is ranking.best
    told = outcome(ranking, standing.policy) if own else ranking.relation(standing, ranking.best)
    if own and told is Relation.AHEAD:
        return "best"
    if told in (Relation.EQUAL, Relation.UNTOLD):
        return "equal" if told is Relation.EQUAL else "not told apart"
    return ranking.measure.worse_by(ranking.distance(standing, ranking.best))


def latency_table(given: ReportInput) -> str:
    """TTFT, TPOT and E2E: mean and percentiles of every policy."""
    groups = {"TTFT [s]": TTFT, "TPOT [ms]": TPOT, "E2E [s]": E2E}
    top = ['<th rowspan="2">policy</th>'] + [
        f'<th colspan="{len(group)}">{name}</th>' for name, group in groups.items()
    ]
    measures = [measure for group in groups.values() for measure in group]
    heads = [f'<th class="right">{measure.label.split()[-1]}</th>' for measure in measures]
    return _metrics(given, measures, f"<tr>{''.join(top)}</tr><tr>{''.join(heads)}</tr>", [])


def other_table(given: ReportInput) -> str:
    """Everything else that is measured, and how the requests ended."""
    measures = [GOODPUT, HITS, THROUGHPUT, IMBALANCE_P50, IMBALANCE_P99]
    counts = ["finished", "rejected", "failed", "preemptions"]
    heads = ["<th>policy</th>"]
    for measure in measures:
        unit = f" [{measure.unit}]" if measure.unit else ""
        heads.append(f'<th class="right">{escape(measure.label + unit)}</th>')
    heads += [f'<th class="right">{name}</th>' for name in counts]
    return _metrics(given, measures, f"<tr>{''.join(heads)}</tr>", counts)


def _metrics(given: ReportInput, measures: Sequence[Measure], head: str, counts: Sequence[str]) -> str:
    """Bold are those whom nobody is ahead of, where somebody is; with several seeds the range stands below the mean."""
    found = {label: [over_seeds(m, given.summaries_of(label)) for m in measures] for label in given.policies}
    unbeaten = [ranking.unbeaten if (ranking := rank(given, measure)) is not None else [] for measure in measures]
    rows = []
    for label, values in found.items():
        cells = [f"<td>{_name(label)}</td>"]
        for column, value in enumerate(values):
            text = number(value.mean)
            if label in unbeaten[column] and len(unbeaten[column]) < len(found):
                text = f"<b>{text}</b>"
            if len(value.by_seed) > 1:
                text += f'<br><span class="note">{number(value.low)}–{number(value.high)}</span>'
            cells.append(f'<td class="right">{text}</td>')
        for name in counts:
            total = sum(getattr(summary, name) for summary in given.summaries_of(label))
            cells.append(f'<td class="right">{total:,}</td>')
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return f'<div class="wide"><table class="metrics"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table></div>'


def repeat_facts(given: ReportInput) -> dict[str, Any]:
    """The settings as they were resolved; what was left unset and limits nothing is left out."""
    facts = {name: dict(value) if isinstance(value, Mapping) else value for name, value in given.settings.items()}
    cluster, source = facts.get("cluster", {}), facts.get("source", {})
    if "tensor_parallel" in cluster and cluster["tensor_parallel"] is None and cluster.get("model") in MODELS:
        cluster["tensor_parallel"] = MODELS[cluster["model"]].gpus
    if "speeds" in cluster and cluster["speeds"] is None:
        cluster["speeds"] = "1 (all instances alike)"
    if "closed_loop" in source and source["closed_loop"] is None:
        linked = any(sim.request.after is not None for sim in given.runs[0].record.sims)
        source["closed_loop"] = given.plan.closed_loop and linked
    if "warm_up" in facts:  # some workloads have a parameter of this name, which is another thing
        facts["requests that warm each engine up"] = facts.pop("warm_up")
    facts.setdefault(
        "objective",
        {
            "ttft_base_s": TTFT_BASE_S,
            "ttft_s_per_prompt_token": TTFT_S_PER_PROMPT_TOKEN,
            "tpot_s": TPOT_LIMIT_S,
        },
    )
    return {
        name: {key: each for key, each in value.items() if each is not None} if isinstance(value, Mapping) else value
        for name, value in facts.items()
        if value is not None
    }


def facts_table(facts: Mapping[str, Any]) -> str:
    """Nested settings as two columns; names of nested ones are joined by dots."""
    rows = [[f"<code>{escape(name)}</code>", escape(_value(value))] for name, value in _flat(facts)]
    return html_table([], rows, "facts")


def source_facts(given: ReportInput) -> dict[str, Any]:
    """Where the requests came from."""
    source = given.source
    facts: dict[str, Any] = {
        "source": source.name,
        "kind": "trace file" if source.kind == "trace" else "generated workload",
        "requests": f"{given.request_count:,} over {number(given.span_s)} s"
        + (f", of which {given.arrived:,} arrived" if given.cut_short else ""),
        "tokens in a block": source.block_tokens,
    }
    if source.kind == "trace":
        facts["sha256"] = source.sha256 or "not known (not a regular file)"
    else:
        facts["workload seeds"] = given.seeds
        facts["workload parameters"] = source.params
    if source.report is not None:
        facts["lines read"] = source.report.lines
        facts["bad lines skipped"] = source.report.skipped
        facts |= remarkable(source.report)
    if not any(sim.request.block_keys for sim in given.runs[0].record.sims):
        facts["shared prefixes"] = NOTHING_SHARED
    return facts


def run_facts(given: ReportInput) -> dict[str, Any]:
    """When and how the report was made."""
    wall_s = sum(run.summary.wall_s for run in given.runs)
    return {
        "date": given.date or "not given",
        "command": given.command or "not given",
        "argprod": given.settings.get("argprod", "not given"),
        "policies": [_with_knobs(summary) for summary in _first(given)],
        f"{given.one_of_several}s": len(given.seeds) if given.measured_on else given.seeds,
        **({} if given.measured_on else {"what the router sees": given.plan.cluster.level.value}),
        "instances": len(given.plan.cluster),
        "counts for goodput": SERVICE_OBJECTIVE,
        "wall time of all runs": f"{number(wall_s)} s"
        + ("" if given.measured_on else " (measured; everything else is simulated)"),
    }


def _with_knobs(summary: Summary) -> str:
    knobs = ", ".join(f"{name}={_value(value)}" for name, value in summary.knobs.items())
    mitigation = "" if summary.mitigation == "none" else f" +{summary.mitigation}"
    return f"{summary.name}{mitigation}" + (f" ({knobs})" if knobs else "")


def _first(given: ReportInput) -> list[Summary]:
    return [given.summaries_of(label)[0] for label in given.policies]


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in facts.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={_value(each)}" for name, each in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _name(label: str) -> str:
    """A policy, with places where a long one may break."""
    text = escape(label)
    for sign in ",:_":
        text = text.replace(sign, sign + "<wbr>")
    return f'<span class="policy">{text}</span>'


def right_cell(text: str) -> str:
    """A cell with a value: set to the right."""
    return f'<span class="value">{escape(text)}</span>'


def html_table(heads: Sequence[Sequence[str]], rows: Sequence[Sequence[str]], name: str) -> str:
    """Cells are HTML already; a cell that holds a value is set to the right."""
    head = "".join(f"<tr>{''.join(_head(text) for text in line)}</tr>" for line in heads)
    body = "".join(f"<tr>{''.join(_cell(text) for text in row)}</tr>" for row in rows)
    return f'<div class="wide"><table class="{name}"><thead>{head}</thead><tbody>{body}</tbody></table></div>'


def _head(text: str) -> str:
    """Heads of text columns stand to the left, those of numbers to the right."""
    kind = "" if text in _TEXT_COLUMNS else ' class="right"'
    return f"<th{kind}>{escape(text)}</th>"


def _cell(text: str) -> str:
    kind = ' class="right"' if text.startswith('<span class="value">') else ""
    return f"<td{kind}>{text}</td>"
