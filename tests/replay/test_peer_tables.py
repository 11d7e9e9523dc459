"""Tables of speed beside peers: what they show is what was measured, losses too, and both sides got the same."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import index_workload, peer_tables, simulator_vidur, tables
from benchmarks.index_peer import beside
from benchmarks.measure import RESULTS
from benchmarks.turn_dynamo_index import encoded
from benchmarks.turn_index import Event
from scheduler.cost import StepTime
from scheduler.prefix_index import PrefixIndex
from tests.book.pages import DOCS, blocks, toc_files

POSITIVE = st.floats(1e-3, 1e5, allow_nan=False)
KEYS = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=40, unique=True)
TABLES = ("vidur", "vidur_latencies", "dynamo", "decision", "index", "index_within")


def committed(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def shown_ratios(table: str) -> list[float]:
    """The medians in the last column of a table."""
    cells = re.findall(r"\| \**([\d.,]+)\** \([\d.,]+ to [\d.,]+\) \|$", table, flags=re.MULTILINE)
    return [float(cell.replace(",", "")) for cell in cells]


def assert_shown(table: str, ratios: list[dict[str, float]]) -> None:
    shown = shown_ratios(table)
    assert len(shown) == len(ratios)
    assert shown == pytest.approx([ratio["median"] for ratio in ratios], rel=0.006)


def test_every_ratio_of_the_simulator_is_shown() -> None:
    found = committed("simulator")
    scenes = committed("simulator_vidur")["scenes"].values()
    names = ("ratio_replay", "ratio_whole", "ratio_step_by_step")
    assert_shown(peer_tables.vidur(), [scene[name] for scene in scenes for name in names])
    assert_shown(peer_tables.dynamo(), [found["ratio_replay"], found["ratio_whole"]])


def test_every_ratio_of_a_decision_is_shown() -> None:
    assert_shown(peer_tables.decision(), list(committed("decision")["ratios"].values()))


def test_every_ratio_of_the_index_is_shown() -> None:
    ratios = []
    for found in committed("index_peer")["instances"].values():
        ratios += [row["ratio"] for row in found["add_us_per_block"].values()]
        ratios += [found["lookup_us"][case]["ratio"] for case in peer_tables.LOOKUPS]
    assert_shown(peer_tables.index(), ratios)


def test_ratios_agree_with_the_times_they_are_made_of() -> None:
    for found in committed("index_peer")["instances"].values():
        for row in (*found["add_us_per_block"].values(), *found["lookup_us"].values()):
            least, greatest = (row["theirs"][a] / row["ours"][b] for a, b in (("min", "max"), ("max", "min")))
            assert least * (1 - 1e-9) <= row["ratio"]["median"] <= greatest * (1 + 1e-9)
    for scene in committed("simulator_vidur")["scenes"].values():
        speed, ratio = scene["requests_per_s"], scene["ratio_replay"]["median"]
        ours, theirs = speed["argprod, replay"], speed["vidur, replay"]
        assert ours["min"] / theirs["max"] * (1 - 1e-9) <= ratio <= ours["max"] / theirs["min"] * (1 + 1e-9)


@given(st.lists(st.tuples(POSITIVE, POSITIVE), min_size=1, max_size=6))
def test_a_win_and_a_loss_hold_in_every_round(rounds: list[tuple[float, float]]) -> None:
    ours, theirs = map(list, zip(*rounds, strict=True))
    row = peer_tables.Compared("", "", "", beside(ours, theirs)["ratio"])
    assert row.won is all(other / own > 1 for own, other in rounds)
    assert row.lost is all(other / own < 1 for own, other in rounds)
    told = peer_tables.times(row)
    assert told.startswith("**") is row.won
    assert (told.startswith("*") and not told.startswith("**")) is row.lost


@given(POSITIVE)
def test_numbers_keep_three_digits(value: float) -> None:
    assert float(peer_tables.number(value).replace(",", "")) == pytest.approx(value, rel=0.005)


def test_the_answer_counts_every_row_and_names_every_loss() -> None:
    rows, told = peer_tables.everything(), peer_tables.answer()
    assert f"in every round of {sum(row.won for row in rows)} of {len(rows)} comparisons" in told
    assert [row.what for row in rows if not row.won and row.what not in told] == []
    assert len({row.what for row in rows}) == len(rows)


def test_the_answer_says_so_where_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    win = peer_tables.Compared("replay", "", "", {"median": 2.0, "min": 1.5, "max": 3.0})
    level = peer_tables.Compared("look up", "", "", {"median": 1.0, "min": 0.9, "max": 1.1})
    monkeypatch.setattr(peer_tables, "everything", lambda: [win])
    assert peer_tables.answer().endswith("1 of 1 comparisons, by 2 to 2 times. The peer was quicker in none.")
    monkeypatch.setattr(peer_tables, "everything", lambda: [win, level])
    assert peer_tables.answer().endswith("The peer was quicker in none. Now the one, now the other: look up.")


@pytest.mark.parametrize("name", [*TABLES, "answer"])
def test_what_was_not_measured_is_said_with_the_command(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    with pytest.raises(LookupError, match="is not there: run make bench BENCH_ARGS="):
        getattr(peer_tables, name)()


def test_a_missing_peer_leaves_the_other_tables_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "simulator.json").write_text(json.dumps(committed("simulator")))
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    assert peer_tables.dynamo()
    with pytest.raises(LookupError, match=r"simulator_vidur\.json.*BENCH_ARGS=simulator_vidur$"):
        peer_tables.vidur()


def test_the_page_shows_every_table() -> None:
    assert "book/peers.md" in toc_files()
    shown = {block.argument for block in blocks("book/peers.md") if block.kind == "{generated}"}
    assert shown == {f"benchmarks.peer_tables:{name}" for name in (*TABLES, "answer")}


def test_what_the_page_says_in_words_is_so() -> None:
    page = (DOCS / "book/peers.md").read_text(encoding="utf-8")
    assert "nearly all of its time even where nobody holds anything" in page
    assert "agree where both can express the same" in page
    for found in committed("index_peer")["instances"].values():
        times = {case: row["theirs"]["median"] for case, row in found["lookup_us"].items()}
        assert all(times["miss"] > 0.5 * times[case] for case in peer_tables.LOOKUPS)
    for scene in committed("simulator_vidur")["scenes"].values():
        assert all(row["ratio"] == pytest.approx(1, rel=1e-9) for row in scene["latency"].values())


@given(KEYS, st.none() | st.integers(0, 2**64 - 1))
def test_both_indices_are_told_the_same(keys: list[int], after: int | None) -> None:
    stored = msgspec.json.decode(encoded(keys, after), type=Event).data.stored
    assert [block.block_hash for block in stored.blocks] == keys
    assert stored.parent_hash == after


def test_the_size_of_events_does_not_change_what_is_indexed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_workload, "INDEXED", 3 * index_workload.CHAIN)
    found = []
    for size in index_workload.EVENT_SIZES:
        index = PrefixIndex(3)
        for instance, keys, after in index_workload.events(3, size):
            index.add(instance, keys, after)
        found.append(index.save())
    assert found[0] == found[1]


def test_both_simulators_are_given_the_same_requests(tmp_path: Path) -> None:
    requests = simulator_vidur.open_loop("workload:chat:requests=50,rate_per_s=2,block_tokens=16")
    assert all(request.block_keys == () and request.after is None for request in requests)
    simulator_vidur.write_csv(requests, tmp_path / "trace.csv")
    with (tmp_path / "trace.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    told = [(float(row["Time"]), int(row["PromptTokenCount"]), int(row["CompletionTokenCount"])) for row in rows]
    assert told == [(request.arrival_s, request.prompt_tokens, request.output_tokens) for request in requests]
    scene = simulator_vidur.scene_of(4)
    assert StepTime(**scene["step_time"]).step_s(batch=1) > 0
    assert {row["Date"] for row in rows} == {scene["date"]}
