"""Plans of live runs: orders in which drift favours nobody, and what is done is not done again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.engines.prompts import Prompts
from replay.engines.protocol import Engine, Event, Job
from replay.engines.simulated import SimulatedEngine
from replay.engines.virtual_time import run_virtually
from replay.live_plan import LivePlan, Turn, complete, header_of, partial_log, run_plan
from replay.live_record import Line
from replay.run import CUT_OFF
from replay.run_log import Log
from scheduler import BadInput, Router
from scheduler.errors import BadTrace, EngineFailure
from tests.replay.test_run import BLOCK, Fake, cluster, request

POLICIES = ("lmetric", "join_shortest_queue", "round_robin")
REQUESTS = [request(number, 0.3 * number, tuple(range(number % 3, number % 3 + 8))) for number in range(12)]


@given(st.integers(1, 3), st.integers(1, 4))
def test_each_rule_is_at_each_place_as_often(count: int, rounds: int) -> None:
    order = list(LivePlan(POLICIES[:count], repeats=count * rounds).order())
    places = Counter((turn.policy, index % count) for index, turn in enumerate(order))
    assert set(places.values()) == {rounds}
    assert len(set(order)) == len(order) == count * count * rounds


def done(
    plan: LivePlan, folder: Path, engines: list[Any] | None = None, prompts: Prompts | None = None
) -> tuple[list[Log], list[tuple[Turn, int]]]:
    """The logs, and which requests ended while they were made."""
    shape = cluster(2)
    if engines is None:
        engines = [SimulatedEngine(str(place), spec) for place, spec in enumerate(shape.specs(BLOCK))]
    ended: list[tuple[Turn, int]] = []
    told: list[Turn] = []

    def router_of(turn: Turn) -> Router:
        return Router([engine.name for engine in engines], turn.policy, seed=turn.repeat, mitigation=turn.mitigation)

    made = run_plan(
        plan, engines, REQUESTS, router_of, folder, prompts=prompts,
        heard=lambda turn, line: ended.append((turn, line.id)), done=lambda turn, _: told.append(turn),
    )  # fmt: skip
    logs = run_virtually(made)
    assert told == list(plan.order())
    return logs, ended


def gist(log: Log) -> Any:
    """What happened, whenever it did."""
    assert log.footer is not None
    assert log.footer.watch is not None
    return (
        log.header,
        log.footer.requests,
        [(line.id, line.instance, line.cached_tokens, line.end) for line in log.lines],
    )


def test_a_plan_is_taken_up_where_it_was_left(tmp_path: Path) -> None:
    plan = LivePlan(POLICIES, repeats=2, mitigations=("none", "auto"))
    logs, ended = done(plan, tmp_path)
    assert [Turn(log.header.repeat, log.header.policy, log.header.mitigation) for log in logs] == list(plan.order())
    assert len(ended) == 12 * len(REQUESTS)
    assert all(log.footer is not None and log.footer.requests == len(REQUESTS) for log in logs)
    cut, gone = Turn(1, "lmetric"), Turn(0, "round_robin", "auto")
    path = cut.path(tmp_path)
    path.write_bytes(path.read_bytes()[:-60])  # its end is gone
    gone.path(tmp_path).unlink()
    again, ended = done(plan, tmp_path)
    assert list(map(gist, again)) == list(map(gist, logs))
    assert {turn for turn, _ in ended} == {cut, gone}
    assert done(plan, tmp_path) == (again, [])
    assert not list(tmp_path.glob("*.part"))


def test_with_other_settings_it_begins_anew(tmp_path: Path) -> None:
    done(LivePlan(("lmetric",), settings={"shape": "toy"}), tmp_path)
    _, ended = done(LivePlan(("lmetric",), settings={"shape": "large"}), tmp_path)
    assert len(ended) == len(REQUESTS)


def test_a_file_that_is_no_log_is_not_overwritten(tmp_path: Path) -> None:
    Turn(0, "lmetric").path(tmp_path).write_text("my notes\n")
    with pytest.raises(BadTrace):
        done(LivePlan(("lmetric",)), tmp_path)
    assert Turn(0, "lmetric").path(tmp_path).read_text() == "my notes\n"


def test_every_run_begins_with_empty_caches(tmp_path: Path) -> None:
    logs, _ = done(LivePlan(POLICIES, repeats=1), tmp_path)
    for log in logs:
        first = min(log.lines, key=lambda line: line.due_s)
        assert first.cached_tokens == 0


class Keeping(SimulatedEngine):
    """An engine that keeps its cache."""

    resets = False

    async def reset_cache(self) -> None:
        """Nothing."""


def test_engines_that_keep_their_caches_get_prompts_never_seen(tmp_path: Path) -> None:
    asked: list[tuple[int, tuple[int, ...]]] = []

    class Listening(Keeping):
        async def submit(self, job: Job) -> AsyncGenerator[Event, None]:
            asked.append((job.request.id, job.prompt_ids))
            async for event in super().submit(job):
                yield event

    engines = [Listening(str(place), spec) for place, spec in enumerate(cluster(2).specs(BLOCK))]
    logs, _ = done(LivePlan(("lmetric", "random"), warm_up=0), tmp_path, engines, Prompts(1000))
    assert len({log.header.prompt_seed for log in logs}) == 2
    first, second = ({ids[:BLOCK] for _, ids in asked[run * 12 : run * 12 + 12]} for run in (0, 1))
    assert not first & second
    for log, seen in zip(logs, (asked[:12], asked[12:]), strict=True):  # what was asked comes back from the log
        assert log.header.prompt_seed is not None
        prompts = Prompts(1000).salted(log.header.prompt_seed)
        assert dict(seen) == {one.id: prompts.ids(one) for one in REQUESTS}
    assert done(LivePlan(("lmetric", "random"), warm_up=0), tmp_path, engines, Prompts(1000))[1] == []


def test_what_an_interrupted_run_learned_is_found(tmp_path: Path) -> None:
    plan = LivePlan(("lmetric", "random"), warm_up=0)
    engines = [SimulatedEngine(str(place), spec) for place, spec in enumerate(cluster(2).specs(BLOCK))]
    assert partial_log(plan, tmp_path) is None
    main: list[asyncio.Task[Any]] = []

    async def cut() -> None:
        def router_of(turn: Turn) -> Router:
            return Router(["0", "1"], turn.policy)

        def heard(turn: Turn, line: Line) -> None:
            if turn.policy == "random" and line.id == 5:
                main[0].cancel()

        task = asyncio.ensure_future(run_plan(plan, engines, REQUESTS, router_of, tmp_path, heard=heard))
        main.append(task)
        await task

    with pytest.raises(asyncio.CancelledError):
        run_virtually(cut())
    found = partial_log(plan, tmp_path)
    assert found is not None
    turn, log = found
    assert (turn.policy, log.footer) == ("random", None)
    ended = {line.id for line in log.lines if line.end == "finished"}
    assert 5 in ended
    assert all(line.reason == CUT_OFF for line in log.lines if line.id not in ended)
    assert complete(Turn(0, "lmetric").path(tmp_path), header_of(plan, engines, Turn(0, "lmetric"))) is not None


def test_the_warm_up_leaves_out_what_fits_nowhere_and_lets_an_engine_refuse(tmp_path: Path) -> None:
    asked: list[int] = []

    class Listening(SimulatedEngine):
        async def submit(self, job: Job) -> AsyncGenerator[Event, None]:
            asked.append(job.request.id)
            async for event in super().submit(job):
                yield event

    engines = [Listening(str(place), spec) for place, spec in enumerate(cluster(2).specs(BLOCK))]
    long = [request(100, output_tokens=5000), *REQUESTS]
    plan = LivePlan(("lmetric",))
    run_virtually(run_plan(plan, engines, long, lambda turn: Router(["0", "1"], turn.policy), tmp_path))
    assert asked[:4] == [0, 1, 0, 1]
    picky: list[Any] = [Fake("0", "refuses", "refuses", "works"), Fake("1", "works")]
    other = tmp_path / "picky"
    other.mkdir()
    logs, _ = done(plan, other, picky)
    assert [len(log.lines) for log in logs] == [len(REQUESTS)]
    assert all(line.end == "finished" for log in logs for line in log.lines)


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
        {"policies": ("lmetric",), "mitigations": ()},
        {"policies": ("lmetric",), "mitigations": ("auto", "auto")},
        {"policies": ("lmetric",), "mitigations": ("automatic",)},
    ],
)
def test_a_plan_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        LivePlan(**wrong)
