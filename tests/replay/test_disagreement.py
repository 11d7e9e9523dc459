"""Laws of the disagreement measurement: who agrees with whom, what is left out, and that looking on changes nothing."""

from __future__ import annotations

import random
from typing import Any

import pytest

from replay.disagreement import DRAWS, HAS_MEMORY, INDIFFERENT, Onlooker, matrix, watched
from replay.experiment import Plan, disagreement_of, run_all
from replay.sim.cluster import roofline_cluster
from replay.sim.run import simulate
from replay.workloads import parse_workload
from scheduler.accounting import Level
from scheduler.ops import Ops
from scheduler.policies.catalogue import CATALOGUE, policy
from scheduler.policies.choosing import Chooser
from scheduler.policies.rule import Policy, Rule
from scheduler.state import ClusterState, Request

CLUSTER = roofline_cluster(4)


def requests_of(seed: int) -> list[Request]:
    workload, values = parse_workload("workload:chat:requests=250,rate_per_s=8")
    return list(workload.generate(seed, **values))


def asked(names: list[str], chosen: int, state: ClusterState, prompt_tokens: int) -> dict[str, int | None]:
    """What the rules say of one hand-made decision."""
    onlooker = Onlooker([policy(name) for name in names], 1)
    onlooker.ask(state, Request(id=0, arrival_s=0, prompt_tokens=prompt_tokens), None, chosen)
    return dict(onlooker.result("by hand", 0).differing)


def test_a_hand_made_decision_is_judged_by_every_rule() -> None:
    # 160 x 1 against 32 x 4: the product sends the request to B, which holds most of it; load alone sends it to A.
    state = ClusterState(
        ids=("A", "B"), running=(0, 3), waiting=(0, 0), queued_prefill_tokens=(0, 0), hit_tokens=(0, 128)
    )
    names = ["lmetric", "join_shortest_queue", "most_hit"]
    assert asked(names, 1, state, 160) == {"lmetric": 0, "join_shortest_queue": 1, "most_hit": 0}
    assert asked(names, 0, state, 160) == {"lmetric": 1, "join_shortest_queue": 0, "most_hit": 1}


def test_a_choice_among_the_equally_best_is_agreement() -> None:
    state = ClusterState(
        ids=("A", "B", "C"), running=(1, 1, 2), waiting=(0, 0, 0), queued_prefill_tokens=(0, 0, 0), hit_tokens=(0, 0, 0)
    )
    for chosen, expected in ((0, 0), (1, 0), (2, 1)):
        assert asked(["join_shortest_queue"], chosen, state, 16) == {"join_shortest_queue": expected}


def test_a_rule_never_disagrees_with_itself() -> None:
    requests = requests_of(0)
    for name in CATALOGUE:
        one = policy(name)
        _, found = watched(requests, one, [one], CLUSTER)
        assert found.differing in ({}, {one.label: 0}, {one.label: None}), name


def test_rules_that_differ_by_scale_never_disagree() -> None:
    product = CATALOGUE["lmetric"]

    def tripled(ops: Ops, x: Any, aggregates: Any, knobs: Any) -> Any:
        return 4 * product.key(ops, x, aggregates, knobs)

    scaled = Policy(Rule("scaled", "four times the product", "this test", tripled), {"ties": "first"})
    _, found = watched(requests_of(0), policy("lmetric"), [scaled, policy("least_p_token")], CLUSTER)
    assert found.differing["scaled"] == 0
    assert found.differing["least_p_token"]


@pytest.mark.parametrize("level", list(Level))
def test_onlookers_change_nothing(level: Level) -> None:
    requests, others = requests_of(1), [policy(name) for name in CATALOGUE]
    cluster = roofline_cluster(4, level=level)
    for name in ("lmetric", "bailian", "power_of_two"):
        plain = simulate(requests, policy(name), cluster, seed=3, closed_loop=True)
        seen, _ = watched(requests, policy(name), others, cluster, seed=3, closed_loop=True)
        assert [sim.outcome() for sim in seen.sims] == [sim.outcome() for sim in plain.sims]


def test_an_onlooker_says_what_its_rule_would_have_chosen() -> None:
    """Whatever the scheduler itself would have chosen with that rule counts as agreement."""
    shadows = [policy("dynamo"), policy("llm_d_default:ties=first"), policy("marginal_delay_offset")]
    onlooker = Onlooker(shadows, 250)
    choosers = {each.label: Chooser(each, len(CLUSTER), random.Random(0)) for each in shadows}
    equal = dict.fromkeys(choosers, 0)

    def observer(sim: Any, view: Any, chosen: int, at: int) -> None:
        onlooker(sim, view, chosen, at)
        expected = view.accounting.expected_output_tokens()
        for label, chooser in choosers.items():
            equal[label] += chooser.choose(view, sim.request, expected) == chosen

    simulate(requests_of(0), policy("lmetric"), CLUSTER, observer=observer, extra_needs=onlooker.needs)
    differing = onlooker.result("lmetric", 0).differing
    assert onlooker.sampled == 250
    for label, count in equal.items():
        # Equal choices are agreement; an equally good instance with another index is agreement too.
        assert 0 < (differing[label] or 0) <= 250 - count


def test_samples_are_evenly_spaced_and_bounded() -> None:
    onlooker = Onlooker([policy("lmetric")], 250, samples_max=100)
    simulate(requests_of(0), policy("lmetric"), CLUSTER, observer=onlooker)
    assert onlooker.sampled == 84  # every third of 250


def test_the_matrix_names_what_it_leaves_out() -> None:
    policies = ("lmetric", "round_robin", "bailian", "random", "join_shortest_queue")
    plan = Plan(policies, (0, 1), CLUSTER, watched=True)
    found = disagreement_of(list(run_all(requests_of, plan)), plan)
    assert found.rows == plan.policies
    assert found.columns == ("lmetric", "join_shortest_queue")
    assert found.left_out == {"round_robin": HAS_MEMORY, "bailian": DRAWS, "random": INDIFFERENT}
    assert found.values[0][0] == 0
    assert found.values[4][1] == 0
    assert 0 < (found.values[0][1] or 0) <= 1
    assert found.sampled == (500,) * 5
    assert disagreement_of(list(run_all(requests_of, plan, jobs=2)), plan) == found


def test_a_matrix_of_nothing_is_empty() -> None:
    empty = matrix([], [policy("lmetric")])
    assert (empty.rows, empty.values) == ((), ())
