"""The verdict: who wins what and by how much, where LMetric does not, and what the runs do not tell.

Wins and losses go through the same code, so they come out in the same words. All follow from numbers alone
(:mod:`argprod.report.ranking`).
"""

from __future__ import annotations

from collections.abc import Sequence

from argprod.report.measures import HEADLINE
from argprod.report.model import ReportInput
from argprod.report.ranking import CONFIDENCE, EQUAL_WITHIN, Ranking, Relation, Standing, rankings


def product_of(given: ReportInput) -> str | None:
    """The label of LMetric among the policies: as published if it ran, else its first variant with other ties."""
    named = [run.policy for run in given.runs if run.summary.name == "lmetric"]
    return "lmetric" if "lmetric" in named else (named[0] if named else None)


def told_by(given: ReportInput) -> str:
    """How many runs of a policy speak: ``2 repetitions``, ``1 seed``."""
    count = len(given.seeds)
    return f"{count} {given.one_of_several}{'' if count == 1 else 's'}"


def outcome(ranking: Ranking, label: str) -> Relation:
    """How a policy stands to all others at once: behind if one is ahead, ahead if all are behind."""
    if ranking.of(label) is None or ranking.ahead_of(label):
        return Relation.BEHIND
    if ranking.untold_from(label):
        return Relation.UNTOLD
    return Relation.EQUAL if ranking.equal_to(label) else Relation.AHEAD


def lead_sentence(given: ReportInput) -> str:
    """One or two sentences about the headline measures."""
    found = rankings(given, HEADLINE)
    label = product_of(given)
    if len(given.policies) == 1:
        return f"Only {given.policies[0]} ran, so there is nothing to compare it with."
    if label is None:
        parts = [f"{_names(r.unbeaten)} in {r.measure.label}" for r in found]
        return f"LMetric is not among the policies of this experiment. Nobody is ahead of {'; '.join(parts)}."
    by: dict[Relation, list[Ranking]] = {relation: [] for relation in Relation}
    for ranking in found:
        by[outcome(ranking, label)].append(ranking)
    starts = {
        Relation.AHEAD: "ahead in {}",
        Relation.EQUAL: "equal to the best in {}",
        Relation.UNTOLD: f"not told apart from the best by {told_by(given)} in {{}}",
    }
    parts = [f"{text.format(len(by[kind]))} ({_measures(by[kind])})" for kind, text in starts.items() if by[kind]]
    lost = by[Relation.BEHIND]
    if lost:
        parts.append(f"behind in {len(lost)}: {'; '.join(_loss(r, label) for r in lost)}")
    return f"Of {len(found)} headline measures {label} is {', '.join(parts)}."


def _measures(found: list[Ranking]) -> str:
    return ", ".join(ranking.measure.label for ranking in found)


def _loss(ranking: Ranking, label: str) -> str:
    own = ranking.of(label)
    if own is None:
        return f"{ranking.measure.label}, which it does not have"
    return f"{ranking.measure.label}, where {ranking.compared(own, ranking.ahead_of(label)[0])}"


def _names(labels: list[str], most: int = 3) -> str:
    shown = ", ".join(labels[:most])
    return shown if len(labels) <= most else f"{shown} and {len(labels) - most} more"


def ahead_lines(given: ReportInput, label: str) -> list[str]:
    """Each measure in which LMetric is ahead of all, or equal to the best: who is equal, how far the next is behind."""
    return _unbeaten_lines(given, label, (Relation.AHEAD, Relation.EQUAL))


def untold_lines(given: ReportInput, label: str) -> list[str]:
    """Each measure in which nobody is ahead of LMetric, but the runs do not tell some apart from it."""
    return _unbeaten_lines(given, label, (Relation.UNTOLD,))


