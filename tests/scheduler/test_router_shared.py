"""A router that many use at once, its log, and several routers of one cluster."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import threading

from scheduler import Request
from scheduler.router import Router
from scheduler.router_config import RouterConfig

BLOCK = 16
NAMES = ("a", "b", "c")
LINE_FIELDS = {
    "at_s",
    "findings",
    "hit_tokens",
    "instance",
    "instances",
    "margin",
    "mitigation",
    "new_tokens",
    "policy",
    "price_tokens",
    "prompt_tokens",
    "request",
    "rule_instance",
    "safe",
    "scores",
}


def ask(number: int, *keys: int) -> Request:
    return Request(id=number, arrival_s=0.0, prompt_tokens=64, block_keys=keys, block_tokens=BLOCK)


def test_many_threads_lose_nothing() -> None:
    router, faults = Router(NAMES, clock=lambda: 0.0), list[BaseException]()
    sent: list[str] = []

    def work(worker: int) -> None:
        try:
            for number in range(200):
                name = worker * 1000 + number
                sent.append(router.route(ask(name, number % 5)).instance)
                router.first_token(name)
                if number % 2:
                    router.finish(name, output_tokens=number)
                if number % 50 == 0:
                    router.state(ask(0))
                    router.traffic()
        except BaseException as fault:  # noqa: BLE001 - a thread must not keep it to itself
            faults.append(fault)

    run_at_once([threading.Thread(target=work, args=(worker,)) for worker in range(8)])
    assert faults == []
    state = router.state(ask(0))
    assert (len(sent), router.open_requests, sum(state.running), sum(state.waiting)) == (1600, 800, 800, 0)
    for worker in range(8):
        for number in range(0, 200, 2):
            router.finish(worker * 1000 + number)
    assert (router.booked, router.ignored) == (0, 0)


def test_threads_that_send_the_same_request_get_one_decision() -> None:
    router, made = Router(NAMES, clock=lambda: 0.0), [list[object]() for _ in range(8)]

    def work(mine: list[object]) -> None:
        mine.extend(router.route(ask(name, name % 5)) for name in range(300))

    run_at_once([threading.Thread(target=work, args=(mine,)) for mine in made])
    assert router.open_requests == 300
    assert [len({id(one) for one in answers}) for answers in zip(*made, strict=True)] == [1] * 300
    assert router.ignored == 7 * 300


def run_at_once(threads: list[threading.Thread]) -> None:
    """Run threads so that they part in the middle of things."""
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(usual_s)


def test_tasks_route_and_finish_in_any_order() -> None:
    router, rng = Router(NAMES, clock=lambda: 0.0), random.Random(5)

    async def serve(number: int, pauses: int) -> str:
        done = router.route(ask(number, number % 3))
        for _ in range(pauses):
            await asyncio.sleep(0)
        router.first_token(number)
        await asyncio.sleep(0)
        router.finish(number, output_tokens=4)
        return done.instance

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*(serve(number, rng.randrange(5)) for number in range(200)))

    chosen = asyncio.run(all_of_them())
    assert set(chosen) == set(NAMES)
    assert (router.booked, router.ignored) == (0, 0)


def test_every_decision_is_one_line_with_the_documented_fields() -> None:
    lines: list[bytes] = []
    router = Router(NAMES, ties="first", clock=lambda: 1.5, log_sink=lines.append, config=RouterConfig(log_size=3))
    for number in range(5):
        router.route(ask(number, 7))
        router.route(ask(number, 7))  # in flight: no decision
    read = [json.loads(line) for line in lines]
    assert [line["request"] for line in read] == [0, 1, 2, 3, 4]
    assert all(set(line) == LINE_FIELDS for line in read)
    assert all(line.count(b"\n") == 1 and line.endswith(b"\n") for line in lines)
    assert read[1] == {
        "request": 1, "at_s": 1.5, "policy": "lmetric", "instance": "b", "rule_instance": "b", "prompt_tokens": 64,
        "hit_tokens": 0, "new_tokens": 64, "instances": list(NAMES), "scores": [224, 64, 64], "margin": 0.0,
        "safe": True, "findings": read[1]["findings"], "mitigation": None, "price_tokens": 0,
    }  # fmt: skip
    assert [kept.request.id for kept in router.log] == [2, 3, 4]


def test_routers_that_hear_everything_know_the_same() -> None:
    routers = [Router(NAMES, ties="first", clock=lambda: 0.0) for _ in range(2)]
    letters: list[tuple[int, str, tuple[object, ...]]] = []
    rng = random.Random(2)
    for number in range(60):
        mine = number % 2
        request = ask(number, rng.randrange(4))
        done = routers[mine].route(request)
        letters.append((1 - mine, "heard", (request, done.instance, done.new_tokens)))
        for method in ("first_token", "finish")[: rng.randrange(3)]:
            getattr(routers[mine], method)(number)
            letters.append((1 - mine, method, (number,)))
    rng.shuffle(letters)
    for other, method, arguments in letters:
        getattr(routers[other], method)(*arguments)
    probes = [ask(1000 + key, key) for key in range(4)]
    one, two = ([router.state(probe) for probe in probes] for router in routers)
    assert [state.running for state in one] == [state.running for state in two]
    assert [state.waiting for state in one] == [state.waiting for state in two]
    assert [state.queued_prefill_tokens for state in one] == [state.queued_prefill_tokens for state in two]
    assert routers[0].open_requests == routers[1].open_requests > 0
    assert [router.route(ask(2000)).instance for router in routers] == [routers[0].log[-1].instance] * 2


def test_a_sink_that_fails_costs_no_request() -> None:
    def full(_line: bytes) -> None:
        raise OSError("disk full")

    router = Router(NAMES, log_sink=full, seed=0)
    routed = router.route(ask(1), request_id="req-1", now_s=0.0)
    assert (router.log.failures, router.open_requests, routed.request_id) == (1, 1, "req-1")
    router.finish("req-1", now_s=1.0)
    assert router.booked == 0


def test_a_line_of_the_log_ends_in_a_newline_and_names_the_request_as_events_do() -> None:
    lines: list[bytes] = []
    Router(NAMES, log_sink=lines.append, seed=0).route(ask(1), request_id="req-1", now_s=0.0)
    assert lines[0].endswith(b"}\n")
    assert json.loads(lines[0])["request"] == "req-1"
