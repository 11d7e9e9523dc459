"""The prefix index beside ai-dynamo-runtime's ``RadixTree``: blocks added by events, prompts looked up, in turns.

Each turn is a process of its own, with the same keys and events (``benchmarks/index_workload.py``). A ratio is the
peer's time over ours in the same round; below 1 the peer is quicker. Adding is compared with the same JSON decoded on
both sides; what it takes with ready keys is told beside it, without a ratio, for the peer has no such call. Look-ups
end in a Python list here and in a Python dictionary there. A call of the peer turns a list of integers into native ones
and goes to another thread: the case ``no blocks`` is such a call with nothing to look up, and ``miss`` has all integers
and stops at the first.
"""

from __future__ import annotations

import datetime as dt
import sys
from typing import Any

from benchmarks.index_workload import EVENT_SIZES, INDEXED, PROMPT
from benchmarks.measure import in_process, machine, peer_environment, save, shown, spread

ROUNDS = 5
SIZES = (16, 64)
OWN = "benchmarks/turn_index.py"
PEER = "benchmarks/turn_dynamo_index.py"


def beside(ours: list[float], theirs: list[float]) -> dict[str, dict[str, float]]:
    """Times of both and the peer's over ours, round by round."""
    ratios = [other / own for own, other in zip(ours, theirs, strict=True)]
    return {"ours": spread(ours), "theirs": spread(theirs), "ratio": spread(ratios)}


def measure(rounds: int = ROUNDS) -> dict[str, Any]:
    """All turns, with their provenance."""
    peer = peer_environment("dynamo")
    turns: dict[int, list[tuple[dict[str, Any], dict[str, Any]]]] = {size: [] for size in SIZES}
    for turn in range(rounds):
        for size in SIZES:
            ours = in_process(sys.executable, OWN, str(size))
            turns[size].append((ours, in_process(peer, PEER, str(size))))
        print(f"  turn {turn + 1} of {rounds} done", flush=True)
    return {
        "peer": "ai-dynamo-runtime 1.6.1, RadixTree",
        "indexed_blocks": INDEXED,
        "prompt_blocks": PROMPT,
        "rounds": rounds,
        "instances": {str(size): compared(both) for size, both in turns.items()},
        "machine": machine(),
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "command": "make bench BENCH_ARGS=index_peer",
    }


def compared(turns: list[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    """The turns of one number of instances."""
    adding, looking = {}, {}
    for size in map(str, EVENT_SIZES):
        ours, theirs = ([turn[side]["add_us_per_block"][size] for turn in turns] for side in (0, 1))
        from_json = beside([row["from JSON"] for row in ours], [row["from JSON"] for row in theirs])
        adding[size] = {**from_json, "ours, ready keys": spread([row["ready keys"] for row in ours])}
    for case in turns[0][0]["lookup_us"]:
        looking[case] = beside(*([turn[side]["lookup_us"][case] for turn in turns] for side in (0, 1)))
    return {"add_us_per_block": adding, "lookup_us": looking}


def run() -> None:
    """Measure, print, save."""
    print("prefix index against RadixTree, in turns")
    result = measure()
    for size, found in result["instances"].items():
        print(f"{size} instances")
        for events, row in found["add_us_per_block"].items():
            print(
                f"  add, {events:>2} blocks an event  {shown(row['ours'], 2)} us, theirs {shown(row['theirs'], 2)} us"
            )
        for case, row in found["lookup_us"].items():
            print(f"  {case:24} {shown(row['ours'], 1)} us, theirs {shown(row['theirs'], 1)} us")
    print(f"saved {save('index_peer', result).name}")
