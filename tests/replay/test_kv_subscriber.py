"""Listening to an engine over real sockets: what is lost on the way is noticed, and repaired where it can be."""

from __future__ import annotations

import asyncio
import gc
import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.engines.cache_feed import CacheFeed
from replay.engines.kv_blocks import BlockCounts
from replay.engines.kv_subscriber import BatchCounts, KvSubscriber
from scheduler import BadInput, Request, Router, RouterConfig
from scheduler.block_keys import token_keys
from scheduler.errors import EngineFailure
from tests.replay.kv_publisher import SIZE, Publisher, cleared, ids_of, listening, publisher, removed, stored, until
from tests.replay.test_kv_blocks import Path, histories

FORMATS = pytest.mark.parametrize("topic_in_replay", [False, True], ids=["to 0.24", "0.32"])


class View:
    """A router that is fed over a socket, and what it believes."""

    def __init__(self, to: Publisher, **more: Any) -> None:
        self.feed = CacheFeed()
        self.feed.router = self.router = Router(["a"], config=RouterConfig(source="events"))
        settled = {"sink": self.feed, "cleared": self.feed.cleared, "block_tokens": SIZE, "replay_s": 5.0, **more}
        self.subscriber = KvSubscriber("a", to.endpoint, **settled)

    def sees(self, path: Path) -> int:
        keys = token_keys(ids_of(path), SIZE)
        request = Request(id=1, arrival_s=0.0, prompt_tokens=99, block_tokens=SIZE, block_keys=keys)
        return self.router.state(request).hit_tokens[0] // SIZE

    async def has_read(self, number: int) -> None:
        """Wait for the batch before this number."""
        await until(lambda: self.subscriber._next >= number)

    def counts(self, *names: str) -> tuple[int, ...]:
        return tuple(getattr(self.subscriber.counts, name) for name in names)


def test_what_is_published_reaches_the_router() -> None:
    async def main() -> None:
        async with publisher() as engine:
            view = View(engine)
            async with listening(view.subscriber, engine):
                await engine.publish(stored((1, 2)), stored((1, 2, 0), 2, as_map=False))
                await engine.publish(removed((1, 2, 0)))
                await view.has_read(2)
                assert view.sees((1, 2, 0)) == 2
                await engine.publish(cleared())
                await view.has_read(3)
                assert view.sees((1, 2, 0)) == 0
                assert view.counts("read", "gaps", "missed_before", "restarts", "unreadable") == (3, 0, 0, 0, 0)

    asyncio.run(main())


@settings(max_examples=25)
@given(histories(), st.data(), st.booleans())
def test_what_is_lost_on_the_way_is_noticed_and_repaired_by_a_replay(
    history: list[tuple[Any, dict[Path, int]]], data: st.DataObject, topic_in_replay: bool
) -> None:
    lost = [data.draw(st.booleans()) for _ in history]
    holes = sum(gone and not before for gone, before in zip(lost, [False, *lost], strict=False))

    async def main() -> None:
        async with publisher(topic_in_replay=topic_in_replay) as engine:
            view = View(engine, replay=engine.replay)
            async with listening(view.subscriber, engine):
                await engine.publish()
                for (event, _), gone in zip(history, lost, strict=True):
                    await engine.publish(event, lost=gone)
                await engine.publish()
                await view.has_read(engine.number)
                assert {path: view.sees(path) for path in history[-1][1]} == history[-1][1]
                assert view.counts("lost", "missed_before", "restarts", "failed_replays") == (0, 0, 0, 0)
                # A replay brings all that was published until then, so that later holes may be filled by it too.
                assert min(holes, 1) <= view.subscriber.counts.gaps <= holes
                assert view.subscriber.counts.read == engine.number
                assert view.subscriber.blocks.counts.orphans == 0

    asyncio.run(main())


@settings(max_examples=25)
@given(st.lists(st.booleans(), min_size=1, max_size=12))
def test_without_a_replay_each_lost_batch_is_counted(lost: list[bool]) -> None:
    late = [*lost, False].index(False)

    async def main() -> None:
        async with publisher() as engine:
            view = View(engine)
            async with listening(view.subscriber, engine):
                for gone in lost:
                    await engine.publish(stored((1,)), lost=gone)
                await engine.publish()
                await view.has_read(engine.number)
                assert view.counts("missed_before", "lost") == (late, sum(lost) - late)

    asyncio.run(main())


