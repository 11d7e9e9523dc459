"""The session for a machine with a GPU, on the CPU here: one file whose parts agree, whatever ends it."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="torch is not installed: `make test-engines` brings it")
pytest.importorskip("transformers", reason="transformers is not installed: `make test-engines` brings it")

from benchmarks.gpu_compare import METRICS, RANKED, value  # noqa: E402
from benchmarks.gpu_numerics import OUTPUT_TOKENS, Comparison, compared  # noqa: E402
from benchmarks.gpu_session import PARTS  # noqa: E402
from benchmarks.gpu_shapes import MAX_BATCH, SHAPES, check_memory, memory_bytes, shape_of  # noqa: E402
from benchmarks.gpu_workload import shortened  # noqa: E402
from replay.run_log import read_log  # noqa: E402
from scheduler import BadInput, Request  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPT = [sys.executable, str(ROOT / "benchmarks" / "gpu_replay.py")]
TINY = ["--device", "cpu", "--shape", "tiny", "--instances", "2"]
QUICK = [*TINY, "--minutes", "6", "--sweep-s", "5", "--run-s", "1", "--repeats", "1"]
#: Rules on the conversations, and the hot spot with and without the detector.
RUNS = 4 + 2


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "gpu_replay.json").read_text())
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a whole session has left its files."""
    folder = tmp_path_factory.mktemp("session")
    done = subprocess.run([*SCRIPT, "--out", str(folder), *QUICK], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    """What it found."""
    return read(folder)


def test_a_session_does_all_its_parts_and_says_where_and_how(found: dict[str, Any]) -> None:
    assert found["complete"]
    assert {name: part["state"] for name, part in found["parts"].items()} == dict.fromkeys(PARTS, "done")
    assert (found["runs_not_done"], found["runs_cut_off"]) == ([], [])
    assert found["engines"]["processes"]
    assert found["engines"]["instances"] == 2
    assert found["versions"]["torch"] == torch.__version__
    assert {"processor", "cores", "python"} <= set(found["machine"])
    assert found["command"].startswith("python benchmarks/gpu_replay.py --out")
    assert str(ROOT) not in json.dumps(found)


def test_every_request_of_every_run_has_one_end(found: dict[str, Any]) -> None:
    assert len(found["runs"]) == RUNS
    for run in found["runs"]:
        measured, wanted = run["measured"], found["load"]["workloads"][run["workload"]]["requests"]
        ends = [measured[name] for name in ("finished", "rejected", "failed", "not_arrived")]
        assert sum(ends) == wanted
        assert sum(run["lost"].values()) == ends[1] + ends[2]
        assert sum(measured["instance_requests"]) == wanted - measured["rejected"]
        assert run["prediction"]["told"] == measured["finished"]
        assert run["step_errors"]["alone"]["steps"] > 0
    assert {(run["policy"], run["mitigation"]) for run in found["runs"]} == {
        ("lmetric", "none"), ("lmetric", "auto"), ("join_shortest_queue", "none"), ("marginal_delay", "none"),
        (found["tuning"]["rule"], "none"),
    }  # fmt: skip
    best = min(found["tuning"]["points"], key=lambda point: point["simulated_ttft_mean_s"])
    assert found["tuning"]["rule"] == best["policy"]


def test_measured_and_simulated_stand_in_fields_of_their_own(found: dict[str, Any]) -> None:
    assert all("simulated" not in run for run in found["runs"])
    assert all("measured" not in run for run in found["simulated"])
    fits = ("alone", "together")
    assert len(found["simulated"]) == RUNS * len(fits)
    for workload, told in found["comparison"].items():
        for label, rule in told["rules"].items():
            policy, _, mitigation = label.partition(" +")
            key = (workload, policy, mitigation or "none")
            for metric in METRICS:
                real = values(found["runs"], "measured", key, metric)
                assert rule[metric]["measured"]["mean"] == pytest.approx(statistics.fmean(real))
                for fit in fits:
                    sims = [row for row in found["simulated"] if row["step_time"] == fit]
                    mean = statistics.fmean(values(sims, "simulated", key, metric))
                    assert rule[metric][f"simulated_{fit}"]["mean"] == pytest.approx(mean)
                    error = rule[metric][f"error_{fit}"]
                    assert error == pytest.approx(mean / statistics.fmean(real) - 1)
        for metric in RANKED:
            orders = told["rankings"][metric]["order"]
            assert set(orders) == {"measured", "simulated_alone", "simulated_together"}
            assert all(sorted(order) == sorted(told["rules"]) for order in orders.values())
            means = [told["rules"][label][metric]["measured"]["mean"] for label in orders["measured"]]
            assert means == sorted(means, reverse=not METRICS[metric])


def values(rows: list[dict[str, Any]], column: str, key: tuple[str, str, str], metric: str) -> list[float]:
    chosen = [row[column] for row in rows if (row["workload"], row["policy"], row["mitigation"]) == key]
    return [one for one in (value(summary, metric) for summary in chosen) if one is not None]


def test_the_logs_are_those_of_the_runs(folder: Path, found: dict[str, Any], tmp_path: Path) -> None:
    with tarfile.open(folder / "gpu_replay_logs.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    for workload, facts in found["load"]["workloads"].items():
        logs = [read_log(path) for path in sorted((tmp_path / "logs" / workload).glob("*.jsonl"))]
        wanted = [(run["policy"], run["mitigation"]) for run in found["runs"] if run["workload"] == workload]
        assert sorted((log.header.policy, log.header.mitigation) for log in logs) == sorted(wanted)
        assert all(len(log.lines) == facts["requests"] and log.footer is not None for log in logs)
    assert (tmp_path / "logs" / "steps-0.jsonl").exists()
    assert not list(folder.glob("*.part"))


def test_the_step_times_come_from_steps_that_were_measured(found: dict[str, Any]) -> None:
    for part in (found["step_time"], found["together"]):
        assert part["fit"]["steps"] >= 10
        assert part["held_out_error"]["steps"] > 0
        assert part["fit"]["step_time"]["base_s"] >= 0
    assert found["together"]["slowdown"] > 0
    for facts in found["load"]["workloads"].values():
        least = max(facts["maximum_per_s"] * found["load"]["share_of_maximum"], 30 / found["load"]["run_s"])
        assert facts["wanted_per_s"] == pytest.approx(least)
        assert facts["span_s"] < 3 * found["load"]["run_s"]
        assert facts["context_tokens_max"] <= 2048


def test_a_cached_prefix_does_not_change_what_the_model_says(found: dict[str, Any]) -> None:
    told = found["numerics"]
    assert told["prompts"] == len(told["rows"]) > 0
    assert told["equal"] + len(told["first_differences"]) == told["prompts"]
    assert told["logit_difference_max"] < 1e-4 * told["logit_spread_mean"]  # in float32
    assert all(row["cached_tokens"] >= 128 - 15 for row in told["rows"])
    assert all(row["cached_tokens_without_sharing"] == 0 for row in told["rows"])


def test_a_wrong_block_in_the_cache_is_seen_in_the_logits() -> None:
    comparison = Comparison(shape_of("tiny", "cpu"), seed=0)
    try:
        prefix, rest = comparison._ids(256), comparison._ids(20)
        comparison._said([*prefix, *comparison._ids(5)], True, "prefix")
        plain = comparison._said([*prefix, *rest], False, "plain")
        right = compared(prefix, plain, comparison._said([*prefix, *rest], True, "right"))
        for cache in comparison._managers[True].batch_processor.cache.value_cache:
            cache[: 4 * 16] = cache[4 * 16 : 8 * 16]  # four blocks hold what belongs to others
        wrong = compared(prefix, plain, comparison._said([*prefix, *rest], True, "wrong"))
    finally:
        comparison.close()
    assert right["logit_difference_max"] < 1e-4 * right["logit_spread"]
    assert wrong["logit_difference_max"] > 1e-2 * wrong["logit_spread"]
    assert len(plain[0]) == OUTPUT_TOKENS


def test_an_interrupted_session_leaves_a_file_and_no_process(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*SCRIPT, "--out", str(tmp_path), *QUICK], stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if b"engines: begins" in line:
                break
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    found = read(tmp_path)
    states = {name: part["state"] for name, part in found["parts"].items()}
    assert not found["complete"]
    assert (states["numerics"], states["engines"], states["runs"]) == ("done", "failed", "not done")
    until_s = time.monotonic() + 10.0  # the helper of multiprocessing ends a moment later
    while alive(process.pid) and time.monotonic() < until_s:
        time.sleep(0.01)
    assert not alive(process.pid)


def alive(group: int) -> bool:
    """Whether a group of processes still has a member."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_without_time_the_file_says_what_was_not_done(tmp_path: Path) -> None:
    began_s = time.monotonic()
    done = subprocess.run(
        [*SCRIPT, "--out", str(tmp_path), *TINY, "--minutes", "0.1"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr[-3000:]
    assert time.monotonic() - began_s < 60.0
    found = read(tmp_path)
    assert not found["complete"]
    assert "runs" not in found
    for name in PARTS[1:]:
        assert found["parts"][name]["state"] == "not done"
        assert found["parts"][name]["why"]


def test_what_is_missing_is_named_with_what_to_do(tmp_path: Path) -> None:
    bare = [sys.executable, "-S", *SCRIPT[1:]]  # without any installed package
    done = subprocess.run([*bare, "--out", str(tmp_path), *TINY], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "msgspec is missing" in done.stderr
    assert "--wheel" in done.stderr


def test_what_stays_too_long_is_cut_off_behind_the_prefix_that_it_shares() -> None:
    usual = [Request(id=n, arrival_s=0.0, prompt_tokens=1900, output_tokens=40, block_tokens=16) for n in range(40)]
    keys = tuple(range(300))
    long = Request(id=40, arrival_s=0.0, prompt_tokens=4800, output_tokens=40, block_tokens=16, block_keys=keys)
    short = shortened([*usual, long])
    assert short[:40] == usual
    assert (short[40].prompt_tokens, short[40].output_tokens) == (2008, 40)
    assert short[40].block_keys == keys[:126]


@given(st.lists(st.tuples(st.integers(1, 200), st.integers(1, 511), st.integers(1, 3000)), min_size=1, max_size=30))
def test_shortened_requests_fit_and_share_the_blocks_that_they_shared(sizes: list[tuple[int, int, int]]) -> None:
    long = [
        Request(
            id=place, arrival_s=float(place), prompt_tokens=512 * (blocks - 1) + rest, output_tokens=output,
            block_tokens=512, block_keys=(*range(blocks - 1), 1000 + place),
        )
        for place, (blocks, rest, output) in enumerate(sizes)
    ]  # fmt: skip
    short = shortened(long)
    assert len({one.block_tokens for one in short}) == 1
    for one, two in zip(long, short, strict=True):
        assert two.prompt_tokens + two.output_tokens <= 2048
        assert two.prompt_tokens >= 1
        assert two.output_tokens >= 1
        assert len(two.block_keys) == -(-two.prompt_tokens // two.block_tokens)
        assert two.block_keys == one.block_keys[: len(two.block_keys)]
    cut = sum(len(two.block_keys) < len(one.block_keys) - 1 for one, two in zip(long, short, strict=True))
    assert cut <= max(1, 0.05 * len(long) + 1)


def test_requests_that_fit_stay_as_they_are() -> None:
    requests = [Request(id=0, arrival_s=0.0, prompt_tokens=900, output_tokens=40, block_tokens=16)]
    assert shortened(requests) == requests


@pytest.mark.parametrize("name", [name for name in SHAPES if name != "tiny"])
def test_memory_is_reckoned_before_it_is_taken(name: str) -> None:
    """Weights and cache of the published configurations: 1.0, 3.1 and 15.2 GB, and 12, 28 and 56 KB a token."""
    shape = shape_of(name, "cuda")
    weights_gb, kv_kb = {"qwen2-0.5b": (1.0, 12), "qwen2-1.5b": (3.1, 28), "qwen2-7b": (15.2, 56)}[name]
    tied = 2 * shape.vocabulary * shape.hidden if name != "qwen2-7b" else 0  # an output head of its own
    kv_bytes = 1024 * kv_kb * shape.kv_blocks * shape.block_tokens
    expected = 1e9 * weights_gb + tied + kv_bytes + 2e9
    assert memory_bytes(shape) == pytest.approx(expected, rel=0.03)
    check_memory(shape, 4, 4 * memory_bytes(shape))
    with pytest.raises(BadInput, match="at most 3 of this shape"):
        check_memory(shape, 4, 4 * memory_bytes(shape) - 1)
    assert (shape.dtype, shape.max_batch) == ("bfloat16", MAX_BATCH)
