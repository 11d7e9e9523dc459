"""``argprod detect``: exit codes, JSON in the documented form, tables that fit, and never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from argprod.app import app
from argprod.schemas import FOLDER, as_json, schemas
from proofs.search.saving import FOLDER as SAVED
from scheduler import BadInput, read_states
from scheduler.domains import INSTANCE_DOMAINS
from scheduler.finding import Detection, Kind


def argprod(*arguments: str, text: bytes = b"") -> subprocess.CompletedProcess[str]:
    """Run ``argprod detect`` in a process of its own, as a user does."""
    command = [sys.executable, "-c", "from argprod.cli import main; main()", "detect", *arguments]
    done = subprocess.run(
        command, input=text, capture_output=True, check=False, timeout=60, env={**os.environ, "COLUMNS": "80"}
    )
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())


def quick(*arguments: str, text: bytes = b"") -> tuple[int, str]:
    """The same in this process: exit code and output, -1 for bad input."""
    done = CliRunner(env={"COLUMNS": "80"}).invoke(app, ["detect", *arguments], input=text)
    if isinstance(done.exception, BadInput):
        return -1, str(done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout


def saved(name: str, twin: bool = False) -> bytes:
    """A state of the collection."""
    value = json.loads((SAVED / f"{name}.json").read_bytes())
    return json.dumps(value["safe_twin" if twin else "state"]).encode()


def small(**changes: Any) -> bytes:
    """A small valid state, changed."""
    row = {"id": "a", "running": 1, "waiting": 0, "queued_prefill_tokens": 10, "hit_tokens": 16}
    return json.dumps({"request": {"prompt_tokens": 32}, "instances": [row], **changes}).encode()


def test_a_safe_state_exits_with_0_and_an_unsafe_one_with_3(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    for name, twin, code in (("hot_spot", False, 3), ("hot_spot", True, 0), ("zero_collapse", False, 3)):
        path.write_bytes(saved(name, twin))
        done = argprod(str(path))
        assert (done.returncode, done.stderr) == (code, "")
        assert ("not safe" in done.stdout) is (code == 3)


def test_json_of_one_state_is_an_object_and_of_several_a_line_each() -> None:
    code, one = quick("-", "--json", text=saved("hot_spot"))
    found = msgspec.json.decode(one, type=Detection)
    assert (code, found.safe, found.findings[0].kind) == (3, False, Kind.HOT_SPOT)
    assert set(json.loads(one)) == {"safe", "findings", "choice"}
    code, several = quick("-", "--json", text=saved("hot_spot") + b"\n\n" + saved("hot_spot", twin=True))
    lines = [msgspec.json.decode(line, type=Detection) for line in several.splitlines()]
    assert code == 3
    assert [line.safe for line in lines] == [False, True]
    assert lines[0] == found


def test_the_rule_is_the_one_given_else_that_of_the_state_else_the_product() -> None:
    state = json.loads(saved("zero_collapse"))
    code, told = quick("-", text=json.dumps(state).encode())
    assert code == 3
    assert "lmetric_paper: not safe; takes a" in told
    assert quick("-", "--policy", "lmetric", text=json.dumps(state).encode())[1].startswith("lmetric: safe; takes b")
    del state["policy"]
    assert quick("-", text=json.dumps(state).encode())[1].startswith("lmetric: safe")


def test_explain_shows_what_every_rule_would_do_within_80_columns() -> None:
    code, told = quick("-", "--explain", text=saved("hot_spot"))
    assert code == 3
    assert all(len(line) <= 80 for line in told.splitlines())
    words = " ".join(told.split())
    for part in ("Advice:", "Claim: coverage_law", "copies_missing 2", "taken by", "P: P-token"):
        assert part in words
    rows = {line.split()[0]: line.split() for line in told.splitlines() if line.startswith((" a ", " b ", " c "))}
    assert rows["a"][1:] == ["7", "1", "64", "1024", "128", "9", "1152", "marginal_delay", "linear"]
    assert rows["b"][1:] == ["0", "0", "0", "0", "1088", "1", "1088", "lmetric", "join_shortest_queue"]


def test_long_names_and_many_instances_fit_too() -> None:
    rows = [
        {"id": f"[bold]inference-{n:03}.cluster.example", "running": 2**20, "waiting": 3, "hit_tokens": 0,
         "queued_prefill_tokens": 2**31} for n in range(50)
    ]  # fmt: skip
    code, told = quick("-", "--explain", "--policy", "linear", text=small(instances=rows))
    assert code == 3
    assert "saturated" in told
    assert all(len(line) <= 80 for line in told.splitlines())


def test_to_the_rule_random_all_instances_are_alike_so_none_is_its_choice() -> None:
    for text in (small(), saved("hot_spot")):
        code, told = quick("-", "--policy", "random", "--json", text=text)
        assert code == 0
        assert json.loads(told)["choice"] is None
    assert "no choice can be told beforehand" in quick("-", "--policy", "random", text=small())[1]


def test_a_saved_counterexample_is_read_as_its_state() -> None:
    whole = quick(str(SAVED / "zero_collapse.json"), "--json")
    assert whole == quick("-", "--json", text=saved("zero_collapse"))
    assert whole[0] == 3


def test_explain_beside_json_is_an_error() -> None:
    code, message = quick("-", "--json", "--explain", text=small())
    assert code == -1
    assert message.startswith("--explain: expected no --explain beside --json")


def test_a_count_of_one_is_singular() -> None:
    rows = [
        {"id": "a", "running": 1, "waiting": 0, "queued_prefill_tokens": 0, "hit_tokens": 1024},
        {"id": "b", "running": 0, "waiting": 0, "queued_prefill_tokens": 0, "hit_tokens": 0},
    ]
    words = " ".join(quick("-", text=small(request={"prompt_tokens": 1088}, instances=rows))[1].split())
    assert "a with 1 resident is taken" in words


@pytest.mark.parametrize("policy", ["power_of_two", "random", "bailian:alpha=1"])
def test_a_rule_that_draws_has_no_choice_to_tell(policy: str) -> None:
    columns = {"context_tokens": 5}
    row = {"id": "a", "running": 1, "waiting": 0, "queued_prefill_tokens": 10, "hit_tokens": 16, **columns}
    code, told = quick("-", "--explain", "--policy", policy, text=small(instances=[row, {**row, "id": "b"}]))
    assert code in (-1, 0), told
    if code == 0:
        assert "safe" in told


BAD = {
    "not a number": small().replace(b'"running": 1', b'"running": NaN'),
    "negative": small().replace(b'"running": 1', b'"running": -1'),
    "a missing field": small().replace(b'"running": 1, ', b""),
    "no instances": small(instances=[]),
    "a wrong type": small(request=7),
    "a text for a number": small(now_s="0"),
    "a huge integer": small().replace(b'"running": 1', b'"running": 1' + b"0" * 5000),
    "a duplicate id": small(instances=[json.loads(small())["instances"][0]] * 2),
    "a field twice": small().replace(b'"running": 1', b'"running": 1, "running": 2'),
    "deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 10_000,
    "empty": b"",
    "binary": bytes(range(256)),
    "a hit longer than the prompt": small(request={"prompt_tokens": 8}),
    "an unknown policy": small(policy="lmetrik"),
    "an unknown holder": small(traffic=[{"class": "c", "share": 0.5, "holders": ["z"]}]),
    "a bad second line": small() + b"\n" + small(now_s=-1),
}


@pytest.mark.parametrize("name", list(BAD))
def test_bad_input_is_one_clear_line(name: str) -> None:
    code, message = quick("-", text=BAD[name])
    assert code == -1
    assert ": expected " in message
    assert len(message.splitlines()) == 1
    assert len(message) < 400


def test_bad_input_exits_with_2_and_without_a_traceback(tmp_path: Path) -> None:
    for source, text in (("-", BAD["a huge integer"]), (str(tmp_path), b""), (str(tmp_path / "none"), b"")):
        done = argprod(source, text=text)
        assert (done.returncode, done.stdout) == (2, "")
        assert len(done.stderr.strip().splitlines()) == 1
        assert "Traceback" not in done.stderr


def test_a_state_without_what_the_rule_reads_is_bad_input() -> None:
    code, message = quick("-", "--policy", "dynamo", text=small())
    assert code == -1
    assert "active_blocks" in message


def test_the_schemas_are_those_of_the_types() -> None:
    assert {path.name for path in FOLDER.glob("*.json")} == set(schemas())
    for name, schema in schemas().items():
        assert (FOLDER / name).read_text(encoding="utf-8") == as_json(schema), (
            f"python -m argprod.schemas --write ({name})"
        )


@pytest.mark.parametrize("name", list(INSTANCE_DOMAINS))
def test_the_schema_of_a_state_has_the_limits_that_the_reader_has(name: str) -> None:
    limits = schemas()["state.schema.json"]["properties"]["instances"]["items"]["properties"][name]
    row = {"id": "a", "running": 1, "waiting": 0, "queued_prefill_tokens": 10, "hit_tokens": 16}
    low = limits.get("minimum", limits.get("exclusiveMinimum"))
    outside = [low - 1, *([low] if "exclusiveMinimum" in limits else []), limits.get("maximum", 0) + 1]
    for value in outside if "maximum" in limits else outside[:-1]:
        with pytest.raises(BadInput, match=name):
            read_states(small(instances=[{**row, name: value}]))
    if "minimum" in limits:
        assert read_states(small(instances=[{**row, name: low}]))