@FORMATS
def test_who_comes_late_is_told_what_was_published_before(topic_in_replay: bool) -> None:
    async def main() -> None:
        async with publisher(topic_in_replay=topic_in_replay) as engine:
            await engine.publish(stored((1, 2)))
            await engine.publish(removed((1, 2)))
            view = View(engine, replay=engine.replay)
            async with listening(view.subscriber, engine):
                assert view.sees((1, 2)) == 1  # at the start already
                await engine.publish(stored((1, 0), 1))
                await view.has_read(3)
                assert view.sees((1, 0)) == 2
                assert view.counts("read", "replayed", "gaps", "missed_before") == (3, 2, 0, 0)

    asyncio.run(main())


def test_what_came_before_a_late_listener_is_no_gap() -> None:
    async def main() -> None:
        async with publisher() as engine:
            for _ in range(3):
                await engine.publish(stored((1,)))
            view = View(engine)
            async with listening(view.subscriber, engine):
                await engine.publish(stored((1, 2), 1), stored((2,)))
                await view.has_read(4)
                assert (view.sees((1, 2)), view.sees((2,))) == (0, 1)
                assert view.counts("missed_before", "gaps", "lost") == (3, 0, 0)
                assert view.subscriber.blocks.counts.orphans == 1

    asyncio.run(main())


def test_a_batch_that_was_replayed_before_its_turn_is_read_once() -> None:
    async def main() -> None:
        async with publisher() as engine:
            view = View(engine, replay=engine.replay)
            async with listening(view.subscriber, engine):
                await engine.publish(stored((1, 2)), lost=True)
                for _ in range(4):  # all of these wait while the first of them has the lost one repeated
                    await engine.publish(removed((1, 2)), stored((1, 2), 1))
                await engine.publish(removed((1, 2)))
                await view.has_read(engine.number)
                assert view.sees((1, 2)) == 1
                assert view.counts("read", "restarts") == (6, 0)
                assert view.subscriber.blocks.counts.unknown == 0

    asyncio.run(main())


def test_a_hole_in_a_replay_is_asked_for_again() -> None:
    async def main() -> None:
        async with publisher() as engine:
            for block in range(3):
                await engine.publish(stored((block,)))
            engine.leaves_out = lambda number: number == 1 and len(engine.asked) == 1
            view = View(engine, replay=engine.replay)
            async with listening(view.subscriber, engine):
                assert engine.asked == [0, 1]
                assert [view.sees((block,)) for block in range(3)] == [1, 1, 1]
                assert view.counts("read", "lost", "missed_before") == (3, 0, 0)

    asyncio.run(main())


def test_what_the_engine_keeps_no_more_is_counted() -> None:
    async def main() -> None:
        async with publisher(keeps=2) as engine:
            for _ in range(5):
                await engine.publish(stored((1,)))
            view = View(engine, replay=engine.replay)
            async with listening(view.subscriber, engine):
                assert view.counts("read", "missed_before", "lost", "gaps") == (2, 3, 0, 0)
                for place in range(6):
                    await engine.publish(stored((2,)), lost=place < 5)
                await view.has_read(engine.number)
                assert view.counts("read", "missed_before", "lost", "gaps") == (4, 3, 4, 1)

    asyncio.run(main())


@pytest.mark.parametrize("at_s", [9.0, 0.5], ids=["later", "by a clock that was put back"])
def test_an_engine_that_starts_anew_has_an_empty_cache(at_s: float) -> None:
    async def main() -> None:
        async with publisher() as engine:
            view = View(engine)
            async with listening(view.subscriber, engine):
                for second in range(3):
                    await engine.publish(stored((1, 2)), at_s=second)
                await view.has_read(3)
                engine.number = 0
                await engine.publish(stored((2,)), at_s=at_s)
                await until(lambda: view.sees((2,)) == 1)
                assert view.sees((1, 2)) == 0
                await engine.publish(stored((2, 0), 1), at_s=at_s + 1)
                await view.has_read(2)
                assert view.sees((2, 0)) == 2
                assert view.counts("restarts", "gaps", "read") == (1, 0, 5)

    asyncio.run(main())


