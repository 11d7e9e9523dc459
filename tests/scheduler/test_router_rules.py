"""Every rule of the catalogue in the router: it decides there as it does alone, memory, draws and blocks in use too."""

from __future__ import annotations

import random

import msgspec
import pytest

from replay.sim.router_decider import Routing
from replay.sim.run import simulate
from scheduler import Request, StepTime, decide, policy
from scheduler.policies.catalogue import CATALOGUE
from scheduler.router import Router
from scheduler.router_config import RouterConfig
from tests.replay.test_router_decider import chosen, cluster, trace

BLOCK = 16
NAMES = ("a", "b", "c", "d")
TIMES = {name: StepTime(0.01, 1e-4 * (1 + place), 1e-3, 0.0) for place, name in enumerate(NAMES)}
COUNT = 120
#: Rules that mean to leave the others idle while the first is in time.
FILLS_ONE = {"polyserve"}


def asked(seed: int) -> list[Request]:
    """Requests of a few conversations."""
    rng = random.Random(seed)
    chains = [tuple(100 * chain + depth for depth in range(12)) for chain in range(5)]
    found = []
    for number in range(COUNT):
        keys = rng.choice(chains)[: rng.randint(0, 12)]
        tokens = len(keys) * BLOCK + rng.randint(1, 40)
        found.append(
            Request(id=number, arrival_s=number / 4, prompt_tokens=tokens, block_keys=keys, block_tokens=BLOCK)
        )
    return found


def router(rule: str, seed: int = 5) -> Router:
    return Router(
        NAMES, rule, ties=None, seed=seed, mitigation="none", step_times=TIMES, config=RouterConfig(kv_tokens=4000),
        clock=lambda: 0.0,
    )  # fmt: skip


def what_becomes(it: Router, rng: random.Random, open_: list[int], now_s: float) -> None:
    """Some requests get their first token, some end."""
    for number in list(open_):
        if rng.random() < 0.3:
            it.first_token(number, now_s=now_s)
        if rng.random() < 0.2:
            it.finish(number, 20, now_s=now_s)
            open_.remove(number)


@pytest.mark.parametrize("rule", list(CATALOGUE))
def test_the_router_decides_as_the_rule_does_on_the_state_that_it_hands_out(rule: str) -> None:
    it, memory, draws = router(rule), None, random.Random(5)
    rng, open_, taken = random.Random(1), list[int](), set()
    for request in asked(2):
        expected = it._ledger.accounting.expected_output_tokens()
        routed = it.route(request, now_s=request.arrival_s)
        told = msgspec.structs.replace(request, expected_output_tokens=expected)
        decision, memory = decide(policy(rule), routed.state, told, memory=memory, rng=draws)
        assert routed.instance == routed.rule_instance == decision.id
        taken.add(decision.id)
        open_.append(request.id)
        what_becomes(it, rng, open_, request.arrival_s)
    assert len(taken) > 1 or rule in FILLS_ONE
    assert it.ignored > 0  # first tokens told twice
    for number in open_:
        it.finish(number)
    assert it.booked == 0


@pytest.mark.parametrize("rule", list(CATALOGUE))
def test_a_rule_goes_on_from_a_snapshot(rule: str) -> None:
    it, rng, open_ = router(rule), random.Random(1), list[int]()
    requests = asked(3)
    for request in requests[: COUNT // 2]:
        it.route(request, now_s=request.arrival_s)
        open_.append(request.id)
        what_becomes(it, rng, open_, request.arrival_s)
    again = Router.restore(it.snapshot(), clock=lambda: 0.0)
    for request in requests[COUNT // 2 :]:
        assert again.route(request, now_s=request.arrival_s) == it.route(request, now_s=request.arrival_s)
    assert again.snapshot() == it.snapshot()


@pytest.mark.parametrize("rule", list(CATALOGUE))
def test_in_a_simulation_the_router_takes_what_the_rule_alone_takes(rule: str) -> None:
    requests, where = trace(11), cluster()
    alone = simulate(requests, policy(rule), where, seed=3)
    routed = simulate(requests, policy(rule), where, seed=3, routing=Routing("none"))
    assert chosen(routed) == chosen(alone)


def test_blocks_in_use_are_told_by_position_when_somebody_drains() -> None:
    it = router("dynamo")
    places = {}
    for request in asked(4)[:8]:
        places[request.id] = it.route(request, now_s=0.0)
    who = places[0].instance
    whole = it.state(asked(4)[0])
    it.drain(who)
    left = it.state(asked(4)[0])
    assert whole.active_blocks is not None
    assert whole.added_blocks is not None
    kept = [place for place, name in enumerate(whole.ids) if name != who]
    assert left.active_blocks == tuple(whole.active_blocks[place] for place in kept)
    assert left.added_blocks == tuple(whole.added_blocks[place] for place in kept)
    assert max(left.active_blocks) > 0
