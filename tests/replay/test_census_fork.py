"""Laws of forks: one decision is another, nothing before it is, and what follows is counted right."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from replay.census import watch
from replay.census_effects import estimate, foresight, summed_up
from replay.census_fork import FORK_WEIGHTS, NEUTRAL_WITHIN, Trunk, forked, sampled
from replay.census_taking import checked_weights, take_census
from replay.sim.cluster import roofline_cluster
from replay.sim.parts import prepare
from replay.sim.run import simulate
from replay.sim.ticks import to_seconds
from replay.workloads import parse_workload
from scheduler.accounting import Level
from scheduler.errors import BadInput
from scheduler.policies.catalogue import policy
from scheduler.state import Request

CLUSTER = roofline_cluster(4)
LMETRIC = policy("lmetric")
_workload, _values = parse_workload("workload:coder:requests=160")
REQUESTS = list(_workload.generate(0, **_values))
PREPARED = prepare(REQUESTS)
RECORD, FOUND = watch(PREPARED, CLUSTER, fork_weights=FORK_WEIGHTS, closed_loop=True)
TRUNK = Trunk.of(PREPARED, CLUSTER, RECORD, FOUND, closed_loop=True)
CHOICES = FOUND.chosen.tolist()


def with_twins() -> Trunk:
    """Instances are idle at times, so that some decisions have a twin."""
    workload, values = parse_workload("workload:chat:requests=300")
    prepared = prepare(list(workload.generate(0, **values)))
    record, found = watch(prepared, CLUSTER, fork_weights=FORK_WEIGHTS, closed_loop=True)
    return Trunk.of(prepared, CLUSTER, record, found, closed_loop=True)


LIGHT = with_twins()


@pytest.mark.parametrize("closed_loop", [True, False])
@pytest.mark.parametrize("level", list(Level))
def test_no_overrides_and_the_own_choices_change_nothing(closed_loop: bool, level: Level) -> None:
    cluster = roofline_cluster(4, level=level)
    rule = policy("lmetric:ties=random")
    choices: list[int] = []
    plain = simulate(
        REQUESTS, rule, cluster, seed=2, closed_loop=closed_loop, observer=lambda _s, _v, k, _t: choices.append(k)
    )
    for overrides in ({}, {9: choices[9]}, dict(enumerate(choices))):
        again = simulate(REQUESTS, rule, cluster, seed=2, closed_loop=closed_loop, overrides=overrides)
        assert [sim.outcome() for sim in again.sims] == [sim.outcome() for sim in plain.sims]


def test_an_override_takes_another_instance_there_and_changes_nothing_before() -> None:
    number = len(FOUND) // 2
    other = (CHOICES[number] + 1) % len(CLUSTER)
    choices: list[int] = []
    times: list[int] = []

    def look(_sim: Any, _view: Any, chosen: int, at: int) -> None:
        choices.append(chosen)
        times.append(at)

    simulate(REQUESTS, LMETRIC, CLUSTER, observer=look, closed_loop=True, overrides={number: other})
    assert choices[:number] == CHOICES[:number]
    assert choices[number] == other
    assert times[: number + 1] == FOUND.at[: number + 1].tolist()


@pytest.mark.parametrize(
    ("name", "overrides", "said"),
    [("lmetric", {3: 4}, "index from 0 to 3"), ("lmetric", {-1: 0}, ">= 0"), ("round_robin", {3: 1}, "memory")],
)
def test_overrides_that_cannot_be_are_named(name: str, overrides: dict[int, int], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        simulate(REQUESTS, policy(name), CLUSTER, overrides=overrides)


def test_a_fork_to_the_own_choice_changes_nothing() -> None:
    for number in (0, 40, len(FOUND) - 1):
        fork = TRUNK.fork(256.0, number, CHOICES[number])
        for change in (fork.own, fork.present, fork.near, fork.run):
            assert change is not None
            assert (change.ttft_s, change.e2e_s) == (0, 0)


def test_changes_are_the_differences_of_the_two_runs() -> None:
    """Brute force: sums of latencies of all requests, and of those that arrive up to the horizon."""
    number = int(sampled(FOUND, 256.0, 1, seed=0)[0])
    fork = TRUNK.fork(256.0, number)
    forked_run = simulate(PREPARED, LMETRIC, CLUSTER, closed_loop=True, overrides={number: fork.other})
    after = {sim.request.id: sim for sim in forked_run.sims}
    end = int(FOUND.at[number]) + 30 * 10**12
    near_ttft = near_e2e = run_ttft = run_e2e = 0
    for sim in RECORD.sims:
        other = after[sim.request.id]
        ttft = (other.first_at or 0) - other.arrival - (sim.first_at or 0) + sim.arrival
        e2e = (other.last_at or 0) - other.arrival - (sim.last_at or 0) + sim.arrival
        run_ttft, run_e2e = run_ttft + ttft, run_e2e + e2e
        if sim.arrival <= end:
            near_ttft, near_e2e = near_ttft + ttft, near_e2e + e2e
        if sim.request.id == fork.request_id:
            assert fork.own is not None
            assert (fork.own.ttft_s, fork.own.e2e_s) == (to_seconds(ttft), to_seconds(e2e))
    assert (fork.near.ttft_s, fork.near.e2e_s) == (to_seconds(near_ttft), to_seconds(near_e2e))
    assert (fork.run.ttft_s, fork.run.e2e_s) == (to_seconds(run_ttft), to_seconds(run_e2e))
    assert fork.run.e2e_s != fork.near.e2e_s != 0
    assert fork.run.requests == len(FOUND) - int((np.array([s.arrival for s in RECORD.sims]) < FOUND.at[number]).sum())


def test_net_is_what_goes_beyond_the_neutral_fork() -> None:
    telling, found = 0, LIGHT.decisions
    for number in sampled(found, 256.0, 12, seed=0)[:3]:
        fork = LIGHT.fork(256.0, number)
        if fork.neutral_decision is None:
            assert fork.net_near is fork.net_run is None
            continue
        neutral = LIGHT.fork(256.0, fork.neutral_decision, int(found.twin[fork.neutral_decision]))
        assert (fork.neutral_near, fork.neutral_run) == (neutral.near, neutral.run)
        for net, own, chance in ((fork.net_near, fork.near, neutral.near), (fork.net_run, fork.run, neutral.run)):
            assert net is not None
            assert net.ttft_s == own.ttft_s - chance.ttft_s
            assert net.e2e_s == own.e2e_s - chance.e2e_s
        telling += neutral.run.ttft_s != 0 != neutral.run.e2e_s
    assert telling


def test_without_later_arrivals_the_run_up_to_a_decision_is_the_same() -> None:
    """What was over before the decision has the times that it has in the run."""
    number = 100
    at = int(FOUND.at[number])
    times = TRUNK.without_later(number, {})
    assert times.arrival.tolist() == FOUND.at[: number + 1].tolist()
    of_run = {sim.request.id: sim for sim in RECORD.sims}
    for place, identity in enumerate(FOUND.request_id[: number + 1]):
        sim = of_run[int(identity)]
        assert sim.last_at is not None
        if sim.last_at <= at:
            assert (times.first[place], times.last[place]) == (sim.first_at, sim.last_at)


def test_the_law_foresees_what_a_decision_costs_those_present() -> None:
    differing = sampled(FOUND, 256.0, 12, seed=1)
    forks = list(forked(TRUNK, [(256.0, number) for number in differing]))
    found = summed_up(256.0, int(FOUND.differs(256.0).sum()), forks)
    assert found is not None
    told = found.foresight["predicted_offset_s"]["present"]
    assert told.same_sign is not None
    assert told.rank_correlation is not None
    assert told.same_sign >= 0.75
    assert told.rank_correlation > 0.5


def test_a_neutral_fork_takes_a_twin_nearby() -> None:
    found, used, fit = LIGHT.decisions, set[int](), []
    for number, (chosen, twin) in enumerate(zip(found.chosen.tolist(), found.twin.tolist(), strict=True)):
        if twin >= 0 and used & {chosen, twin}:
            fit.append(number)
        used.add(chosen)
    assert 0 < len(fit) < (found.twin >= 0).sum()
    neutrals = [LIGHT.neutral(number) for number in range(len(found))]
    for number, neutral in enumerate(neutrals):
        nearest = min(abs(other - number) for other in fit)
        if nearest > NEUTRAL_WITHIN * len(found):
            assert neutral is None
        else:
            assert neutral in fit
            assert neutral is not None
            assert abs(neutral - number) == nearest
    assert any(neutral not in (None, number) for number, neutral in enumerate(neutrals))


def test_samples_are_drawn_by_seed_from_what_differs() -> None:
    differing = np.flatnonzero(FOUND.differs(256.0)).tolist()
    drawn = sampled(FOUND, 256.0, 5, seed=1)
    assert drawn == sampled(FOUND, 256.0, 5, seed=1) == sorted(drawn)
    assert drawn != sampled(FOUND, 256.0, 5, seed=2)
    assert set(drawn) <= set(differing)
    assert sampled(FOUND, 256.0, 10**6, seed=1) == differing


def test_a_census_does_not_depend_on_processes_and_repeats() -> None:
    options: dict[str, Any] = {"closed_loop": True, "samples": 2, "until_s": 200.0, "seed": 3}
    found = take_census(REQUESTS, CLUSTER, **options)
    assert found == take_census(REQUESTS, CLUSTER, jobs=2, **options)
    assert len(found.forks) == found.forks_wanted == 6
    assert [line.forks for line in found.lines] == [2, 2, 2]


def test_an_interrupt_keeps_the_forks_that_are_done() -> None:
    def stop(what: str, done: int, _of: int) -> None:
        if what == "forks" and done == 2:
            raise KeyboardInterrupt

    found = take_census(REQUESTS, CLUSTER, closed_loop=True, samples=2, progress=stop)
    assert (len(found.forks), found.forks_wanted, found.interrupted) == (2, 6, True)
    assert [line.weight for line in found.lines] == [16.0]


def test_requests_that_were_never_routed_are_no_decisions() -> None:
    """Too long for the context, waiting for such a reply, or not there by the cut-off."""
    cluster = roofline_cluster(2, context_limit_tokens=500)
    one = Request(id=0, arrival_s=0.0, prompt_tokens=100, output_tokens=5)
    long = Request(id=1, arrival_s=0.1, prompt_tokens=900, output_tokens=5)
    waits = Request(id=2, arrival_s=0.2, prompt_tokens=100, output_tokens=5, after=1)
    late = Request(id=3, arrival_s=90.0, prompt_tokens=100, output_tokens=5)
    found = take_census([one, long, waits, late], cluster, closed_loop=True, until_s=50.0)
    assert found.counts.decisions == 1
    with pytest.raises(BadInput, match="none of them routed"):
        take_census([long], cluster)


@pytest.mark.parametrize("weights", [[0.0], [-1.0], [math.nan], [math.inf], [3, 3]])
def test_weights_that_cannot_be_are_named(weights: list[float]) -> None:
    with pytest.raises(BadInput, match="weights"):
        checked_weights("weights", weights)


def test_an_estimate_covers_its_mean_and_repeats() -> None:
    values = np.random.default_rng(0).normal(3.0, 1.0, 40).tolist()
    found = estimate(values, seed=1)
    assert found == estimate(values, seed=1)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.mean < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.std(values) / math.sqrt(40), rel=0.2)
    assert estimate([5.0]).low is None


def test_foresight_without_variation_says_nothing() -> None:
    assert foresight([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]).rank_correlation is None
    assert foresight([0.0], [1.0]).same_sign is None
    perfect = foresight([-1.0, 2.0, 3.0], [-5.0, 6.0, 7.0])
    assert perfect.same_sign == 1
    assert perfect.rank_correlation == pytest.approx(1.0)
