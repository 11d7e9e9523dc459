"""The engines and their parameters are told from what the engines read, so that the list cannot age."""

from __future__ import annotations

import json
import sys

import pytest

from argprod import cli
from argprod.engines_command import SUMMARIES
from replay.engines.catalogue import OPTIONS, PROCESSES, parameters_of, read_engine
from scheduler.errors import BadInput


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["argprod", *words])
    code = cli.run()
    return code, *capsys.readouterr()


def test_every_parameter_has_a_meaning_and_its_default_is_read_back() -> None:
    assert set(SUMMARIES) == set(OPTIONS)
    for name in OPTIONS:
        for param, default, meaning in parameters_of(name):
            assert meaning, param
            assert not meaning.endswith(".")
            if default not in (None, ""):
                read = read_engine(f"{name}:{param}={default}")
                assert (read.processes if param == PROCESSES else getattr(read.options, param)) == default


def test_the_list_has_them_all(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, told, _ = said(monkeypatch, capsys, "engines")
    assert code == 0
    for name in OPTIONS:
        for param, _, _ in parameters_of(name):
            assert f"  {param} = " in told
    code, told, _ = said(monkeypatch, capsys, "engines", "http", "--json")
    [facts] = json.loads(told)
    assert [param["name"] for param in facts["params"]] == [param for param, _, _ in parameters_of("http")]


def test_names_that_are_few_are_listed_and_many_by_a_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BadInput, match=r"one of batch_tokens, .*, vocabulary, got 'layer' \(nearest: layers\)"):
        read_engine("torch:layer=2")
    code, _, fault = said(monkeypatch, capsys, "replay", "workload:chat:requests=5", "-p", "lmetrik")
    assert code == 2
    assert "all of them: argprod policies)" in fault
    code, _, fault = said(monkeypatch, capsys, "engines", "vllm")
    assert (code, fault) == (2, "argprod: engine: expected one of http, torch, got 'vllm'\n")
