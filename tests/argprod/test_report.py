"""Laws of the report: one file without a network, every section filled, a verdict that follows from the numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from argprod.report import ReportInput, report_input, write_report
from argprod.report.latency import latency_figures
from argprod.report.load import BARS_CUT, even_samples, heat_maps, share_bars
from argprod.report.measures import E2E, GOODPUT, TPOT, TTFT, number
from argprod.report.page import render
from argprod.report.tables import repeat_facts
from replay.experiment import Plan, Run, disagreement_of, run_all
from replay.metrics import Summary
from replay.sim.cluster import roofline_cluster
from replay.sources import SourceInfo, open_source
from scheduler.errors import BadInput
from scheduler.policies.catalogue import CATALOGUE
from scheduler.state import Request

SOURCE = "workload:chat:requests=150,rate_per_s=6"
SECTIONS = ("verdict", "metrics", "latency", "trade-off", "load", "shares", "disagreement", "settings")


@cache
def source(seed: int) -> tuple[list[Request], SourceInfo]:
    requests, info = open_source(SOURCE, seed=seed)
    return list(requests), info


@cache
def experiment(policies: tuple[str, ...], seeds: tuple[int, ...] = (0,), instances: int = 3) -> ReportInput:
    plan = Plan(policies, seeds, roofline_cluster(instances), watched=True)
    requests, info = source(0)

    def requests_of(seed: int) -> list[Request]:
        return source(seed)[0]

    runs = list(run_all(requests_of, plan))
    settings = {"argprod": "0.1.0", "cluster": {"instances": instances, "gpu": "H20"}, "mitigation": "none"}
    found = disagreement_of(runs, plan)
    return report_input(
        runs, plan, info, requests, settings, disagreement=found, date="2026-01-31", command="argprod replay <x> & y"
    )


SMALL = ("lmetric", "join_shortest_queue", "bailian:alpha=0.3")


class Tags(HTMLParser):
    """Every tag with its attributes, and the words outside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.ids: set[str] = set()
        self._hidden = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.ids.update(value for name, value in attrs if name == "id" and value)
        self._hidden += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))


def with_summaries(given: ReportInput, **changes: Mapping[str, object]) -> ReportInput:
    """The same experiment with other numbers for some policies."""
    runs = [
        Run(run.policy, msgspec.structs.replace(run.summary, **changes.get(run.policy, {})), run.record)
        for run in given.runs
    ]
    return replace(given, runs=tuple(runs))


