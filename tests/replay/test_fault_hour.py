"""Traffic with faults on the way of events, crashes and restarts: every request is accounted for."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.fault_hour import FAULTS, HOUR_S, INSTANCES, Watch, check, incidents, one_run, requests
from replay.sim.channel import Faults
from replay.sim.cluster import roofline_cluster
from replay.sim.incidents import Crash, Restart
from replay.sim.router_decider import Routing
from replay.sim.run import simulate
from replay.sim.ticks import to_ticks
from scheduler import Level, Request, policy
from scheduler.state import End

SHORT_S = 200.0
PREPARED = requests(SHORT_S)


def run(level: Level, routers: int, **changed: Any) -> dict[str, Any]:
    """Minutes with four times the faults."""
    often = Faults(lost=0.04, duplicated=0.04, reordered=0.08, late_s=5.0)
    return one_run(
        PREPARED, roofline_cluster(8, level=level), routers, often, incidents(SHORT_S, 8, routers),
        **{"lost_after_s": 30.0, **changed},
    )  # fmt: skip


@pytest.mark.parametrize("level", [Level.PROXY, Level.EVENTS])
@pytest.mark.parametrize("routers", [1, 3])
def test_with_faults_every_request_is_accounted_for_and_nothing_stays_booked(level: Level, routers: int) -> None:
    found = run(level, routers)
    assert found["finished"] + found["rejected"] + found["failed"] == found["arrived"] == 680
    assert min(found["events"].values()) > 20
    assert found["ignored"] > 20
    assert found["failed"] >= found["failed_in_a_crash"] > 0
    assert found["booked_at_end"] == 0
    assert found["given_up"] > 20


@pytest.mark.parametrize("routers", [1, 3])
def test_after_crashes_alone_nothing_is_open_or_given_up(routers: int) -> None:
    crashes = incidents(SHORT_S, 8, routers)
    found = one_run(PREPARED, roofline_cluster(8), routers, Faults(), crashes, lost_after_s=None)
    assert (found["given_up"], found["open_at_end"]) == (0, 0)
    assert found["failed_in_a_crash"] > 0


def test_lost_ends_are_given_up_on_the_way_and_without_that_they_stay() -> None:
    given_up, kept = run(Level.PROXY, 1), run(Level.PROXY, 1, lost_after_s=None)
    assert kept["given_up"] == 0
    assert kept["open_at_end"] > 5 * given_up["open_at_end"]
    assert kept["booked_at_end"] == 0  # all instances leave in the end


def test_a_restart_from_its_snapshot_changes_nothing() -> None:
    """The same decisions, draws too, as of a router that never stopped; also of several, and with faults."""
    restarts = tuple(Restart(SHORT_S * n / 9, n % 2) for n in range(8))
    for level, faults in ((Level.PROXY, Faults()), (Level.EVENTS, FAULTS)):
        found = [
            simulate(
                PREPARED,
                policy("lmetric:ties=random"),
                roofline_cluster(8, level=level),
                routing=Routing("auto", routers=2, sync_s=0.5, faults=faults, incidents=happens),
            )
            for happens in ((), restarts)
        ]
        assert [sim.outcome() for sim in found[0].sims] == [sim.outcome() for sim in found[1].sims]
        assert found[0].noticed == found[1].noticed


def test_the_same_seed_gives_the_same_record_with_all_faults() -> None:
    one, two = ({**run(Level.EVENTS, 3), "wall_s": 0.0} for _ in range(2))
    assert one == two


@pytest.mark.slow
@pytest.mark.parametrize("level", [Level.PROXY, Level.EVENTS])
@pytest.mark.parametrize("routers", [1, 3])
def test_an_hour_with_faults_ends_with_every_request_accounted_for(level: Level, routers: int) -> None:
    prepared, cluster = requests(), roofline_cluster(INSTANCES, level=level)
    found = one_run(prepared, cluster, routers, FAULTS, incidents(HOUR_S, INSTANCES, routers))
    assert found["finished"] + found["rejected"] + found["failed"] == found["arrived"] == 12_240
    assert found["given_up"] > 50


# ---- incidents happen in the order of time ----------------------------------------------------------------------


def ask(number: int, at_s: float) -> Request:
    return Request(id=number, arrival_s=at_s, prompt_tokens=512, output_tokens=200, block_tokens=512)


def ended(arrivals_s: list[float], crash: Crash) -> list[End | None]:
    record = simulate(
        [ask(number, at_s) for number, at_s in enumerate(arrivals_s)],
        policy("lmetric"),
        roofline_cluster(1),
        routing=Routing("none", incidents=(crash,)),
    )
    assert record.noticed is not None
    assert record.noticed.booked_at_end == 0
    return [sim.end for sim in record.sims]


def test_what_would_have_ended_after_a_crash_does_not_end_well_whenever_the_next_request_comes() -> None:
    assert ended([0.0, 60.0], Crash(0.5, 0, 1.0)) == [End.FAILED, End.FINISHED]
    assert ended([0.0, 60.0], Crash(50.0, 0, 1.0)) == [End.FINISHED, End.FINISHED]


def test_an_instance_can_crash_after_the_last_request_came() -> None:
    assert ended([0.0], Crash(0.5, 0, 1.0)) == [End.FAILED]


# ---- the checks can fail ----------------------------------------------------------------------------------------


def test_the_watch_sees_what_must_not_be() -> None:
    watch = Watch([Crash(10.0, 1, 5.0)])
    state = SimpleNamespace(running=(0,), waiting=(1,), queued_prefill_tokens=(5,), context_tokens=(5,))
    watch(None, state, 1, to_ticks(9.0))
    watch(None, state, 1, to_ticks(15.0))
    watch(None, state, 0, to_ticks(12.0))
    with pytest.raises(AssertionError, match="is down"):
        watch(None, state, 1, to_ticks(12.0))
    with pytest.raises(AssertionError, match="waiting below zero"):
        watch(None, SimpleNamespace(**{**vars(state), "waiting": (0, -1)}), 0, 0)


def test_the_check_sees_what_is_missing_and_what_is_left() -> None:
    record = simulate(PREPARED, policy("lmetric"), roofline_cluster(8), routing=Routing("none"))
    assert check(record, 680) == {"finished": 680}
    with pytest.raises(AssertionError, match="a request is missing"):
        check(record, 681)
    assert record.noticed is not None
    with pytest.raises(AssertionError, match="7 still booked"):
        check(dataclasses.replace(record, noticed=dataclasses.replace(record.noticed, booked_at_end=7)), 680)
    record.sims[3].end, record.sims[3].reason = End.FAILED, "lost"
    with pytest.raises(AssertionError, match="lost"):
        check(record, 680)
