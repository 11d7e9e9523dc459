"""The tune command: what it prints and writes, and that mistakes are told in one line before any run."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from argprod.app import app as whole
from argprod.tables import number
from argprod.tune_command import best_table, curve_table, read_knobs, tune_command
from replay.experiment import Plan
from replay.sim.cluster import roofline_cluster
from replay.sources import open_source
from replay.tune import tune, untuned
from replay.tune_search import Point
from scheduler.errors import BadInput
from scheduler.state import Request

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(tune_command)
SMALL = ["workload:chat:requests=80,rate_per_s=2", "--instances", "3"]


def run(*words: str) -> tuple[str, BaseException | None]:
    answer = CliRunner().invoke(app, [*SMALL, *words])
    return answer.output, answer.exception


def shown(table: object) -> str:
    text = io.StringIO()
    Console(width=80, file=text).print(table)
    return text.getvalue()


def test_it_shows_curve_best_default_and_regret() -> None:
    said, fault = run("--policy", "load_aware", "--policy", "vllm_v1", "--knob", "ties")
    assert fault is None, said
    for word in ("TTFT mean [s]", "best", "default", "regret", "simulated", "at their best", "in-sample"):
        assert word in said, word


def test_the_product_stands_beside_the_tuned_rules_as_it_is(tmp_path: Path) -> None:
    said, fault = run("-p", "load_aware", "--seeds", "2")
    assert fault is None, said
    [row] = [line.split() for line in said.splitlines() if line.split()[:1] == ["lmetric"]]
    path = tmp_path / "replayed.json"
    answer = CliRunner().invoke(whole, ["replay", *SMALL, "-p", "lmetric", "--seeds", "2", "--json", str(path)])
    assert answer.exit_code == 0, answer.output
    replayed = [each["ttft_s"]["mean"] for each in json.loads(path.read_text())["policies"]]
    mean = number(sum(replayed) / 2)
    assert row == ["lmetric", mean, mean, "-"]


@pytest.mark.parametrize(
    ("knob", "open_end"), [("beta=0.5,1", True), ("beta=1,0.5", True), ("beta=1,2", False), ("beta=1", False)]
)
def test_a_best_value_at_an_end_is_said_with_advice(knob: str, open_end: bool, tmp_path: Path) -> None:
    path = tmp_path / "tuned.json"
    said, fault = run("-p", "load_aware", "-k", knob, "--objective", "tpot_mean", "--json", str(path))
    assert fault is None, said
    assert ("more may be better: -p load_aware --knob beta=" in said) == open_end
    assert json.loads(path.read_text())["tuned"][0]["open_ends"] == ["beta"] * open_end


def test_the_advice_keeps_the_other_knobs() -> None:
    said, fault = run("-p", "linear", "-k", "weight=0.5,0.9", "-k", "form", "--objective", "tpot_mean")
    assert fault is None, said
    told = re.search(r"^weight: .* more may be better: -p (linear\S*) --knob weight=", said, flags=re.MULTILINE)
    best = re.search(r"^best: (\S+)", said, flags=re.MULTILINE)
    assert told is not None
    assert best is not None
    assert ("form=p_token" in best[1]) == ("form=p_token" in told[1])
    assert "weight" not in told[1]


def test_a_product_without_the_objective_comes_last_and_a_tuned_one_stands_once() -> None:
    requests: list[Request] = list(open_source(SMALL[0])[0])
    plan = Plan((), (0,), roofline_cluster(3))
    result = tune("load_aware", lambda _: requests, plan, values={"beta": (1, 2)})
    rows = shown(best_table([result], Point("lmetric", {}, None, ()))).splitlines()
    assert [row.split()[0] for row in rows if row.split()[:1] in (["lmetric"], ["load_aware"])] == [
        "load_aware",
        "lmetric",
    ]
    own = tune("lmetric", lambda _: requests, plan, knobs=["ties"])
    assert shown(best_table([own], own.default)).count("lmetric") == 1


def test_the_json_holds_every_point(tmp_path: Path) -> None:
    path = tmp_path / "tuned.json"
    said, fault = run("-p", "vllm_v1", "--objective", "goodput", "--seeds", "2", "--json", str(path))
    assert fault is None, said
    written = json.loads(path.read_text())
    (tuned,) = written["tuned"]
    assert tuned["more_is_better"]
    assert [len(point["summaries"]) for point in tuned["points"]] == [2] * 5
    assert tuned["best"]["objective"] == max(point["objective"] for point in tuned["points"])
    assert tuned["default"]["policy"] == "vllm_v1"
    assert [point["values"]["waiting_weight"] for point in tuned["curves"]["waiting_weight"]] == [1, 2, 4, 8, 16]


def test_json_on_standard_output_is_json_alone() -> None:
    answer = CliRunner().invoke(app, [*SMALL, "-p", "load_aware", "-k", "beta=1,2", "--json", "-"])
    assert [len(each["points"]) for each in json.loads(answer.stdout)["tuned"]] == [2]


def test_knobs_are_read_with_and_without_values() -> None:
    assert read_knobs(["a", "b=1,none"]) == (["a", "b"], {"b": ["1", "none"]})
    for text in ("=1", "a=", "a=1,,2"):
        with pytest.raises(BadInput, match="--knob"):
            read_knobs([text])
    with pytest.raises(BadInput, match="once"):
        read_knobs(["a", "a=1"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-p", "load_aware", "-p", "lmetric"], "a rule with knobs to sweep"),
        (["-p", "load_aware", "-k", "bta"], "nearest: beta"),
        (["-p", "load_aware", "-k", "beta=nan"], "load_aware:beta"),
        (["-p", "load_aware", "--objective", "speed"], "objective"),
        (["-p", "load_aware", "--instances", "0"], "instances"),
        (["-p", "load_aware", "--json", "/no/where/x.json"], "output"),
    ],
)
def test_mistakes_are_named(words: list[str], said: str) -> None:
    output, fault = run(*words)
    assert isinstance(fault, BadInput)
    assert said in str(fault)
    assert output == ""


def test_tables_fit_eighty_columns_and_cut_no_name() -> None:
    requests: list[Request] = list(open_source(SMALL[0])[0])
    plan = Plan((), (0,), roofline_cluster(3))
    found = [tune(rule, lambda _: requests, plan) for rule in ("dynamo", "vllm_v1", "mooncake_min_ttft")]
    for result in found:
        text = shown(curve_table(result))
        assert max(map(len, text.splitlines())) <= 80
        assert "…" not in text
        for name, curve in result.curves.items():
            assert name in text
            assert len(curve) > 1
    product = untuned("lmetric", lambda _: requests, plan, objective="ttft_mean")
    assert all(len(line) <= 80 for line in shown(best_table(found, product)).splitlines())