def test_an_engine_that_starts_anew_is_noticed_though_all_before_was_replayed() -> None:
    async def main() -> None:
        async with publisher() as engine:
            for at_s in range(3):
                await engine.publish(stored((1, 2)), at_s=at_s)
            view = View(engine, replay=engine.replay)
            async with listening(view.subscriber, engine):
                engine.number, engine.kept = 0, []
                await engine.publish(stored((2,)), at_s=9)
                await until(lambda: view.sees((2,)) == 1)
                assert (view.sees((1, 2)), *view.counts("restarts")) == (0, 1)

    asyncio.run(main())


def test_a_server_that_comes_back_at_its_address_is_heard_again() -> None:
    async def main() -> None:
        async with publisher() as engine:
            view, port = View(engine), int(engine.endpoint.rpartition(":")[2])
            async with listening(view.subscriber, engine):
                await engine.publish(stored((1,)), at_s=1)
                await view.has_read(1)
                await engine.close()
                async with publisher(port=port) as again:
                    await again.heard()
                    await again.publish(stored((2,)), at_s=2)
                    await until(lambda: view.sees((2,)) == 1)
                    assert view.sees((1,)) == 0

    asyncio.run(main())


def test_what_is_no_batch_is_counted_and_the_rest_is_read() -> None:
    async def main() -> None:
        async with publisher() as engine:
            view = View(engine)
            async with listening(view.subscriber, engine):
                await engine.frames(b"", b"short", b"")
                await engine.frames(b"only one")
                await engine.send(b"\xc1")
                await engine.publish(stored((1,)))
                await view.has_read(2)
                assert (view.sees((1,)), *view.counts("unreadable", "read")) == (1, 3, 1)
                assert view.counts("gaps", "missed_before", "restarts") == (0, 0, 0)
                assert view.subscriber.fault.startswith(f"a at {engine.endpoint}: no batch of KV events")

    asyncio.run(main())


def test_only_its_topic_is_heard() -> None:
    async def main() -> None:
        async with publisher(b"kv") as engine:
            view = View(engine, topic="kv", replay=engine.replay)
            async with listening(view.subscriber, engine):
                await engine.frames(b"load", (0).to_bytes(8, "big"), b"\xc1")
                await engine.publish(stored((1,)), lost=True)
                await engine.publish(stored((2,)))
                await view.has_read(2)
                assert (view.sees((1,)), *view.counts("unreadable", "lost")) == (1, 0, 0)

    asyncio.run(main())


def test_a_replay_that_falls_silent_costs_what_it_was_asked_for() -> None:
    async def main() -> None:
        async with publisher() as engine:
            view = View(engine, replay=engine.replay, replay_s=0.05)
            async with listening(view.subscriber, engine):
                await engine.publish(stored((1,)))
                await view.has_read(1)
                engine.silent = True
                await engine.publish(stored((2,)), lost=True)
                await engine.publish(stored((0,)))
                await view.has_read(3)
                assert (view.sees((1,)), view.sees((2,)), view.sees((0,))) == (1, 0, 1)
                assert view.counts("gaps", "lost", "failed_replays") == (1, 1, 1)
                assert "silent for 0.05 s" in view.subscriber.fault

    asyncio.run(main())


def test_a_burst_leaves_the_event_loop_its_turns() -> None:
    async def main() -> None:
        async with publisher() as engine:
            view, turns = View(engine), 0
            async with listening(view.subscriber, engine):
                for _ in range(500):
                    await engine.publish(stored((1,)))
                await until(lambda: view.subscriber.counts.read > 0)
                while view.subscriber._next < engine.number:
                    turns += 1
                    await asyncio.sleep(0)
                assert turns > 20

    asyncio.run(main())


def test_where_nobody_publishes_the_start_says_so() -> None:
    async def main() -> None:
        async with publisher() as engine:
            view = View(engine, connect_s=0.05)
            await engine.close()
            with pytest.raises(
                EngineFailure, match=r"nobody publishes KV events at tcp://127.0.0.1:\d+ \(waited 0.05 s\)"
            ):
                await view.subscriber.start()
            await view.subscriber.close()

    asyncio.run(main())


def test_where_nothing_is_repeated_the_start_says_so() -> None:
    async def main() -> None:
        async with publisher() as engine:
            engine.silent = True
            view = View(engine, replay=engine.replay, replay_s=0.05)
            with pytest.raises(EngineFailure, match=r"a: nothing repeats KV events at tcp://127.0.0.1:\d+"):
                await view.subscriber.start()

    asyncio.run(main())


