"""Engines on PyTorch share the cores, and what they lack is bad input, told before anything is announced."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argprod import cli
from replay.engines import torch_here
from replay.engines.catalogue import engines_of, read_engine
from replay.engines.process import ProcessEngine
from scheduler.errors import BadInput


@given(instances=st.integers(1, 64), cores=st.integers(1, 512))
def test_all_engines_together_leave_a_core_to_the_client_where_there_are_enough(instances: int, cores: int) -> None:
    threads = torch_here.threads_of_each(instances, cores, {})
    assert threads >= 1
    assert threads == 1 or threads * instances <= cores - 1
    assert (threads + 1) * instances > cores - 1  # not fewer than there could be


@pytest.mark.parametrize(
    ("said", "threads"), [("3", 3), ("3,1", 3), (" 2 ", 2), ("0", 7), ("", 7), ("many", 7), ("-1", 7)]
)
def test_what_the_environment_says_stands(said: str, threads: int) -> None:
    assert torch_here.threads_of_each(2, 16, {"OMP_NUM_THREADS": said}) == threads


def test_each_engine_is_told_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("replay.engines.catalogue.cores", lambda: 13)
    monkeypatch.setattr("replay.engines.catalogue.check_libraries", lambda: None)
    choice = read_engine("torch:processes=yes")
    assert choice.settled(4).options.threads == 3
    assert choice.settled(4).settings()["threads"] == 3
    for engine in engines_of(choice, 4):
        assert isinstance(engine, ProcessEngine)
        assert engine._factory.args[1].threads == 3  # type: ignore[attr-defined]
    assert read_engine("torch:threads=5").settled(4).options.threads == 5
    assert read_engine("http").settled(4) == read_engine("http")


@pytest.mark.parametrize("threads", [0, -1, "all"])
def test_threads_that_cannot_be_are_refused(threads: object) -> None:
    with pytest.raises(BadInput, match="threads"):
        read_engine(f"torch:threads={threads}")


@pytest.mark.parametrize("command", [["replay", "workload:chat:requests=5"], ["calibrate", "--out", "{out}"]])
@pytest.mark.parametrize("engine", ["torch", "torch:processes=yes"])
def test_where_the_libraries_are_missing_one_line_names_the_remedy(
    command: list[str],
    engine: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else found(name, *rest)
    )
    words = [word.format(out=tmp_path / "c.json") for word in command]
    monkeypatch.setattr(sys, "argv", ["argprod", *words, "--engine", engine])
    assert cli.run() == 2
    told = capsys.readouterr()
    assert told.err.count("\n") == 1
    assert "make .venv-engines/.ready, then .venv-engines/bin/argprod" in told.err
    assert told.out == ""


@pytest.mark.parametrize("command", [["replay", "workload:chat:requests=5"], ["calibrate", "--out", "{out}"]])
@pytest.mark.parametrize("engine", ["torch:device=cuda", "torch:device=cuda,processes=yes"])
def test_a_gpu_that_is_not_there_is_bad_input(
    command: list[str],
    engine: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    torch = types.ModuleType("torch")
    torch.cuda = types.SimpleNamespace(is_available=lambda: False)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(torch_here, "check_libraries", lambda: None)
    for place in ("replay.engines.catalogue", "argprod.calibrate_command"):
        monkeypatch.setattr(f"{place}.check_libraries", lambda: None)
    words = [word.format(out=tmp_path / "c.json") for word in command]
    monkeypatch.setattr(sys, "argv", ["argprod", *words, "--engine", engine])
    assert cli.run() == 2
    told = capsys.readouterr()
    assert told.err == "argprod: engine torch: device: expected cpu: PyTorch sees no GPU in this machine, got 'cuda'\n"
    assert told.out == ""
