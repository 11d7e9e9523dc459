"""Plans of live runs: orders in which drift favours nobody, and what is done is not done again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.engines.protocol import Engine
from replay.engines.simulated import SimulatedEngine
from replay.engines.virtual_time import run_virtually
from replay.live_plan import LivePlan, path_of, run_plan
from replay.run_log import Log
from scheduler import BadInput, Router
from scheduler.errors import BadTrace, EngineFailure
from tests.replay.test_run import BLOCK, Fake, cluster, request

POLICIES = ("lmetric", "join_shortest_queue", "round_robin")
REQUESTS = [request(number, 0.3 * number, tuple(range(number % 3, number % 3 + 8))) for number in range(12)]


@given(st.integers(1, 3), st.integers(1, 4))
def test_each_rule_is_at_each_place_as_often(count: int, rounds: int) -> None:
    order = list(LivePlan(POLICIES[:count], repeats=count * rounds).order())
    places = Counter((policy, index % count) for index, (_, policy) in enumerate(order))
    assert set(places.values()) == {rounds}
    assert len(set(order)) == len(order) == count * count * rounds


def done(
    plan: LivePlan, folder: Path, engines: list[Any] | None = None
) -> tuple[list[Log], list[tuple[int, str, int]]]:
    """The logs, and which requests ended while they were made."""
    shape = cluster(2)
    if engines is None:
        engines = [SimulatedEngine(str(place), spec) for place, spec in enumerate(shape.specs(BLOCK))]
    ended: list[tuple[int, str, int]] = []

    def router_of(policy: str, seed: int) -> Router:
        return Router([engine.name for engine in engines], policy, seed=seed)

    made = run_plan(
        plan, engines, REQUESTS, router_of, folder, heard=lambda repeat, policy, line: ended.append(
            (repeat, policy, line.id)
        ),
    )  # fmt: skip
    return run_virtually(made), ended


def gist(log: Log) -> Any:
    """What happened, whenever it did."""
    return log.header, log.footer, [(line.id, line.instance, line.cached_tokens, line.end) for line in log.lines]


def test_a_plan_is_taken_up_where_it_was_left(tmp_path: Path) -> None:
    plan = LivePlan(POLICIES, repeats=2)
    logs, ended = done(plan, tmp_path)
    assert [(log.header.settings["repeat"], log.header.policy) for log in logs] == list(plan.order())
    assert len(ended) == 6 * len(REQUESTS)
    assert all(log.footer is not None and log.footer.requests == len(REQUESTS) for log in logs)
    cut = path_of(tmp_path, 1, "lmetric")
    cut.write_bytes(cut.read_bytes()[:-60])  # its end is gone
    path_of(tmp_path, 0, "round_robin").unlink()
    again, ended = done(plan, tmp_path)
    assert list(map(gist, again)) == list(map(gist, logs))
    assert {(repeat, policy) for repeat, policy, _ in ended} == {(1, "lmetric"), (0, "round_robin")}
    assert done(plan, tmp_path) == (again, [])
    assert not list(tmp_path.glob("*.part"))


def test_with_other_settings_it_begins_anew(tmp_path: Path) -> None:
    done(LivePlan(("lmetric",), settings={"shape": "toy"}), tmp_path)
    _, ended = done(LivePlan(("lmetric",), settings={"shape": "large"}), tmp_path)
    assert len(ended) == len(REQUESTS)


def test_a_file_that_is_no_log_is_not_overwritten(tmp_path: Path) -> None:
    path_of(tmp_path, 0, "lmetric").write_text("my notes\n")
    with pytest.raises(BadTrace):
        done(LivePlan(("lmetric",)), tmp_path)
    assert path_of(tmp_path, 0, "lmetric").read_text() == "my notes\n"


def test_every_run_begins_with_empty_caches(tmp_path: Path) -> None:
    logs, _ = done(LivePlan(POLICIES, repeats=1), tmp_path)
    for log in logs:
        first = min(log.lines, key=lambda line: line.due_s)
        assert first.cached_tokens == 0


def test_an_engine_that_fails_in_the_warm_up_ends_the_plan(tmp_path: Path) -> None:
    engines: list[Engine] = [Fake("0", "stops"), Fake("1", "works")]
    with pytest.raises(EngineFailure, match="0 did not finish a request of the warm-up"):
        done(LivePlan(("lmetric",)), tmp_path, engines)


@pytest.mark.parametrize(
    "wrong",
    [
        {"policies": ()},
        {"policies": ("lmetric", "lmetric")},
        {"policies": ("lmetrik",)},
        {"policies": ("lmetric",), "repeats": 0},
        {"policies": ("lmetric",), "warm_up": -1},
    ],
)
def test_a_plan_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        LivePlan(**wrong)
