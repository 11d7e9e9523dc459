"""The shipped router in a simulation: it decides as its rule would, many decide as one, and nothing is lost."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from replay.sim.channel import Faults
from replay.sim.cluster import Cluster
from replay.sim.incidents import Crash
from replay.sim.router_decider import Routing
from replay.sim.run import simulate
from scheduler import BadInput, Level, Request, StepTime, policy
from scheduler.policies.product import RULES
from scheduler.router_config import RouterConfig
from scheduler.state import End

BLOCK = 8


def trace(seed: int, count: int = 120) -> list[Request]:
    """Prompts with shared prefixes, now and then several at once."""
    rng = random.Random(seed)
    chains: list[tuple[int, ...]] = [()]
    requests, now = [], 0.0
    for number in range(count):
        now += rng.choice([0.0, 0.002, 0.02])
        prompt = rng.randint(1, 160)
        blocks = -(-prompt // BLOCK)
        shared = rng.choice(chains)[: rng.randint(0, blocks)]
        keys = shared + tuple(1000 * (number + 1) + depth for depth in range(len(shared), blocks))
        chains.append(keys)
        requests.append(
            Request(
                id=number, arrival_s=now, prompt_tokens=prompt, output_tokens=rng.randint(1, 50), block_keys=keys,
                block_tokens=BLOCK,
            )
        )  # fmt: skip
    return requests


def cluster(instances: int = 4, level: Level = Level.PROXY, **others: Any) -> Cluster:
    """Small caches, so that blocks are evicted."""
    times = tuple(StepTime(0.001, 1e-4, 1e-5, 1e-6, 1e-7) for _ in range(instances))
    return Cluster(times, **{"kv_tokens": 400, "batch_tokens": 40, "max_batch": 6, "level": level, **others})


def chosen(record: Any) -> list[int | None]:
    return [sim.outcome().instance for sim in sorted(record.sims, key=lambda sim: sim.request.id)]


def ends(record: Any) -> Counter[End]:
    return Counter(sim.outcome().end for sim in record.sims)


@pytest.mark.parametrize("rule", [rule.name for rule in RULES])
@pytest.mark.parametrize("seed", range(4))
def test_without_mitigation_the_router_decides_as_its_rule(rule: str, seed: int) -> None:
    requests, where = trace(seed), cluster()
    alone = simulate(requests, policy(rule), where, seed=seed)
    routed = simulate(requests, policy(rule), where, seed=seed, routing=Routing("none"))
    assert chosen(routed) == chosen(alone)
    assert len(set(chosen(alone))) == 4
    assert [sim.predicted_hit for sim in routed.sims] == [sim.predicted_hit for sim in alone.sims]
    assert [sim.outcome() for sim in routed.sims] == [sim.outcome() for sim in alone.sims]
    assert routed.noticed is not None
    assert routed.noticed.ignored == 0
    assert sum(sim.preemptions for sim in routed.sims) > 0


@pytest.mark.parametrize("level", list(Level))
@pytest.mark.parametrize("delay_s", [0.0, 0.03])
def test_that_holds_at_every_level_and_for_late_news(level: Level, delay_s: float) -> None:
    requests, where = trace(7), cluster(level=level, delay_s=delay_s)
    alone = simulate(requests, policy("lmetric"), where)
    assert chosen(simulate(requests, policy("lmetric"), where, routing=Routing("none"))) == chosen(alone)


@pytest.mark.parametrize("level", list(Level))
def test_routers_that_hear_at_once_decide_as_one(level: Level) -> None:
    requests, where = trace(3), cluster(level=level)
    one, three = (simulate(requests, policy("lmetric"), where, routing=Routing("none", routers=n)) for n in (1, 3))
    assert chosen(one) == chosen(three)
    late = simulate(requests, policy("lmetric"), where, routing=Routing("none", routers=3, sync_s=0.5))
    assert chosen(late) != chosen(one)
    for record in (one, three, late):
        assert record.noticed is not None
        assert (record.noticed.open_at_end, record.noticed.booked_at_end) == (0, 0)


FAULTS = Faults(lost=0.1, duplicated=0.2, reordered=0.3, late_s=0.2)


@pytest.mark.parametrize("level", list(Level))
@pytest.mark.parametrize("routers", [1, 2])
def test_whatever_events_meet_all_counters_come_back_to_zero(level: Level, routers: int) -> None:
    routing = Routing("auto", routers=routers, sync_s=0.05, faults=FAULTS)
    record = simulate(trace(5), policy("lmetric"), cluster(level=level), seed=1, routing=routing)
    noticed = record.noticed
    assert noticed is not None
    assert ends(record) == {End.FINISHED: 120}
    assert noticed.decisions == 120
    assert min(noticed.faults.values()) > 0
    assert noticed.ignored > 0
    assert noticed.open_at_end > 0
    assert noticed.booked_at_end == 0


def test_the_same_seed_gives_the_same_record() -> None:
    def record(seed: int) -> Any:
        routing = Routing("auto", routers=2, sync_s=0.1, faults=FAULTS)
        found = simulate(trace(2), policy("lmetric:ties=random"), cluster(), seed=seed, routing=routing)
        return [sim.outcome() for sim in found.sims], found.noticed

    assert record(4) == record(4) != record(5)


@pytest.mark.parametrize("level", list(Level))
@pytest.mark.parametrize("routers", [1, 2])
def test_after_a_crash_every_request_is_accounted_for(level: Level, routers: int) -> None:
    requests, where = trace(6), cluster(level=level)
    incidents = (Crash(0.2, 0, 0.3), Crash(0.3, 2, 0.1), Crash(0.6, 0, 10.0))
    routing = Routing("none", routers=routers, incidents=incidents)
    record = simulate(requests, policy("lmetric"), where, routing=routing)
    assert len(record.sims) == len(requests)
    failed = [sim for sim in record.sims if sim.outcome().end is End.FAILED]
    assert failed
    assert {sim.outcome().reason for sim in failed} == {"its instance crashed"}
    assert {sim.outcome().instance for sim in failed} <= {0, 2}
    assert ends(record)[End.FAILED] + ends(record)[End.FINISHED] == len(requests)
    for sim in record.sims:  # nobody is sent to who is down
        at_s, where_to = sim.request.arrival_s, sim.outcome().instance
        for crash in incidents:
            assert not (crash.at_s <= at_s < crash.at_s + crash.down_s and where_to == crash.instance)
    back = [sim for sim in record.sims if 0.5 <= sim.request.arrival_s < 0.6 and sim.outcome().instance == 0]
    assert back, "who is back gets requests again"
    assert record.noticed is not None
    assert (record.noticed.open_at_end, record.noticed.booked_at_end) == (0, 0)


def test_a_cluster_that_is_down_routes_nothing() -> None:
    routing = Routing("none", incidents=(Crash(0.1, 0, 60.0),))
    with pytest.raises(BadInput, match="instances"):
        simulate(trace(1), policy("lmetric"), cluster(1), routing=routing)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"mitigation": "nothing"}, "mitigation"),
        ({"routers": 0}, "routers"),
        ({"routers": 1.5}, "routers"),
        ({"sync_s": -1.0}, "sync_s"),
    ],
)
def test_what_cannot_be_is_refused(asked: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        Routing(**asked)


def test_what_is_never_given_up_stays_open_to_the_end_and_leaves_nothing_behind() -> None:
    routing = Routing("none", faults=Faults(lost=1.0), config=RouterConfig(lost_after_s=None))
    record = simulate(trace(1, 20), policy("lmetric"), cluster(), routing=routing)
    assert record.noticed is not None
    assert (record.noticed.open_at_end, record.noticed.booked_at_end) == (20, 0)
