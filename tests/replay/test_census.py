"""Laws of the census: intervals are exact, and counts are those of the rules."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from replay.census import PUBLISHED, watch
from replay.census_counts import WEIGHTS, best_line, count, published_weights
from replay.census_findings import count_findings, found_at
from replay.census_fork import FORK_WEIGHTS
from replay.disagreement import Onlooker
from replay.sim.cluster import roofline_cluster
from replay.sim.router_decider import Routing
from replay.sim.run import simulate
from replay.workloads import parse_workload
from scheduler import formulas
from scheduler.indicators import batch_size, new_prefill_tokens, p_token
from scheduler.ops import SCALAR
from scheduler.policies.catalogue import policy
from scheduler.policies.linear import BATCH_SCALE, TOKEN_SCALE
from scheduler.state import Request
from theory.agreement import divergence

CLUSTER = roofline_cluster(4)
LMETRIC = policy("lmetric")


def requests_of(seed: int, name: str = "coder", count: int = 160) -> list[Request]:
    workload, values = parse_workload(f"workload:{name}:requests={count}")
    return list(workload.generate(seed, **values))


REQUESTS = requests_of(0)


def seen_pairs(requests: list[Request], **options: Any) -> tuple[list[list[tuple[int, int]]], list[int]]:
    """``(P, B)`` of every instance, and the choice, at every decision; written down plainly."""
    pairs: list[list[tuple[int, int]]] = []
    choices: list[int] = []

    def look(sim: Any, view: Any, chosen: int, _at: int) -> None:
        columns = zip(view.queued_prefill_tokens, view.hit_tokens, view.running, view.waiting, strict=True)
        pairs.append([(p_token(q, new_prefill_tokens(SCALAR, sim.prompt, h)), batch_size(r, w))
                      for q, h, r, w in columns])  # fmt: skip
        choices.append(chosen)

    simulate(requests, LMETRIC, CLUSTER, observer=look, closed_loop=True, **options)
    return pairs, choices


PAIRS, CHOICES = seen_pairs(REQUESTS)
RECORD, FOUND = watch(REQUESTS, CLUSTER, fork_weights=FORK_WEIGHTS, closed_loop=True)


def test_a_witness_changes_nothing() -> None:
    plain = simulate(REQUESTS, LMETRIC, CLUSTER, closed_loop=True)
    assert [sim.outcome() for sim in RECORD.sims] == [sim.outcome() for sim in plain.sims]


def test_every_decision_is_written_down_as_the_router_saw_it() -> None:
    assert FOUND.chosen.tolist() == CHOICES
    assert [tuple(pair) for pair in zip(FOUND.p_token.tolist(), FOUND.batch.tolist(), strict=True)] == [
        pairs[k] for pairs, k in zip(PAIRS, CHOICES, strict=True)
    ]


def test_intervals_are_those_of_the_exact_divergence() -> None:
    """Each end is one quotient of whole numbers, so the float is the exact one correctly rounded."""
    for number in range(0, len(FOUND), 7):
        exact = divergence(PAIRS[number])
        k = CHOICES[number]
        own = next(choice for choice in exact.choices if k in choice.instances)
        assert FOUND.low[number] == float(own.low)
        assert FOUND.high[number] == float(own.high)
        margin = 0.0 if len(exact.ties) > 1 else float(exact.margin or 0)
        assert FOUND.margin[number] == pytest.approx(margin, abs=1e-12)
        assert FOUND.tied[number] == len(exact.ties)
        twins = [j for j in own.instances if j != k]
        assert FOUND.twin[number] == (twins[0] if twins else -1)


def test_the_implied_weight_lies_in_its_interval() -> None:
    assert (FOUND.low < FOUND.implied_rate).all()
    assert (FOUND.implied_rate < FOUND.high).all()


@pytest.mark.parametrize("weight", [1, 16, 100, 256, 4096, 65536])
def test_counts_equal_brute_force(weight: int) -> None:
    scores = [[formulas.line(p, b, weight) for p, b in pairs] for pairs in PAIRS]
    differing = [row[k] != min(row) for row, k in zip(scores, CHOICES, strict=True)]
    assert FOUND.differs(weight).tolist() == differing
    if weight in FOUND.other:
        firsts = [row.index(min(row)) if d else k for row, k, d in zip(scores, CHOICES, differing, strict=True)]
        assert FOUND.other[weight].tolist() == firsts


@pytest.mark.parametrize("weight", [0.1, 0.55, 0.7])
def test_counts_equal_those_of_the_shipped_line(weight: float) -> None:
    line = policy(f"linear:form=p_token,weight={weight}")
    onlooker = Onlooker([line], len(REQUESTS))
    simulate(REQUESTS, LMETRIC, CLUSTER, observer=onlooker, closed_loop=True)
    rate = formulas.exchange_rate(weight, TOKEN_SCALE, BATCH_SCALE)
    assert onlooker.result("", 0).differing[line.label] == FOUND.differs(rate).sum() > 0


def test_the_published_line_is_asked_as_the_rule_that_it_is() -> None:
    lines = [policy(text) for text in PUBLISHED]
    onlooker = Onlooker(lines, len(REQUESTS))
    simulate(REQUESTS, LMETRIC, CLUSTER, observer=onlooker, closed_loop=True)
    assert list(FOUND.published.values()) == list(onlooker.result("", 0).differing.values())
    assert set(FOUND.published) == set(PUBLISHED)
    rates = published_weights()
    assert [float(formulas.weight_of_rate(rate, TOKEN_SCALE, BATCH_SCALE)) for rate in rates] == pytest.approx(
        [0.7, 0.55]
    )


def test_reducing_in_parts_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replay.census.CHUNK", 7)
    _, parts = watch(REQUESTS, CLUSTER, fork_weights=FORK_WEIGHTS, closed_loop=True)
    for name in ("at", "low", "high", "tied", "twin"):
        assert (getattr(parts, name) == getattr(FOUND, name)).all()
    assert (parts.predicted_offset_s[256.0] == FOUND.predicted_offset_s[256.0]).all()


def test_predictions_are_the_marginal_delays_of_the_two_instances() -> None:
    rule, tau = policy("marginal_delay"), CLUSTER.step_times[0].prefill_s_per_token
    delays: list[list[float]] = []

    def look(sim: Any, view: Any, _chosen: int, _at: int) -> None:
        new = [new_prefill_tokens(SCALAR, sim.prompt, h) for h in view.hit_tokens]
        batch = map(batch_size, view.running, view.waiting)
        each = zip(view.queued_prefill_tokens, new, batch, strict=True)
        delays.append([tau * formulas.marginal_delay(*columns) for columns in each])

    simulate(REQUESTS, LMETRIC, CLUSTER, observer=look, closed_loop=True)
    assert rule.rule.name == "marginal_delay"
    for weight in FORK_WEIGHTS:
        expected = [row[j] - row[k] for row, j, k in zip(delays, FOUND.other[weight], CHOICES, strict=True)]
        assert FOUND.predicted_s[weight] == pytest.approx(expected, abs=1e-12)
        moved = FOUND.other[weight] != FOUND.chosen
        assert moved.any()
        assert (FOUND.predicted_offset_s[weight][~moved] == 0).all()


def test_the_best_line_differs_least_of_all_lines() -> None:
    best = count(FOUND).best
    ends = np.unique([end for end in (*FOUND.low, *FOUND.high) if 0 < end < math.inf])
    tried = [int(FOUND.differs(weight).sum()) for weight in (*ends, *(ends[1:] + ends[:-1]) / 2, *WEIGHTS)]
    assert best.differing == min(tried)
    assert best.high is None or best.low <= best.high
    for weight in (best.low, best.high, (best.low + (best.high or best.low)) / 2):
        assert weight is None or int(FOUND.differs(weight).sum()) == best.differing


def test_ends_without_bound_have_no_number() -> None:
    best = best_line(np.array([0.0, 3.0]), np.array([math.inf, math.inf]))
    assert (best.low, best.high, best.differing) == (3.0, None, 0)


def test_lines_at_an_end_are_content() -> None:
    best = best_line(np.array([0.0, 2.0]), np.array([2.0, 5.0]))
    assert (best.low, best.high, best.differing) == (2.0, 2.0, 0)


def test_counts_add_up() -> None:
    counts = count(FOUND)
    assert counts.decisions == len(FOUND) == sum(part.decisions for part in counts.slices)
    assert [row.weight for row in counts.weights] == sorted(WEIGHTS)
    assert [row.weight_lambda for row in counts.weights] == sorted(r.weight_lambda for r in counts.weights)[::-1]
    assert counts.best_by_slice <= counts.best.share <= min(row.share for row in counts.weights)
    # Where all weights of a range agree, each of them does.
    sane = [row.share for row in counts.weights if 16 <= row.weight <= 4096]
    assert counts.beyond_dispute <= 1 - max(sane)
    times = [time for part in counts.slices for time in (part.from_s, part.to_s)]
    assert times == sorted(times)


def test_the_detector_is_asked_at_the_decisions_of_the_census() -> None:
    """The shipped router takes what the product takes; what it finds is counted against a count by hand."""
    taken: list[int] = []
    noticed = simulate(
        REQUESTS,
        LMETRIC,
        CLUSTER,
        closed_loop=True,
        routing=Routing("none", heed=lambda routed: taken.append(int(routed.instance))),
    ).noticed
    assert taken == CHOICES
    assert noticed is not None
    found = found_at(REQUESTS, CLUSTER, closed_loop=True)
    counted = count_findings(FOUND, found, FORK_WEIGHTS)
    by_kind: dict[str, int] = {}
    for (kind, _), decisions in noticed.counts.items():
        by_kind[kind] = by_kind.get(kind, 0) + decisions
    assert {kind: row.decisions for kind, row in counted.items()} == by_kind
    assert by_kind["contested"] > 0
    places = [i for i, name in enumerate(FOUND.request_id.tolist()) if "contested" in found.get(name, {})]
    for weight in FORK_WEIGHTS:
        differing = sum(bool(FOUND.differs(weight)[i]) for i in places)
        assert counted["contested"].differing[f"{weight:g}"] == pytest.approx(differing / len(places))
