"""The evaluation: rows are kept and never computed twice, comparisons are fair and say how sure they are."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from benchmarks.evaluation import questions, scene, standing, tables, tuning
from benchmarks.evaluation.comparing import MATERIAL, METRICS, compared, values_of
from benchmarks.evaluation.rows import Case, Rows, run_case, with_ties
from benchmarks.evaluation.words import counted
from replay.sweep_axes import axes_of
from scheduler.policies.catalogue import CATALOGUE, policy

SMALL = {"workload": "workload:api:requests=60,rate_per_s=20", "rate": 0.0, "requests": 60, "instances": 3}
POSITIVE = st.floats(0.01, 100, allow_nan=False)


def small(rule: str, seed: int = 0, **more: object) -> Case:
    return Case(policy=rule, seed=seed, **(SMALL | more))  # type: ignore[arg-type]


def test_a_run_is_the_same_twice_and_is_kept(tmp_path: Path) -> None:
    cases = [small("lmetric"), small("random", 1), small("lmetric", mitigation="auto")]
    rows = Rows(tmp_path / "rows.jsonl.gz")
    rows.fill(cases, jobs=1)
    assert rows.get(cases) == [run_case(case) for case in cases]
    again = Rows(tmp_path / "rows.jsonl.gz")  # from the file that grows
    assert again.get(cases) == rows.get(cases)
    told: list[int] = []
    again.fill(cases, jobs=1, progress=lambda done, total: told.append(done))
    assert told == []
    again.pack(cases[:2])
    packed = Rows(tmp_path / "rows.jsonl.gz")
    assert packed.get(cases[:2]) == rows.get(cases[:2])
    with pytest.raises(LookupError, match="1 runs are not there"):
        packed.get(cases)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl.gz"]


def test_a_line_that_was_cut_short_is_run_again(tmp_path: Path) -> None:
    rows = Rows(tmp_path / "rows.jsonl.gz")
    rows.fill([small("lmetric"), small("random")], jobs=1)
    whole = rows.growing.read_bytes()
    rows.growing.write_bytes(whole[:-20])
    assert len(Rows(tmp_path / "rows.jsonl.gz")) == 1


def test_a_row_has_what_the_summary_has() -> None:
    row = run_case(small("lmetric"))
    assert (row.finished, row.lost) == (60, 0)
    assert all(values_of([row], metric)[0] >= 0 for metric in METRICS.values())
    assert row.mitigated == 0
    assert run_case(small("lmetric", mitigation="auto")).finished == 60
    assert run_case(small("lmetric", routers=2, sync_s=0.5, level="events", delay_s=0.1)).finished == 60


@given(st.lists(st.tuples(POSITIVE, POSITIVE), min_size=5, max_size=10))
@settings(max_examples=30)
def test_who_is_compared_with_whom_only_turns_the_verdict(pairs: list[tuple[float, float]]) -> None:
    ours, theirs = zip(*pairs, strict=True)
    one, other = compared(ours, theirs), compared(theirs, ours)
    assert one.ratio == pytest.approx(1 / other.ratio)
    turned = {"win": "loss", "loss": "win", "tie": "tie"}
    inside = [end for end in (one.low, one.high, other.low, other.high) if end is not None]
    if all(abs(math.log(end)) > 0.02 for end in inside):  # a bootstrap is no exact interval
        assert other.verdict == turned[one.verdict]
    assert compared(ours, theirs, more=True).verdict == turned[one.verdict]
    if one.low is not None and one.high is not None:
        assert one.low <= one.high


@given(st.lists(POSITIVE, min_size=5, max_size=8), st.floats(0.5, 2))
@settings(max_examples=20)
def test_a_constant_ratio_is_told_exactly(theirs: list[float], factor: float) -> None:
    found = compared([factor * value for value in theirs], theirs)
    assert found.ratio == pytest.approx(factor)
    assert (found.verdict == "tie") is (abs(factor - 1) < MATERIAL)


def test_few_seeds_have_no_interval() -> None:
    found = compared([1.0, 2.0], [2.0, 4.0])
    assert found.low is None
    assert found.verdict == "tie"


@given(st.lists(st.floats(-1, 1), min_size=5, max_size=10).filter(lambda logs: max(logs) - min(logs) > 0.01))
@settings(max_examples=30)
def test_who_wins_is_told_apart_by_a_t_test_too(logs: list[float]) -> None:
    found = compared([math.exp(log) for log in logs], [1.0] * len(logs))
    if stats.ttest_1samp(logs, 0.0).pvalue > 0.051:
        assert found.verdict == "tie"
    elif found.low is not None and found.high is not None and not found.low <= 1 <= found.high:
        assert (found.verdict == "tie") is (abs(found.ratio - 1) < MATERIAL) or abs(
            abs(found.ratio - 1) - MATERIAL
        ) < 1e-9


def test_five_values_make_too_short_a_bootstrap_and_a_t_test_keeps_its_level() -> None:
    rng = np.random.default_rng(5)
    draws = rng.normal(size=(400, 5))
    found = [compared(np.exp(draw).tolist(), [1.0] * 5) for draw in draws]
    left_out = sum(not one.low <= 1 <= one.high for one in found if one.low is not None and one.high is not None)
    told = sum(one.verdict != "tie" for one in found)
    assert left_out > 0.1 * len(draws) > 0.08 * len(draws) > told


def test_ties_are_random_where_they_can_be_chosen() -> None:
    for name in CATALOGUE:
        ties = {knob.name for knob in policy(name).rule.all_knobs()} & {"ties"}
        assert ("ties=random" in with_ties(name)) is bool(ties)
        policy(with_ties(name))


def test_questions_share_runs_and_ask_what_can_be_run() -> None:
    for name in ("headline", "weights", "thresholds", "cost_models", "indicators", "hot_spots", "partial_state"):
        cases = list(questions.QUESTIONS[name]())
        assert len(cases) == len(set(cases)), name
        for text in {case.policy for case in cases}:
            policy(with_ties(text))
    headline = set(questions.QUESTIONS["headline"]())
    assert headline & set(questions.QUESTIONS["indicators"]())


def test_rules_are_tuned_on_draws_that_no_test_uses() -> None:
    assert not set(scene.TUNING_SEEDS) & {*scene.SEEDS, *scene.MORE_SEEDS}
    one, other = (
        {request.block_keys[:1] for request in scene.requests_of("api", 20.0, 200, seed)} for seed in (0, 100)
    )
    assert one != other


def test_on_the_trace_tuning_sees_half_of_four_test_windows_and_the_docstring_says_so() -> None:
    half = scene.WINDOW_S / 2
    tests = [scene.window_start_s(seed) for seed in scene.SEEDS]
    seen = [abs(scene.window_start_s(seed) - start) == half for start in tests for seed in scene.TUNING_SEEDS]
    assert [any(seen[2 * place : 2 * place + 2]) for place in range(5)] == [True, True, True, True, False]
    assert "has seen half of these" in str(scene.__doc__)


def test_a_cell_is_tuned_and_its_default_is_never_better() -> None:
    cell = tuning.tuned_cell("api", "half", "load_aware")
    assert cell == tuning.read_tuned()[tuning.key_of("api", "half", "load_aware")]
    assert cell["default"] in cell["points"]
    default, best = (
        math.prod(cell["points"][name][metric] for metric in ("ttft_mean", "tpot_mean"))
        for name in (cell["default"], cell["best"][tuning.OBJECTIVE])
    )
    assert best <= default
    assert set(cell["open_ends"]) <= set(axes_of("load_aware"))
    assert policy(with_ties(cell["best"][tuning.OBJECTIVE])).rule.name == "load_aware"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("load", "rule"), [("half", "dynamo_two_tier"), ("half", "sglang_cache_aware"), ("near", "preble")]
)
def test_cells_that_went_past_a_sweep_are_the_committed_ones_when_tuned_from_nothing(load: str, rule: str) -> None:
    kept = tuning.read_tuned()[tuning.key_of("api", load, rule)]
    assert standing.went_past(rule, kept)
    assert tuning.tuned_cell("api", load, rule) == kept


def test_how_far_sweeps_went_is_counted_from_the_points() -> None:
    assert not standing.went_past("load_aware", {"points": {"load_aware:beta=0.1": {}, "load_aware:beta=4": {}}})
    assert standing.went_past("load_aware", {"points": {"load_aware:beta=0.1": {}, "load_aware:beta=8": {}}})
    cells = tuning.read_tuned_once()
    past = [key for key, cell in cells.items() if standing.went_past(key.split()[-1], cell)]
    assert f"In {len(past)} of {len(cells)} " in standing.past_ends()


def test_sweeps_that_did_not_go_as_far_past_their_ends_are_tuned_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tuning.best_of("chat", "half", "linear")
    monkeypatch.setattr(tuning, "BEYOND_MAX", 5)
    with pytest.raises(LookupError, match="run make evaluation"):
        tuning.best_of("chat", "half", "linear")


def test_few_best_settings_lie_at_an_open_end() -> None:
    ends = [name for cell in tuning.read_tuned_once().values() for name in cell["open_ends"]]
    assert len(ends) < 0.02 * len(tuning.read_tuned_once())
    told = [row.split("|") for row in standing.edges().splitlines()[2:]]
    assert sum(int(row[4]) for row in told) == len(ends)


def test_tables_are_computed_from_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = "linear:weight=0.5"
    kept = Rows(tmp_path / "rows.jsonl.gz")
    provenance = '{"date": "2026-01-02", "command": "make evaluation", "rows": 7}'
    (tmp_path / "provenance.json").write_text(provenance)
    settings_of = {"lmetric": {"default": "lmetric"}, "linear": {"default": "linear", "tuned": line}}
    for module, name, value in (
        (tables, "rows", lambda: kept), (tables, "REQUESTS", 60), (tables, "WORKLOADS", ("api",)),
        (tables, "LOADS", {"half": 0.5}), (tables, "FOLDER", tmp_path), (tables, "rate_of", lambda *_: 20.0),
        (tables, "best_of", lambda *_: line), (standing, "rivals", lambda: ("lmetric", "linear")),
        (standing, "settings", lambda *cell: settings_of[cell[2]]),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)
    with pytest.raises(LookupError, match="run make evaluation"):
        tables.verdict()
    policies = {"lmetric", line, "linear", "marginal_delay", "marginal_delay_offset"}
    cases = [Case("api", 20.0, seed, policy, 60) for policy in policies for seed in range(10)]
    kept.fill([*cases, *(Case("api", 20.0, seed, "lmetric", 60, mitigation="auto") for seed in range(10))], jobs=2)
    ours, theirs = (tables.of("api", "half", policy, range(10)) for policy in ("lmetric", line))
    told = tables.verdict()
    assert f"| API calls | half | {tables.change(tables.against(ours, theirs, 'ttft_mean'))} |" in told
    assert told.endswith("*Simulated; 2026-01-02: `make evaluation` (7 runs).*")
    lost = sum(
        tables.against(ours, theirs, name).verdict == "loss"
        for name in ("ttft_mean", "ttft_p99", "tpot_mean", "tpot_p99")
    )
    assert tables.remedies().count("| API calls |") == lost == len(list(tables.losses()))
    own = counted(tables.against_line_everywhere("lmetric"))
    assert f"| `lmetric` | the metric | {own[0]} | {own[1]} | {own[2]} |" in tables.remedies_everywhere()
    everyone = standing.everyone("api", "half").splitlines()
    assert len(everyone) == 2 + 3
    assert sum("**`lmetric`** | default" in row for row in everyone) == 1
    assert sum("`linear` | tuned: weight=0.5" in row for row in everyone) == 1


def test_changes_are_written_with_sign_interval_and_verdict() -> None:
    assert tables.change(compared([2.0] * 5, [4.0] * 5)) == "**-50%** [-50, -50]"
    assert tables.change(compared([4.0] * 5, [2.0] * 5)) == "*+100%* [+100, +100]"
    assert tables.change(compared([1.0, 1.0], [1.0, 1.0])) == "+0%"
