"""Speed of the simulator: requests per wall second, as a ratio over ai-dynamo-runtime's replay, in one run.

Systems take turns, each in a process of its own. Three ratios are given. Like against like: the replay alone (prepared
requests here, the wall time it reports itself there), and the whole job (trace read and prepared on both sides). And,
as the project's target is put, simulated requests per second here over the peer's call, which reads its trace.
The two simulate different cost models; compared is how fast they are, not what they predict. Against vidur, with the
same cost model: ``benchmarks/simulator_vidur.py``.
"""

from __future__ import annotations

import datetime as dt
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks.measure import in_process, machine, peer_environment, save, shown, spread

ROUNDS = 5
INSTANCES = 16
OWN = "benchmarks/turn_argprod.py"
PEER = "benchmarks/turn_dynamo.py"


def conversation_trace() -> Path:
    """The real trace, found through ARGPROD_TRACES."""
    named = os.environ.get("ARGPROD_TRACES")
    if not named:
        raise SystemExit("benchmarks: ARGPROD_TRACES is unset: it names the folder with mooncake_conversation.jsonl")
    return Path(named).resolve() / "mooncake_conversation.jsonl"


def against_dynamo(rounds: int = ROUNDS) -> dict[str, Any]:
    """Turns on the conversation trace."""
    trace = str(conversation_trace())
    peer = peer_environment("dynamo")
    own: list[dict[str, Any]] = []
    same_rule: list[dict[str, Any]] = []
    routed: list[dict[str, Any]] = []
    theirs: list[dict[str, Any]] = []
    for turn in range(rounds):
        own.append(in_process(sys.executable, OWN, trace, "lmetric", str(INSTANCES)))
        theirs.append(in_process(peer, PEER, trace, "kv_router", str(INSTANCES)))
        same_rule.append(in_process(sys.executable, OWN, trace, "dynamo", str(INSTANCES)))
        routed.append(in_process(sys.executable, OWN, trace, "lmetric", str(INSTANCES), "auto"))
        print(f"  turn {turn + 1} of {rounds} done", flush=True)
    replay = [row["requests"] / row["simulate_s"] for row in own]
    whole = [row["requests"] / (row["read_s"] + row["prepare_s"] + row["simulate_s"]) for row in own]
    their_replay = [row["requests"] / row["replay_s"] for row in theirs]
    their_whole = [row["requests"] / row["call_s"] for row in theirs]
    return {
        "trace": "mooncake_conversation, 12,031 requests, 16 instances",
        "peer": "ai-dynamo-runtime 1.6.1, run_mocker_trace_replay, router_mode=kv_router",
        "rounds": rounds,
        "requests_per_s": {
            "argprod lmetric, replay": spread(replay),
            "argprod dynamo rule, replay": spread([row["requests"] / row["simulate_s"] for row in same_rule]),
            "argprod lmetric, the router in the loop": spread([row["requests"] / row["simulate_s"] for row in routed]),
            "dynamo kv_router, replay": spread(their_replay),
            "argprod lmetric, whole call": spread(whole),
            "dynamo kv_router, whole call": spread(their_whole),
        },
        "ratio_replay": spread([a / b for a, b in zip(replay, their_replay, strict=True)]),
        "ratio_whole": spread([a / b for a, b in zip(whole, their_whole, strict=True)]),
        "ratio_replay_over_call": spread([a / b for a, b in zip(replay, their_whole, strict=True)]),
        "peak_memory_mb": max(row["peak_memory_mb"] for row in own),
    }


def scaling() -> dict[str, Any]:
    """A trace ten times as long should take ten times as long."""
    rows = {}
    for requests in (12_000, 120_000):
        source = f"workload:chat:requests={requests},rate_per_s=3.4,block_tokens=512"
        turns = [in_process(sys.executable, OWN, source, "lmetric", str(INSTANCES)) for _ in range(3)]
        rows[requests] = {
            "simulate_s": spread([row["simulate_s"] + row["prepare_s"] for row in turns]),
            "peak_memory_mb": max(row["peak_memory_mb"] for row in turns),
        }
    ratio = rows[120_000]["simulate_s"]["median"] / rows[12_000]["simulate_s"]["median"]
    return {"workload": "chat, 512-token blocks, 3.4 requests/s", "rows": rows, "time_ratio_for_10x": ratio}


def run() -> None:
    """Measure, print, save."""
    print("simulator against dynamo, in turns")
    result = against_dynamo()
    for name, row in result["requests_per_s"].items():
        print(f"  {name:40} {shown(row)} requests/s")
    print(f"  ratio, replay alone on both sides:  {shown(result['ratio_replay'], 1)}x")
    print(f"  ratio, whole job on both sides:     {shown(result['ratio_whole'], 1)}x")
    print(f"  ratio, replay here over call there: {shown(result['ratio_replay_over_call'], 1)}x")
    print(f"  peak memory {result['peak_memory_mb']:.0f} MB")
    print("ten times the requests")
    result["scaling"] = scaling()
    print(f"  {result['scaling']['time_ratio_for_10x']:.1f}x the time")
    for requests, row in result["scaling"]["rows"].items():
        print(f"  {requests:>7} requests: {row['simulate_s']['median']:.2f} s, {row['peak_memory_mb']:.0f} MB")
    result["machine"] = machine()
    result["date"] = dt.datetime.now(tz=dt.UTC).date().isoformat()
    result["command"] = "make bench BENCH_ARGS=simulator"
    print(f"saved {save('simulator', result).name}")