def test_the_file_needs_no_network(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(path, experiment(SMALL, (0, 1)))
    page = Tags(path.read_text(encoding="utf-8"))
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "data", "poster", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith("#"), f"<{tag} {name}={value}>"
    assert [tag for tag, _ in page.tags if tag in ("link", "iframe", "img", "object", "embed")] == []
    styles = re.findall(r"<style>(.*?)</style>", path.read_text(encoding="utf-8"), re.DOTALL)
    assert not [style for style in styles if "url(" in style or "@import" in style]


def test_every_section_and_every_policy_is_in_it() -> None:
    page = Tags(render(experiment(SMALL, (0, 1))))
    assert set(SECTIONS) <= page.ids
    for policy in SMALL:
        assert policy in page.text
    for fact in (SOURCE, "2026-01-31", "argprod replay <x> & y", "0.1.0", "H20", "proxy", "simulated"):
        assert fact.lower() in page.text.lower(), fact


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_one_policy_alone_makes_a_report(seeds: tuple[int, ...]) -> None:
    page = Tags(render(experiment(("join_shortest_queue",), seeds)))
    assert "nothing to compare" in page.text


@pytest.mark.slow
def test_all_rules_together_make_a_report_of_moderate_size() -> None:
    given = experiment(tuple(CATALOGUE))
    assert len(render(given).encode()) < 5_000_000
    assert len(share_bars(given)[0]) == len(heat_maps(given)[1]) == len(CATALOGUE)


def test_more_instances_than_rows_are_shown_in_groups() -> None:
    given = experiment(("lmetric",), instances=300)
    _, maps = heat_maps(given)
    assert maps[0].y_range.end <= 128
    assert "group" in maps[0].yaxis.axis_label
    render(given)


def test_the_legend_hides_a_policy_in_every_figure() -> None:
    figures = latency_figures(experiment(SMALL, (0, 1)))
    items = figures["legend"].legend[0].items
    assert [item.label.value for item in items] == list(SMALL)
    for item in items:
        assert len(item.renderers) == 2 + 3 + 2  # two samples, three distributions, two trade-offs


def test_a_distribution_rises_from_none_to_all() -> None:
    given = experiment(SMALL, (0, 1))
    data = latency_figures(given)["cdf_ttft"].renderers[0].data_source.data
    assert (data["x"][1:] >= data["x"][:-1]).all()
    assert (data["y"][0], data["y"][-1]) == (0, 1)
    assert len(data["x"]) <= 405


def test_load_between_samples_is_the_earlier_one() -> None:
    record = experiment(SMALL, (0, 1)).runs[0].record
    load, first_s, last_s = even_samples(record)
    assert load[:, 0].tolist() == record.load[0]
    assert load[:, -1].tolist() == record.load[-1]
    assert first_s < last_s


def spread(summary: Summary, mean: float) -> object:
    return msgspec.structs.replace(summary.ttft_s, mean=mean)


def test_both_axes_of_a_trade_off_are_of_one_kind_and_say_so() -> None:
    given = experiment(SMALL)
    one = given.summaries_of("lmetric")[0]
    for mean, name in ((one.ttft_s.mean or 0.0, "linear"), (1000.0, "log")):
        made = latency_figures(with_summaries(given, lmetric={"ttft_s": spread(one, mean)}))["trade_mean"]
        assert [type(scale).__name__.removesuffix("Scale").lower() for scale in (made.x_scale, made.y_scale)] == [
            name
        ] * 2
        assert ["logarithmic" in axis.axis_label for axis in made.axis] == [name == "log"] * 2


def test_the_page_says_that_bars_are_cut_only_if_they_are() -> None:
    given = experiment(("lmetric",))
    for counts, cut in (([50, 50, 50], False), ([150, 0, 0], True)):
        changed = with_summaries(given, lmetric={"instance_requests": counts})
        figures, told = share_bars(changed)
        assert told == cut
        assert (figures[0].y_range.end == pytest.approx(BARS_CUT * 100 / 3)) == cut
        assert ("times the even share" in Tags(render(changed)).text) == cut


def test_settings_show_what_was_resolved() -> None:
    settings = {
        "cluster": {"model": "Qwen2-7B", "tensor_parallel": None, "speeds": None, "context_limit": None},
        "source": {"closed_loop": None},
        "until_s": None,
    }
    facts = repeat_facts(replace(experiment(SMALL), settings=settings))
    assert facts["cluster"] == {"model": "Qwen2-7B", "tensor_parallel": 1, "speeds": "1 (all instances alike)"}
    assert facts["source"]["closed_loop"] is False
    assert "until_s" not in facts
    assert facts["objective"]["tpot_s"] == 0.05


def test_a_run_in_which_nothing_finished_makes_a_report() -> None:
    plan = Plan(("lmetric", "random"), (0,), roofline_cluster(2, kv_tokens=64))
    requests, info = source(0)
    runs = list(run_all(lambda _: requests, plan))
    assert all(run.summary.finished == 0 for run in runs)
    text = Tags(render(report_input(runs, plan, info, requests, {}))).text
    assert "Not measured: it is told only of runs in which the rule alone decided." in text


def test_a_path_that_cannot_be_written_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--report"):
        write_report(tmp_path / "no" / "where.html", experiment(SMALL))


def test_numbers_keep_three_digits() -> None:
    values = (0, 0.00012, 0.1234, 1.0, 99.9, 1234.5, -3.14159, None)
    assert [number(x) for x in values] == ["0", "1.20e-04", "0.123", "1.00", "99.9", "1,234", "-3.14", "–"]
    assert {measure.unit for measure in (TTFT[0], TPOT[0], E2E[0], GOODPUT)} == {"ms", "s", "%"}


def test_the_title_has_neither_parameters_nor_folders() -> None:
    given = experiment(SMALL)
    assert "<title>argprod: workload:chat</title>" in render(given)
    traced = replace(given, source=replace(given.source, kind="trace", name="/data/traces/toolagent.jsonl"))
    assert "<title>argprod: toolagent.jsonl</title>" in render(traced)
