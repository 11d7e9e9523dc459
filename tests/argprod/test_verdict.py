"""Laws of the verdict: it follows from the numbers, and claims no more than the runs tell."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from argprod.report import ReportInput
from argprod.report.measures import GOODPUT, TTFT, OverSeeds, over_seeds
from argprod.report.page import render
from argprod.report.ranking import Ranking, Relation, Standing, rank, rankings
from argprod.report.verdict import (
    ahead_lines,
    behind_lines,
    caveats,
    lead_sentence,
    product_of,
    untold_lines,
    warnings,
)
from replay.experiment import Run
from tests.argprod.test_report import SMALL, Tags, experiment, spread, with_summaries

OTHER = "join_shortest_queue"


def with_means(given: ReportInput, told: Mapping[str, Sequence[float]]) -> ReportInput:
    """Two policies with these mean times to first token, one a seed, in everything else alike."""
    one = given.summaries_of("lmetric")[0]
    runs = [
        Run(
            run.policy,
            msgspec.structs.replace(
                one,
                seed=run.summary.seed,
                name=run.summary.name,
                ttft_s=spread(one, told[run.policy][run.summary.seed]),
            ),
            run.record,
        )
        for run in given.runs
        if run.policy in told
    ]
    return replace(given, runs=tuple(runs))


def two(measure_values: Sequence[Mapping[int, float]], measure: object = TTFT[0]) -> Ranking:
    standings = []
    for name, by_seed in zip(("a", "b"), measure_values, strict=True):
        known = list(by_seed.values())
        standings.append(Standing(name, OverSeeds(sum(known) / len(known), min(known), max(known), by_seed)))
    return Ranking(measure, tuple(standings))  # type: ignore[arg-type]


def test_the_verdict_orders_as_the_numbers_do() -> None:
    given = experiment(SMALL, (0, 1))
    for ranking in rankings(given):
        means = [standing.value.mean or 0.0 for standing in ranking.standings]
        assert means == sorted(means, reverse=ranking.measure.more)
        assert not ranking.ahead_of(ranking.best.policy)
    first = rank(given, TTFT[0])
    assert first is not None
    own = [summary.ttft_s.mean or 0.0 for summary in given.summaries_of(first.best.policy)]
    assert first.best.value == over_seeds(TTFT[0], given.summaries_of(first.best.policy))
    assert (first.best.value.low, first.best.value.high) == (min(own), max(own))


def test_every_measure_is_ahead_or_behind_or_not_told() -> None:
    given = experiment(SMALL, (0, 1))
    label = product_of(given)
    assert label == "lmetric"
    assert len(ahead_lines(given, label)) + len(behind_lines(given, label)) + len(untold_lines(given, label)) == len(
        rankings(given)
    )


def test_a_loss_is_named_with_its_rule_and_its_size() -> None:
    given = experiment(SMALL)
    one = given.summaries_of("lmetric")[0]
    given = with_summaries(
        given,
        **{
            "lmetric": {"ttft_s": spread(one, 0.3), "goodput_fraction": 0.9},
            "join_shortest_queue": {"ttft_s": spread(one, 0.2), "goodput_fraction": 0.6},
            "bailian:alpha=0.3": {"ttft_s": spread(one, 0.4), "goodput_fraction": 0.3},
        },
    )
    lost = behind_lines(given, "lmetric")[0]
    assert lost == "TTFT mean: lmetric is 50.0% slower than join_shortest_queue (0.300 s against 0.200 s)."
    won = next(line for line in ahead_lines(given, "lmetric") if line.startswith("goodput"))
    assert won == "goodput: join_shortest_queue has 33.3% less than lmetric (60.0% against 90.0%)."
    assert "TTFT mean, where lmetric is 50.0% slower than join_shortest_queue (0.300 s" in lead_sentence(given)
    text = Tags(render(given)).text
    assert lost in text
    assert won in text


def test_equal_values_are_called_equal() -> None:
    given = experiment(SMALL)
    one = given.summaries_of("lmetric")[0]
    given = with_summaries(given, **{name: {"ttft_s": one.ttft_s} for name in SMALL})
    line = ahead_lines(given, "lmetric")[0]
    assert re.fullmatch(
        r"TTFT mean: lmetric \((.*)\) equals join_shortest_queue \(\1\), bailian:alpha=0.3 \(\1\)\.", line
    )
    assert "equal to the best in" in lead_sentence(given)


@pytest.mark.parametrize(("other", "ahead"), [(0.1003, False), (0.1007, True)])
def test_with_one_seed_half_a_percent_is_equal(other: float, ahead: bool) -> None:
    given = experiment(SMALL)
    one = given.summaries_of("lmetric")[0]
    given = with_summaries(
        given, lmetric={"ttft_s": spread(one, other)}, join_shortest_queue={"ttft_s": spread(one, 0.1)}
    )
    ranking = rank(given, TTFT[0])
    assert ranking is not None
    assert ("join_shortest_queue" in [s.policy for s in ranking.ahead_of("lmetric")]) == ahead


@pytest.mark.parametrize(
    ("own", "other", "relation"),
    [
        ((0.20, 0.40), (0.10, 0.20), Relation.UNTOLD),  # twice as slow both times, but two runs say little of a mean
        ((0.20, 0.21), (0.10, 0.11), Relation.BEHIND),  # by the same each time
        ((0.10, 0.11), (0.20, 0.21), Relation.AHEAD),
        ((0.20, 0.25), (0.10, 0.30), Relation.UNTOLD),  # the order changes
        ((0.20, 0.10), (0.10, 0.20), Relation.UNTOLD),  # equal means, but nothing is equal about the runs
        ((0.2000, 0.3000), (0.2001, 0.3001), Relation.EQUAL),
    ],
)
def test_several_runs_tell_apart_what_their_spread_allows(
    own: tuple[float, ...], other: tuple[float, ...], relation: Relation
) -> None:
    given = with_means(experiment(SMALL, (0, 1)), {"lmetric": own, OTHER: other})
    ranking = rank(given, TTFT[0])
    assert ranking is not None
    standings = [ranking.of("lmetric"), ranking.of(OTHER)]
    assert ranking.relation(*standings) is relation  # type: ignore[arg-type]
    lines = {
        Relation.AHEAD: ahead_lines, Relation.EQUAL: ahead_lines,
        Relation.BEHIND: behind_lines, Relation.UNTOLD: untold_lines,
    }  # fmt: skip
    for function in (ahead_lines, behind_lines, untold_lines):
        assert any(line.startswith("TTFT mean") for line in function(given, "lmetric")) == (function is lines[relation])
    assert ("not told apart from the best by 2 seeds in 1 (TTFT mean)" in lead_sentence(given)) == (
        relation is Relation.UNTOLD
    )


def test_a_large_distance_that_two_repetitions_do_not_tell_is_not_called_equal() -> None:
    given = with_means(experiment(SMALL, (0, 1)), {"lmetric": (0.010, 0.022), OTHER: (0.012, 0.0074)})
    given = replace(given, measured_on="2 HTTP servers")
    lead = lead_sentence(given)
    assert "not told apart from the best by 2 repetitions in 1 (TTFT mean)" in lead
    line = untold_lines(given, "lmetric")[0]
    assert line == "TTFT mean: lmetric (0.0160 s) is not told apart from join_shortest_queue (0.00970 s)."
    page = Tags(render(given)).text
    assert "Where 2 repetitions do not tell lmetric apart from the best" in page
    assert "1–2 of 2" in page
    assert line in page


@for_all(
    st.lists(st.tuples(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3)), min_size=1, max_size=6),
    st.sampled_from([TTFT[0], GOODPUT]),
)
def test_a_relation_seen_from_the_other_side_is_its_mirror(pairs: list[tuple[float, float]], measure: object) -> None:
    ranking = two([dict(enumerate(values)) for values in zip(*pairs, strict=True)], measure)
    a, b = ranking.standings
    mirror = {Relation.AHEAD: Relation.BEHIND, Relation.BEHIND: Relation.AHEAD}
    there, back = ranking.relation(a, b), ranking.relation(b, a)
    assert back is mirror.get(there, there)
    if there in mirror:
        assert (ranking.distance(a, b) < 0) == (there is Relation.AHEAD)  # it agrees with the percentage shown


@for_all(st.lists(st.floats(0.1, 10), min_size=2, max_size=6), st.floats(-0.9, 9))
def test_runs_that_all_differ_alike_are_always_told(values: list[float], gap: float) -> None:
    """Spread between seeds that both policies share is no reason to doubt an order."""
    ranking = two([dict(enumerate(values)), dict(enumerate([value + 1 + gap for value in values]))])
    a, b = ranking.standings
    relation = ranking.relation(a, b)
    assert relation is (Relation.AHEAD if ranking.distance(b, a) >= 5e-3 else Relation.EQUAL)


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Two policies that are equal in truth come out apart in about one of 20 comparisons, whatever the repetitions."""
    import numpy as np

    draw = np.random.default_rng(1)
    for repetitions in (2, 3, 5):
        apart = 0
        for _ in range(2000):
            one, other = draw.normal(1.0, 0.1, (2, repetitions))
            ranking = two([dict(enumerate(one.tolist())), dict(enumerate(other.tolist()))])
            apart += ranking.relation(*ranking.standings) in (Relation.AHEAD, Relation.BEHIND)
        # A binomial count of 2000 with 5%: 100 ± 3 standard deviations of 9.7.
        assert abs(apart - 100) < 30, (repetitions, apart)


