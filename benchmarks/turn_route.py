"""One turn of the router in a process of its own: microseconds of every ``Router.route``, as one JSON line.

100,000 blocks are indexed, fed by KV events, and the cluster is busy. Prompts have 1000 ready hashes; the first 4000 of
them are cached somewhere, wholly or in part, the others nowhere. A route is everything: lookup, decision, detection,
mitigation (``auto``), booking, log. Events that end requests are not timed.
"""

from __future__ import annotations

import json
import random
import sys
import time
import timeit

from scheduler import Request, Router, RouterConfig, StepTime

BLOCK = 16
CHAINS, LENGTH = 100, 1000
DECISIONS, HITS, WARM = 6000, 4000, 1000
#: Requests in flight on an instance.
RESIDENTS = 8
STEP = StepTime(0.006, 1e-4, 2e-5, 1e-8)


def filled(instances: int, rng: random.Random, timed: bool) -> tuple[Router, list[tuple[int, ...]]]:
    """A router whose index holds every chain: whole on one instance, in part on two others."""
    names = [f"instance-{i}" for i in range(instances)]
    router = Router(names, config=RouterConfig(source="events"), step_times=STEP if timed else None, seed=0)
    chains = []
    for _ in range(CHAINS):
        keys = tuple(rng.getrandbits(63) for _ in range(LENGTH))
        chains.append(keys)
        first, second, third = rng.sample(names, 3)
        router.kv_event(first, stored=keys)
        router.kv_event(second, stored=keys[: rng.randrange(100, LENGTH)])
        router.kv_event(third, stored=keys[: rng.randrange(10, 100)])
    return router, chains


def lookup_miss_us(router: Router, rng: random.Random) -> float:
    """What the lookup alone of a prompt takes that is cached nowhere [us]."""
    keys = tuple(rng.getrandbits(63) for _ in range(LENGTH))
    index = router._ledger.index  # noqa: SLF001 - the lookup has no public way of its own
    return min(timeit.repeat(lambda: index.hit_tokens(keys, BLOCK), number=2000, repeat=5)) / 2000 * 1e6


def main(instances: int, timed: bool) -> None:
    """Print ``{"hit_us": [...], "miss_us": [...], "lookup_miss_us", "unsafe"}``.

    Args:
        instances: how many.
        timed: whether the router knows engine times, and so asks the findings that need them.
    """
    rng = random.Random(1)
    router, chains = filled(instances, rng, timed)
    open_ids: list[int] = []
    times_us: dict[bool, list[float]] = {False: [], True: []}
    unsafe = 0
    clock = time.perf_counter
    for number in range(DECISIONS):
        now_s = 0.02 * number
        missing = number >= HITS  # as the peer is asked: one kind after the other
        keys = tuple(rng.getrandbits(63) for _ in range(LENGTH)) if missing else chains[rng.randrange(CHAINS)]
        request = Request(
            id=number, arrival_s=now_s, prompt_tokens=LENGTH * BLOCK + 100, block_keys=keys, block_tokens=BLOCK
        )
        started = clock()
        routed = router.route(request, now_s=now_s)
        times_us[missing].append((clock() - started) * 1e6)
        unsafe += not routed.detection.safe
        router.first_token(number, now_s=now_s + 0.001)
        open_ids.append(number)
        if len(open_ids) > RESIDENTS * instances:
            router.finish(open_ids.pop(rng.randrange(len(open_ids))), 200, now_s=now_s + 0.002)
    result = {
        "hit_us": times_us[False][WARM:],
        "miss_us": times_us[True],
        "lookup_miss_us": lookup_miss_us(router, rng),
        "unsafe": unsafe / DECISIONS,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:] == ["timed"])
