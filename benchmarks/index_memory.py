"""Memory and speed of the prefix index: ten million blocks fed by events, and look-ups in a hundred thousand.

The memory is measured in a process of its own that only makes keys and feeds them; its peak contains the moments at
which tables grow. Keys are 64 bits, chains 100 to 1000 blocks long over a first part that all instances hold.
"""

from __future__ import annotations

import datetime as dt
import json
import random
import resource
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.index_workload import EVENT_BLOCKS, INDEXED, PROMPT, keys_of, timed
from benchmarks.measure import in_process, machine, save, shown, spread
from scheduler.history_index import HistoryIndex
from scheduler.prefix_index import PrefixIndex

BLOCKS = 10_000_000
INSTANCES = 64


def fill(blocks: int, by_bytes: bool = False) -> dict[str, Any]:
    """Feed so many distinct blocks by events, and say what memory it took."""
    rng = random.Random(0)
    index = PrefixIndex(INSTANCES)
    shared = keys_of(rng, 64)
    for instance in range(INSTANCES):
        index.add(instance, shared)
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    slowest_s, fed_s = 0.0, 0.0
    while len(index) < blocks:
        instance, last = rng.randrange(INSTANCES), rng.choice(shared)
        length = min(rng.randrange(100, 1001), blocks - len(index))
        chain: list[Any] = [rng.randbytes(32) for _ in range(length)] if by_bytes else keys_of(rng, length)
        for start in range(0, length, EVENT_BLOCKS):
            event = chain[start : start + EVENT_BLOCKS]
            began_s = time.perf_counter()
            index.add(instance, event, last)
            took_s = time.perf_counter() - began_s
            fed_s, slowest_s, last = fed_s + took_s, max(slowest_s, took_s), event[-1]
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert not any(index.orphan_count(instance) for instance in range(INSTANCES))
    return {
        "blocks": len(index),
        "instances": INSTANCES,
        "key": "32 bytes" if by_bytes else "64-bit integer",
        "peak_gb": peak_kb * 1024 / 1e9,
        "bytes_per_block": (peak_kb - before_kb) * 1024 / len(index),
        "add_us_per_block": fed_s / len(index) * 1e6,
        "slowest_event_ms": slowest_s * 1e3,
    }


def walked(masks: dict[Any, int], count: int, keys: Sequence[int], block_tokens: int) -> list[int]:
    """The reference: every block of the prompt looked up in turn."""
    hits, alive = [0] * count, (1 << count) - 1
    for key in keys:
        alive &= masks.get(key, 0)
        if not alive:
            break
        for instance in range(count):
            if alive >> instance & 1:
                hits[instance] += block_tokens
    return hits


def lookups(instances: int) -> dict[str, Any]:
    """Time of a look-up of a long prompt, by how it is held."""
    rng = random.Random(instances)
    index = PrefixIndex(instances)
    while len(index) < INDEXED:
        index.add(rng.randrange(instances), keys_of(rng, 500))
    prompt = keys_of(rng, PROMPT)
    cases = {
        "miss": [],
        "one holder, all of it": [PROMPT],
        "all hold 700": [700] * instances,
        "three depths": [300, 600, 900],
        "all hold 50, four more": [200, 400, 700, 1000] + [50] * (instances - 4),
        "eight depths": [rng.choice([50, 130, 300, 420, 555, 777, 900, 1000]) for _ in range(instances)],
        "a depth for each": rng.sample(range(1, PROMPT), instances),
    }
    rows: dict[str, Any] = {}
    for name, depths in cases.items():
        for instance, depth in enumerate(depths):
            index.add(instance, prompt[:depth])
        masks = {key: index.holders(key) for key in prompt}
        assert index.hit_tokens(prompt, 16) == walked(masks, instances, prompt, 16)
        rows[name] = spread(timed(lambda: index.hit_tokens(prompt, 16), 200))
        rows[f"{name}, walked"] = spread(timed(lambda masks=masks: walked(masks, instances, prompt, 16), 2))  # type: ignore[misc]
        for instance, depth in enumerate(depths):
            index.remove(instance, reversed(prompt[:depth]))
    return rows


def records() -> dict[str, Any]:
    """Time to record a long prompt in a history."""
    rng = random.Random(1)
    history = HistoryIndex(16, INDEXED)
    prompt = keys_of(rng, PROMPT)
    history.record(0, prompt)
    turns = [[*prompt[: rng.randrange(100, 900)], *keys_of(rng, 50)] for _ in range(400)]
    news = [keys_of(rng, PROMPT) for _ in range(400)]

    def each(prompts: list[list[int]]) -> Callable[[], None]:
        rest = iter(prompts)
        return lambda: history.record(1, next(rest))

    history.record(1, prompt)
    return {
        "all known": spread(timed(lambda: history.record(0, prompt), 200)),
        "a known part, 50 new": spread(timed(each(turns), 10)),
        "all new": spread(timed(each(news), 10)),
    }


def run() -> None:
    """Measure, print, save."""
    result: dict[str, Any] = {"memory": [], "lookup_us": {}}
    for kind in ("integer", "bytes"):
        row = in_process(sys.executable, "benchmarks/index_memory.py", str(BLOCKS), kind)
        result["memory"].append(row)
        print(f"{row['blocks']:,} blocks, {row['key']}: peak {row['peak_gb']:.2f} GB")
        print(f"  {row['bytes_per_block']:.0f} bytes and {row['add_us_per_block']:.2f} us a block")
        print(f"  slowest event {row['slowest_event_ms']:.0f} ms: tables grow")
    for instances in (16, 64):
        result["lookup_us"][str(instances)] = lookups(instances)
        print(f"{PROMPT} keys over {INDEXED:,} blocks, {instances} instances")
        for name, row in result["lookup_us"][str(instances)].items():
            print(f"  {name:32} {shown(row, 1)} us")
    result["record_us"] = records()
    print(f"recording {PROMPT} keys")
    for name, row in result["record_us"].items():
        print(f"  {name:32} {shown(row, 1)} us")
    result["machine"] = machine()
    result["date"] = dt.datetime.now(tz=dt.UTC).date().isoformat()
    result["command"] = "make bench BENCH_ARGS=index_memory"
    print(f"saved {save('index_memory', result).name}")


if __name__ == "__main__":
    print(json.dumps(fill(int(sys.argv[1]), sys.argv[2] == "bytes")))