@pytest.mark.parametrize(
    ("one", "other", "relation"),
    [
        ({0: 0.0, 1: 0.0}, {0: 0.0, 1: 0.0}, Relation.EQUAL),
        ({0: 0.0, 1: 0.0}, {0: 1.0, 1: 1.0}, Relation.AHEAD),
        ({0: 0.0, 1: 0.0}, {0: 1.0, 1: 3.0}, Relation.UNTOLD),
        ({0: 0.0}, {0: 1.0}, Relation.AHEAD),
        ({0: 1.0}, {0: 1.0, 1: 2.0}, Relation.UNTOLD),  # interrupted: one repetition is not compared with two
        ({0: 1.0}, {1: 1.0}, Relation.UNTOLD),
    ],
)
def test_zeros_and_missing_runs_are_no_trouble(
    one: Mapping[int, float], other: Mapping[int, float], relation: Relation
) -> None:
    ranking = two([one, other])
    assert ranking.relation(*ranking.standings) is relation
    assert not math.isnan(ranking.distance(*ranking.standings))


def test_what_may_undo_the_headline_stands_with_it() -> None:
    late = "In 3 of 3 runs the client could not keep up."
    given = replace(experiment(SMALL), measured_on="2 HTTP servers", warnings=(late,))
    page = Tags(render(given)).text
    told = "One repetition has no spread: another may say otherwise (--repeats 5)."
    assert warnings(given) == [told, late]
    headline = page[page.index("Of 6 headline measures") : page.index("Where lmetric is ahead or equal")]
    assert told in headline
    assert late in headline
    assert not warnings(experiment(SMALL, (0, 1)))
    traced = replace(experiment(SMALL), source=replace(given.source, kind="trace"))
    assert warnings(traced) == ["One seed has no spread: the trace is one sample of its traffic."]


def test_the_lead_counts_tails_too() -> None:
    assert "Of 6 headline measures lmetric is" in lead_sentence(experiment(SMALL))


def test_without_lmetric_the_verdict_says_so() -> None:
    text = lead_sentence(experiment(("join_shortest_queue", "random")))
    assert text.startswith("LMetric is not among the policies")


def test_lost_requests_and_missing_runs_are_told() -> None:
    given = experiment(SMALL)
    given = with_summaries(given, lmetric={"failed": 7})
    assert any("lmetric: 7" in line for line in warnings(given))
    assert any("1 of 3 runs are complete" in line for line in warnings(replace(given, runs=given.runs[:1])))
    cut = replace(given, runs=given.runs[:1], cut_short=1)
    assert "Interrupted: 0 of 3 runs are complete; shown is what was done of 1 more." in warnings(cut)


def test_seeds_of_a_trace_are_not_sold_as_replication() -> None:
    given = experiment(SMALL, seeds=(0, 1))
    assert not any("A trace is the same for every seed" in line for line in caveats(given))
    traced = replace(given, source=replace(given.source, kind="trace"))
    assert any("A trace is the same for every seed" in line for line in caveats(traced))
    assert any("argprod tune" in line for line in caveats(given))
