"""Speed of the simulator beside vidur's, on the same requests, cluster and step times, in turns.

Each turn is a process of its own; importing is not timed. vidur has no prefix cache, so the requests have no block
keys. Both send requests to the instances in turn (``round_robin``), form batches with chunked prefill, decode first,
and have the same linear step time, token budget, batch limit and KV blocks. So both simulate the same thing, and the
mean latencies of both are kept beside the speeds. What replaces vidur's predictor: ``benchmarks/turn_vidur.py``.

``replay``: the requests are ready; the cluster is built within that time here, and before it there. ``whole call``:
the trace is read too, JSON lines here and CSV there. ``step by step``: argprod's plain engine, which takes every step
one by one, as vidur does.
"""

from __future__ import annotations

import csv
import datetime as dt
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.measure import in_process, machine, peer_environment, save, shown, spread
from benchmarks.turn_argprod import STEP_BY_STEP
from replay.sim.cluster import roofline_cluster
from replay.sim.ticks import StepTicks, to_seconds
from replay.sources import open_source
from replay.traces import own
from scheduler.state import Request

ROUNDS = 5
INSTANCES = 4
RULE = "round_robin"
BLOCK_TOKENS = 16
#: Long prompts with long replies, and short ones. Sized so that a turn of vidur takes less than 40 s.
SCENES = {
    "chat": f"workload:chat:requests=1000,rate_per_s=0.8,block_tokens={BLOCK_TOKENS}",
    "api": f"workload:api:requests=1000,rate_per_s=4,block_tokens={BLOCK_TOKENS}",
}
OWN = "benchmarks/turn_argprod.py"
PEER = "benchmarks/turn_vidur.py"
#: What vidur keeps of a trace: the rows of one day.
DATE = "2000-01-01"


def open_loop(source: str) -> list[Request]:
    """The requests of a source as both simulators know them: when, how long, and nothing else."""
    requests, _ = open_source(source)
    return [
        msgspec.structs.replace(request, block_keys=(), session=None, after=None, think_s=0.0, id=number)
        for number, request in enumerate(requests)
    ]


def write_csv(requests: Sequence[Request], path: Path) -> None:
    """Write a trace that vidur reads."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("Date", "Time", "PromptTokenCount", "CompletionTokenCount"))
        for request in requests:
            writer.writerow((DATE, repr(request.arrival_s), request.prompt_tokens, request.output_tokens))


def scene_of(instances: int) -> dict[str, Any]:
    """The default cluster in vidur's terms; step times as argprod rounds them."""
    cluster = roofline_cluster(instances)
    ticks = StepTicks.of(cluster.step_times[0])
    return {
        "date": DATE,
        "instances": instances,
        "block_tokens": BLOCK_TOKENS,
        "kv_blocks": cluster.kv_tokens // BLOCK_TOKENS,
        "batch_tokens": cluster.batch_tokens,
        "max_batch": cluster.max_batch,
        "step_time": {
            "base_s": to_seconds(ticks.base),
            "prefill_s_per_token": to_seconds(ticks.prefill),
            "decode_s_per_request": to_seconds(ticks.decode),
            "kv_s_per_token": to_seconds(ticks.kv),
            "attention_s_per_pair": to_seconds(ticks.attention),
        },
    }


def in_turns(source: str, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """What every turn on one source printed, by who took it."""
    turns: dict[str, list[dict[str, Any]]] = {"argprod": [], "vidur": [], "step by step": []}
    peer = peer_environment("vidur")
    with tempfile.TemporaryDirectory() as folder:
        lines, table, scene = (Path(folder) / name for name in ("trace.jsonl", "trace.csv", "scene.json"))
        requests = open_loop(source)
        with lines.open("wb") as file:
            own.write(requests, file)
        write_csv(requests, table)
        scene.write_text(json.dumps(scene_of(INSTANCES)))
        for turn in range(rounds):
            turns["argprod"].append(in_process(sys.executable, OWN, str(lines), RULE, str(INSTANCES)))
            turns["vidur"].append(in_process(peer, PEER, str(table), str(scene)))
            steps = in_process(sys.executable, OWN, str(lines), RULE, str(INSTANCES), STEP_BY_STEP)
            turns["step by step"].append(steps)
            print(f"  {source.split(':')[1]}: turn {turn + 1} of {rounds} done", flush=True)
    assert all(row["requests"] == len(requests) for rows in turns.values() for row in rows), "a request was lost"
    return turns


def compared(turns: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Speeds, ratios by turn, and how far apart the simulated latencies are."""
    ours, theirs, steps = turns["argprod"], turns["vidur"], turns["step by step"]
    speeds = {
        "argprod, replay": [row["requests"] / row["simulate_s"] for row in ours],
        "argprod step by step, replay": [row["requests"] / row["simulate_s"] for row in steps],
        "vidur, replay": [row["requests"] / row["replay_s"] for row in theirs],
        "argprod, whole call": [
            row["requests"] / (row["read_s"] + row["prepare_s"] + row["simulate_s"]) for row in ours
        ],
        "vidur, whole call": [row["requests"] / row["call_s"] for row in theirs],
    }

    def ratio(name: str, peer: str) -> dict[str, float]:
        return spread([one / other for one, other in zip(speeds[name], speeds[peer], strict=True)])

    return {
        "requests": ours[0]["requests"],
        "requests_per_s": {name: spread(values) for name, values in speeds.items()},
        "ratio_replay": ratio("argprod, replay", "vidur, replay"),
        "ratio_step_by_step": ratio("argprod step by step, replay", "vidur, replay"),
        "ratio_whole": ratio("argprod, whole call", "vidur, whole call"),
        "latency": {
            name: {"argprod": ours[0][name], "vidur": theirs[0][name], "ratio": ours[0][name] / theirs[0][name]}
            for name in ("mean_ttft_s", "mean_e2e_s")
        },
        "restarts": theirs[0]["restarts"],
    }


def against_vidur(rounds: int = ROUNDS) -> dict[str, Any]:
    """Turns on every scene, with their provenance."""
    scenes = {}
    for name, source in SCENES.items():
        scenes[name] = {"source": source, **compared(in_turns(source, rounds))}
        row = scenes[name]
        print(f"  {name}: replay {shown(row['ratio_replay'])}x, step by step {shown(row['ratio_step_by_step'], 1)}x,")
        print(
            f"    whole call {shown(row['ratio_whole'])}x, mean E2E ratio {row['latency']['mean_e2e_s']['ratio']:.6f}"
        )
    return {
        "peer": "vidur 0.0.26, round_robin, chunked prefill (sarathi), a linear step time in place of its predictor",
        "instances": INSTANCES,
        "rounds": rounds,
        "scenes": scenes,
        "machine": machine(),
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "command": "make bench BENCH_ARGS=simulator_vidur",
    }


def run() -> None:
    """Measure, print, save."""
    print("simulator against vidur, in turns")
    print(f"saved {save('simulator_vidur', against_vidur()).name}")