def test_over_a_file_it_is_the_same(tmp_path: Any) -> None:
    async def main() -> None:
        async with publisher() as engine:
            address = f"ipc://{tmp_path}/events"
            engine._pub.bind(address)
            view = View(engine)
            subscriber = KvSubscriber("a", address, sink=view.feed, cleared=view.feed.cleared, block_tokens=SIZE)
            async with listening(subscriber, engine):
                await engine.publish(stored((1,)))
                await until(lambda: view.sees((1,)) == 1)
                assert (subscriber.counts.read, len(subscriber.blocks), subscriber.fault) == (1, 1, "")

    asyncio.run(main())


def test_a_subscriber_closes_without_a_trace() -> None:
    async def main() -> None:
        async with publisher() as engine:
            view = View(engine, replay=engine.replay)
            async with listening(view.subscriber, engine):
                await view.subscriber.start()  # it has started already
            await view.subscriber.close()
            assert len(asyncio.all_tasks()) == 2  # this one, and the publisher's

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(main())
        gc.collect()


def test_what_a_sink_raises_is_told_at_the_end() -> None:
    def broken(*event: Any) -> None:
        raise RuntimeError("the router is gone")

    async def main() -> None:
        async with publisher() as engine:
            view = View(engine, sink=broken)
            await view.subscriber.start()
            await engine.heard()
            await engine.publish(stored((1,)))
            await until(lambda: view.subscriber._task is not None and view.subscriber._task.done())
            with pytest.raises(RuntimeError, match="the router is gone"):
                await view.subscriber.close()
            await view.subscriber.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"endpoint": "tcp://*:5557"}, r"endpoint: .*an engine binds to \*"),
        ({"endpoint": "127.0.0.1:5557"}, "endpoint: expected tcp://HOST:PORT or ipc://PATH"),
        ({"endpoint": "tcp://127.0.0.1"}, "endpoint: expected"),
        ({"endpoint": "tcp://127.0.0.1:65536"}, "endpoint: expected"),
        ({"endpoint": "ipc://"}, "endpoint: expected"),
        ({"replay": "http://127.0.0.1:80"}, "replay: expected"),
        ({"block_tokens": 0}, "block_tokens: expected"),
        ({"connect_s": 0}, "connect_s: expected"),
        ({"replay_s": -1.0}, "replay_s: expected"),
    ],
)
def test_what_cannot_be_listened_to_is_refused(wrong: dict[str, Any], said: str) -> None:
    right: dict[str, Any] = {"endpoint": "tcp://127.0.0.1:5557", "block_tokens": 16, **wrong}
    with pytest.raises(BadInput, match=said):
        KvSubscriber("a", sink=lambda *event: None, cleared=lambda name: None, **right)


def test_an_address_that_zeromq_refuses_is_refused_in_our_words() -> None:
    async def main() -> None:
        long = f"ipc:///{'x' * 300}"
        subscriber = KvSubscriber("a", long, sink=lambda *event: None, cleared=lambda name: None, block_tokens=16)
        with pytest.raises(BadInput, match="endpoint: expected an address that ZeroMQ can connect to"):
            await subscriber.start()

    asyncio.run(main())


def test_what_was_heard_before_a_run_is_not_counted_in_it() -> None:
    async def main() -> None:
        async with publisher() as engine:
            await engine.publish(stored((1, 2)))
            view = View(engine, replay=engine.replay)
            async with listening(view.subscriber, engine):
                assert [counts.read for counts in view.subscriber.counted()[:1]] == [1]
                view.subscriber.count_anew()
                assert [repr(counts) for counts in view.subscriber.counted()] == [
                    repr(BatchCounts()),
                    repr(BlockCounts()),
                ]
                await engine.publish(stored((0, 1, 2)), removed((0, 1, 2)))
                await view.has_read(2)
                batches, blocks = view.subscriber.counted()
                assert (batches.read, batches.replayed, blocks.stored, blocks.removed) == (1, 0, 3, 1)
                assert (view.subscriber.counts.read, view.subscriber.blocks.counts.stored) == (2, 5)

    asyncio.run(main())
