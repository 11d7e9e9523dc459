"""A cluster that cannot keep up is called so, with a rate at which it can; one that can keep up is not."""

from __future__ import annotations

import re
import sys

import pytest

from argprod import cli
from argprod.overload import idle_told, overload_told
from replay.experiment import Plan, Run, run_all
from replay.sim.cluster import roofline_cluster
from replay.sources import open_source

RULES = ("lmetric", "join_shortest_queue")


def runs_of(source: str, instances: int = 2) -> list[Run]:
    requests = list(open_source(source)[0])
    return list(run_all(lambda _: requests, Plan(RULES, (0,), roofline_cluster(instances))))


def test_the_rate_that_is_suggested_is_no_overload_and_above_what_was_told() -> None:
    api = "workload:api:requests=600,rate_per_s={}"
    told = overload_told(runs_of(api.format(400)))
    assert told.startswith("overloaded: under every rule half of the requests waited ")
    found = re.search(r"the load is ([\d.]+) times .* --rate-scale ([\d.]+)", told)
    assert found is not None
    assert float(found[1]) > 2
    assert overload_told(runs_of(api.format(400 * float(found[2])))) == ""
    assert overload_told([]) == ""


@pytest.mark.parametrize("source", ["workload:chat:requests=150,rate_per_s=2", "workload:identical_burst:requests=40"])
def test_neither_a_usual_load_nor_a_short_burst_is_called_so(source: str) -> None:
    assert overload_told(runs_of(source, instances=8)) == ""


def test_the_command_says_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["argprod", "replay", "workload:api:requests=600,rate_per_s=4000", "--rate-scale", "0.1", "-p", "lmetric"]
    monkeypatch.setattr(sys, "argv", [*words, "--instances", "2"])
    assert cli.run() == 0
    told = capsys.readouterr().out
    assert told.count("overloaded: ") == 1
    assert re.search(r"try --rate-scale 0\.0\d", told)  # less than was given


def test_where_each_request_is_alone_it_is_said() -> None:
    alone = idle_told(runs_of("workload:api:requests=40,rate_per_s=0.01", instances=3), 3)
    assert alone.startswith("under every rule max/mean load is 3, the number of instances")
    assert idle_told(runs_of("workload:api:requests=100,rate_per_s=20", instances=3), 3) == ""
    assert idle_told(runs_of("workload:api:requests=40,rate_per_s=0.01", instances=1), 1) == ""


def test_a_terminal_colours_nothing_inside_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    source = "workload:chat:requests=20,rate_per_s=2"
    monkeypatch.setattr(sys, "argv", ["argprod", "replay", source, "-p", "lmetric"])
    assert cli.run() == 0
    assert source in capsys.readouterr().out  # as one piece
