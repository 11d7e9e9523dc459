"""The command line: results as JSON, and one clear line for every kind of bad input."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from scheduler import BadInput, BadTrace


def argprod(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, as a user does."""
    command = [sys.executable, "-c", "from argprod.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, timeout=120)


def line(**changes: Any) -> str:
    """One valid Mooncake line, changed."""
    row = {"timestamp": 0, "input_length": 700, "output_length": 5, "hash_ids": [0, 1], **changes}
    return json.dumps({name: value for name, value in row.items() if value is not ...})


SPREAD = {"mean", "p50", "p95", "p99"}


def test_json_has_the_documented_form(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    trace = tmp_path / "trace.jsonl"
    trace.write_text("\n".join(line(timestamp=100 * i) for i in range(20)) + "\n")
    done = argprod("replay", str(trace), "-p", "lmetric", "-p", "linear:weight=0.5", "--seeds", "2", "--json", str(out))
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert set(result) == {"trace", "settings", "policies"}
    assert result["trace"]["requests"] == 20
    assert len(result["trace"]["sha256"]) == 64
    assert result["settings"]["simulated"] is True
    assert [(row["name"], row["seed"]) for row in result["policies"]] == [
        ("lmetric", 0),
        ("linear", 0),
        ("lmetric", 1),
        ("linear", 1),
    ]
    for row in result["policies"]:
        assert (row["requests"], row["finished"], row["rejected"], row["failed"]) == (20, 20, 0, 0)
        assert all(set(row[name]) == SPREAD for name in ("ttft_s", "tpot_s", "e2e_s"))
        assert set(row["batch_imbalance"]) == {"p50", "p99"}
        assert 0 <= row["hit_fraction"] <= 1
        assert row["throughput_tokens_per_s"] > 0
        assert 0 <= row["goodput_fraction"] <= 1
        assert row["wall_s"] > 0
    assert result["policies"][1]["knobs"]["weight"] == 0.5


def test_the_same_run_twice_differs_in_wall_times_only(tmp_path: Path) -> None:
    results = []
    for name in ("a", "b"):
        out = tmp_path / name
        source = "workload:chat:requests=100"
        assert (
            argprod("replay", source, "-p", "bailian", "--seeds", "2", "--jobs", "2", "--json", str(out)).returncode
            == 0
        )
        result = json.loads(out.read_text())
        for row in result["policies"]:
            del row["wall_s"]
        results.append(result)
    assert results[0] == results[1]


def test_json_to_standard_output_is_nothing_but_json() -> None:
    done = argprod("replay", "workload:api:requests=50", "-p", "lmetric", "--json", "-")
    assert json.loads(done.stdout)["policies"][0]["finished"] == 50


BAD = [
    (["workload:chat", "-p", "lmetrik"], ["policy", "lmetrik", "nearest: lmetric"]),
    (["workload:chat", "-p", "linear:weigth=1"], ["knob of linear", "weigth", "weight"]),
    (["workload:chat", "-p", "linear:weight=nan"], ["linear:weight", "nan"]),
    (["workload:chat", "-p", "linear:weight=inf"], ["linear:weight", "inf"]),
    (["workload:chat", "-p", "linear:weight=x"], ["linear:weight", "'x'"]),
    (["workload:chat", "-p", "linear:weight"], ["linear", "'weight'", "knob=value"]),
    (["workload:chat", "--instances", "0"], ["instances", ">= 1", "got 0"]),
    (["workload:chat", "--instances", "-3"], ["instances", "-3"]),
    (["workload:chat", "--model", "Qwen2-8B"], ["model", "Qwen2-8B", "nearest: Qwen2-7B"]),
    (["workload:chat", "--gpu", "H300"], ["gpu", "H300"]),
    (["workload:chat", "--model", "Llama-3.1-70B", "--tensor-parallel", "1"], ["model", "weights that fit"]),
    (["workload:chat", "--level", "all"], ["--level", "'all'", "proxy"]),
    (["workload:chat", "--rate-scale", "0"], ["--rate-scale", "0"]),
    (["workload:chat", "--rate-scale", "nan"], ["--rate-scale", "nan"]),
    (["workload:chat", "--seeds", "0"], ["--seeds", "0"]),
    (["workload:chat", "--jobs", "0"], ["--jobs", "0"]),
    (["workload:chat", "--speeds", "1,x"], ["--speeds", "'x'"]),
    (["workload:chat", "--speeds", "1,0"], ["speeds[1]", "0"]),
    (["workload:chat", "--kv-tokens", "10"], ["kv_tokens", "10", "block"]),
    (["workload:chat", "--max-batch", "0"], ["max_batch", "0"]),
    (["workload:chat", "--max-batch", "5000"], ["max_batch", "5000", "batch_tokens"]),
    (["workload:chat", "--delay-s", "-1"], ["delay_s", "-1"]),
    (["workload:chta"], ["workload", "chta", "nearest: chat"]),
    (["workload:chat:requests=-1"], ["requests", "-1"]),
    (["workload:chat:requests=5", "--json", "no/such/folder/x.json"], ["output", "folder that exists"]),
    (["workload:chat", "--instances", "2", "--speeds", "1,1,1"], ["--speeds", "at most 2"]),
    (["workload:chat", "-p", "dynamo", "-p", "dynamo:overlap_credit=1"], ["--policy", "each policy once"]),
    (["workload:chat", "--report", "-"], ["output", "a file"]),
    (["workload:chat", "--instances", "x"], ["--instances"]),
    (["workload:chat", "--rate-scale", "1e-300"], ["--rate-scale", "1e-300"]),
    (["workload:chat", "--delay-s", "1e300"], ["delay_s", "1e+300"]),
    (["workload:chat", "--until-s", "1e308"], ["--until-s", "1e+308"]),
    (["workload:chat:requests=5,rate_per_s=1e-300"], ["arrival_s", "e+300"]),
    (["workload:chat", "--tensor-parallel", "3"], ["tensor_parallel", "3"]),
    (["workload:chat", "--tensor-parallel", "1024"], ["tensor_parallel", "1024"]),
    (["workload:chat", "--format", "mooncake"], ["format", "mooncake"]),
    (["workload:chat", "--on-bad-line", "maybe"], ["on_bad_line", "maybe"]),
    (["workload:chat", "-p", "lmetric:"], ["policy lmetric", "knob=value"]),
    (["no-such-file.jsonl"], ["no-such-file.jsonl"]),
    (["."], ["."]),
    (["workload:chat", "--no-such-option"], ["--no-such-option"]),
]


@pytest.mark.parametrize(("arguments", "parts"), BAD, ids=[" ".join(arguments) for arguments, _ in BAD])
def test_bad_options_end_in_one_clear_line(arguments: list[str], parts: list[str], tmp_path: Path) -> None:
    check_refused(argprod("replay", *arguments, cwd=tmp_path), parts)


def check_refused(done: subprocess.CompletedProcess[str], parts: list[str]) -> None:
    """Exit 2, no traceback, and the message names what is needed to mend it."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    message = done.stderr.strip().splitlines()[-1]
    for part in parts:
        assert part in message


FILES: dict[str, tuple[bytes, list[str]]] = {
    "negative": (line(input_length=-5).encode(), [":1", "input_length", "-5"]),
    "clock": ("\n".join([line(timestamp=9), line(timestamp=3)]).encode(), [":2", "timestamp", "3"]),
    "empty": (b"", ["empty"]),
    "truncated": (gzip.compress((line() + "\n").encode() * 500)[:-20], ["cut short"]),
    "binary": (bytes(range(256)) * 20, []),
    "hashes": (line(hash_ids=list(range(9))).encode(), [":1", "hash_ids", "9"]),
    "missing": (line(output_length=...).encode(), [":1", "output_length"]),
    "overflow": (line(timestamp=1e308).encode(), [":1", "timestamp"]),
    "digits": (line().replace('"timestamp": 0', '"timestamp": ' + "9" * 400).encode(), [":1"]),
    "nan": (line().replace("700", "NaN").encode(), [":1"]),
}


@pytest.mark.parametrize("name", list(FILES))
def test_bad_traces_end_in_one_clear_line(name: str, tmp_path: Path) -> None:
    data, parts = FILES[name]
    path = tmp_path / f"{name}.jsonl"
    path.write_bytes(data)
    check_refused(argprod("replay", str(path), "-p", "lmetric"), [str(path), *parts])


def test_bad_lines_can_be_skipped_and_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join([line(), line(input_length=-5), line(timestamp=5)]) + "\n")
    done = argprod("replay", str(path), "-p", "lmetric", "--on-bad-line", "skip", "--json", "-")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["trace"]["skipped"] == 1
    assert "bad lines skipped: 1" in done.stderr


def test_a_request_that_never_fits_is_rejected_and_counted_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join([line(), line(input_length=4_000_000, hash_ids=list(range(7813)))]) + "\n")
    done = argprod("replay", str(path), "-p", "lmetric", "--json", "-")
    row = json.loads(done.stdout)["policies"][0]
    assert (row["requests"], row["finished"], row["rejected"]) == (2, 1, 1)


@pytest.mark.parametrize("command", ["policies", "workloads"])
def test_what_can_be_named_is_listed(command: str) -> None:
    names = {row["name"] for row in json.loads(argprod(command, "--json").stdout)}
    assert names >= ({"lmetric", "dynamo"} if command == "policies" else {"chat", "hot_spot_ramp"})


def test_what_has_not_arrived_by_the_cut_off_is_no_part_of_the_run() -> None:
    done = argprod("replay", "workload:chat:requests=200", "-p", "lmetric", "--until-s", "10", "--json", "-")
    row = json.loads(done.stdout)["policies"][0]
    assert row["requests"] + row["not_arrived"] == 200
    assert row["not_arrived"] > 0
    assert row["finished"] + row["failed"] == row["requests"]


@pytest.mark.parametrize("width", [40, 60, 80, 130])
def test_the_table_fits_and_keeps_the_names(width: int, tmp_path: Path) -> None:
    environment = {**os.environ, "COLUMNS": str(width)}
    command = [sys.executable, "-c", "from argprod.cli import main; main()", "replay", "workload:api:requests=60"]
    policies = ["-p", "lmetric", "-p", "join_shortest_queue", "--seeds", "2"]
    done = subprocess.run(
        [*command, *policies], capture_output=True, text=True, check=True, env=environment, cwd=tmp_path, timeout=120
    )
    assert all(len(line) <= width for line in done.stdout.splitlines() if "workload:" not in line)
    if width >= 60:
        assert "join_shortest_queue" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["policies"], ["lmetric", "P-token x batch size", "argprod policies NAME"]),
        (["policies", "dynamo"], ["overlap_credit", "source: "]),
        (["workloads"], ["workload:chat", "adversary"]),
        (["workloads", "hot_spot_ramp"], ["requests = "]),
    ],
)
def test_lists_say_what_can_be_named_and_its_knobs(arguments: list[str], parts: list[str]) -> None:
    done = argprod(*arguments)
    assert done.returncode == 0, done.stderr
    for part in parts:
        assert part in done.stdout


@pytest.mark.parametrize(
    "arguments", [["policies", "lmetrik"], ["workloads", "chta"], ["bogus"], ["--nope"], ["replay"]]
)
def test_a_wrong_command_ends_in_one_line(arguments: list[str]) -> None:
    done = argprod(*arguments)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_a_bad_line_seen_in_a_worker_is_one_clear_line_too(tmp_path: Path) -> None:
    error = BadTrace("a.jsonl", 3, "timestamp", float("nan"), "a number", "look")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    plain = BadInput("field", object, "a thing")
    assert "field: expected a thing" in str(pickle.loads(pickle.dumps(plain)))


def test_a_trace_from_a_pipe_can_be_replayed_by_several_processes(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    text = "\n".join(line(timestamp=100 * i) for i in range(20))
    writer = threading.Thread(target=path.write_text, args=(text,))
    writer.start()
    done = argprod("replay", str(path), "-p", "lmetric", "-p", "random", "--seeds", "2", "--jobs", "2", "--json", "-")
    writer.join()
    assert done.returncode == 0, done.stderr
    assert [row["finished"] for row in json.loads(done.stdout)["policies"]] == [20] * 4


def test_signs_that_the_terminal_lacks_do_not_stop_the_run() -> None:
    command = [sys.executable, "-c", "from argprod.cli import main; main()", "replay", "workload:api:requests=50"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    policies = ["-p", "random", "--seeds", "2"]
    done = subprocess.run(
        [*command, *policies], capture_output=True, text=True, check=False, env=environment, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_the_version_is_told() -> None:
    assert argprod("--version").stdout.startswith("argprod ")
