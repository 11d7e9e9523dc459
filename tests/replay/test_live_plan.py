"""Plans of live runs: orders in which drift favours nobody, and what is done is not done again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.engines.prompts import Prompts
from replay.engines.protocol import Engine, Event, Job
from replay.engines.simulated import SimulatedEngine
from replay.engines.virtual_time import run_virtually
from replay.live_plan import LivePlan, Turn, header_of, partial_log, run_plan
from replay.live_record import Line
from replay.log_folder import PART, Standing, standing
from replay.run import CUT_OFF, Pace
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
    plan: LivePlan,
    folder: Path,
    engines: list[Any] | None = None,
    prompts: Prompts | None = None,
    found: Callable[[Standing], None] | None = None,
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
        plan, engines, REQUESTS, router_of, folder, prompts=prompts, found=found,
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


def test_with_other_settings_nothing_is_run_and_nothing_is_written_over(tmp_path: Path) -> None:
    done(LivePlan(("lmetric", "random"), settings={"shape": "toy"}), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for plan in (
        LivePlan(("lmetric",), settings={"shape": "large"}),
        LivePlan(("round_robin",), settings={"shape": "large"}),  # it has no log yet, but would lie beside others
        LivePlan(("lmetric",), repeats=3, settings={"shape": "large"}),
    ):
        with pytest.raises(
            BadInput, match=r"^--log: .*00-lmetric.jsonl there is of others: shape 'toy' there, 'large'"
        ):
            done(plan, tmp_path)
    with pytest.raises(BadInput, match=r"pace.rate 1.0 there, 2.0 here, warm_up 2 there, 0 here"):
        done(LivePlan(("lmetric",), pace=Pace(rate=2.0), warm_up=0, settings={"shape": "toy"}), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_was_measured_of_a_run_of_other_settings_is_kept_too_if_it_was_cut_short(tmp_path: Path) -> None:
    done(LivePlan(("lmetric",)), tmp_path)
    path = Turn(0, "lmetric").path(tmp_path)
    part = path.rename(path.with_suffix(PART))
    before = part.read_bytes()
    with pytest.raises(BadInput, match=r"00-lmetric\.part there is of others"):
        done(LivePlan(("lmetric",), warm_up=1), tmp_path)
    assert part.read_bytes() == before
    known: list[Standing] = []
    done(LivePlan(("lmetric", "random")), tmp_path, found=known.append)
    assert known == [Standing(begun=frozenset({path}))]
    done(LivePlan(("lmetric", "random")), tmp_path, found=known.append)
    assert [(len(one.whole), len(one.begun)) for one in known] == [(0, 1), (2, 0)]


def test_engines_that_say_otherwise_of_themselves_make_another_run(tmp_path: Path) -> None:
    def engines(*names: str, **about: str) -> list[Any]:
        made = [SimulatedEngine(name, spec) for name, spec in zip(names, cluster(2).specs(BLOCK), strict=True)]
        for one in made:
            one.about = about
        return made

    plan = LivePlan(("lmetric",))
    done(plan, tmp_path, engines("a:1", "a:2", server="1"))
    assert done(plan, tmp_path, engines("a:1", "a:2", server="1"))[1] == []
    with pytest.raises(
        BadInput, match=r"what engines say of themselves \[{'server': '1'}, .* there, \[{'server': '2'}"
    ):
        done(plan, tmp_path, engines("a:1", "a:2", server="2"))
    for names in (("a:1", "a:3"), ("a:2", "a:1")):
        with pytest.raises(BadInput, match=r"instances \['a:1', 'a:2'\] there"):
            done(plan, tmp_path, engines(*names, server="1"))


def test_files_that_are_no_logs_of_this_plan_are_let_be(tmp_path: Path) -> None:
    (tmp_path / "trace.jsonl").write_text('{"timestamp": 0}\n')
    (tmp_path / "00-lmetric.part").write_bytes(b'{"what":"run","poli')  # ended before it said anything
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "old.jsonl").mkdir()
    known: list[Standing] = []
    done(LivePlan(("lmetric",)), tmp_path, found=known.append)
    assert known == [Standing()]
    assert (tmp_path / "trace.jsonl").read_text() == '{"timestamp": 0}\n'


def test_a_file_that_is_no_log_is_not_overwritten(tmp_path: Path) -> None:
    for name in ("00-lmetric.jsonl", "00-lmetric.part"):
        (tmp_path / name).write_text("my notes\n")
        with pytest.raises(BadTrace):
            done(LivePlan(("lmetric",)), tmp_path)
        assert (tmp_path / name).read_text() == "my notes\n"
        (tmp_path / name).unlink()


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
    done_before = Turn(0, "lmetric")
    whole = {done_before.path(tmp_path): header_of(plan, engines, done_before, REQUESTS)}
    assert list(standing(tmp_path, whole).whole) == list(whole)


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