def _unbeaten_lines(given: ReportInput, label: str, asked: Sequence[Relation]) -> list[str]:
    lines = []
    for ranking in rankings(given):
        own, shown = ranking.of(label), ranking.measure.shown
        if own is None or outcome(ranking, label) not in asked:
            continue
        untold, equal, behind = ranking.untold_from(label), ranking.equal_to(label), ranking.behind(label)
        parts = []
        if untold:
            parts.append(f"{label} ({shown(own.value.mean)}) is not told apart from {_listed(ranking, untold)}")
        if equal:
            parts.append(f"{label} ({shown(own.value.mean)}) equals {_listed(ranking, equal)}")
        if behind:
            parts.append(ranking.compared(behind[0], own))
        lines.append(f"{ranking.measure.label}: {'; '.join(parts) or shown(own.value.mean)}.")
    return lines


def _listed(ranking: Ranking, standings: Sequence[Standing]) -> str:
    return _names([f"{s.policy} ({ranking.measure.shown(s.value.mean)})" for s in standings])


def behind_lines(given: ReportInput, label: str, most: int = 4) -> list[str]:
    """Each measure in which some policy is ahead of LMetric: which ones, and by how much."""
    lines = []
    for ranking in rankings(given):
        own, ahead = ranking.of(label), ranking.ahead_of(label)
        if own is None or not ahead:
            continue
        parts = [ranking.compared(own, ahead[0])] + [ranking.against(own, s) for s in ahead[1:most]]
        more = f", and worse than {len(ahead) - most} more" if len(ahead) > most else ""
        lines.append(f"{ranking.measure.label}: {', '.join(parts)}{more}.")
    return lines


def warnings(given: ReportInput) -> list[str]:
    """What stands with the headline, because it may undo it."""
    notes = []
    if len(given.seeds) == 1 and len(given.policies) > 1:
        again = "--repeats 5" if given.measured_on else "--seeds 5"
        same = given.source.kind == "trace" and not given.measured_on
        hint = "the trace is one sample of its traffic" if same else f"another may say otherwise ({again})"
        notes.append(f"One {given.one_of_several} has no spread: {hint}.")
    notes += given.warnings
    lost = {
        label: count
        for label in given.policies
        if (count := sum(s.rejected + s.failed for s in given.summaries_of(label)))
    }
    if lost:
        listed = ", ".join(f"{label}: {count}" for label, count in lost.items())
        notes.append(f"Latencies are those of finished requests. Rejected or failed: {listed}.")
    planned = len(given.plan.policies) * len(given.plan.mitigations) * len(given.plan.seeds)
    whole = len(given.runs) - given.cut_short
    if whole < planned:
        cut = f"; shown is what was done of {given.cut_short} more" if given.cut_short else ""
        notes.append(f"Interrupted: {whole} of {planned} runs are complete{cut}.")
    return notes


def caveats(given: ReportInput) -> list[str]:
    """What else a reader has to know before believing the verdict."""
    notes = [
        f"All numbers were measured on {given.measured_on}, times on the client; another machine or model differs."
        if given.measured_on
        else "All numbers are simulated: they come from a cost model of the GPU, not from a measurement on one.",
        "A percentage of a comparison is the difference divided by the better of the two values.",
        "Rules ran with the knobs shown; one that was not tuned for this traffic may do better (argprod tune).",
    ]
    word, sure, close = given.one_of_several, f"{100 * CONFIDENCE:g}%", f"{100 * EQUAL_WITHIN:g}%"
    if len(given.seeds) == 1:
        notes.append(f"Called equal: what is less than {close} apart.")
    else:
        notes.append(
            f"Means over {told_by(given)}. Differences {word} by {word} have a {sure} interval (Student's t): called "
            f"ahead if it leaves out 0, equal if all of it is within {close}, else not told apart, for which more "
            f"{word}s help. Each comparison is by itself: of 20 between equals about one comes out ahead or behind."
        )
        if given.source.kind == "trace" and not given.measured_on:
            notes.append(
                "A trace is the same for every seed: seeds change only draws and random ties, so the runs of a rule "
                "without either are copies of one another, and agreement of seeds says nothing about other traffic."
            )
    return notes + list(given.remarks)
