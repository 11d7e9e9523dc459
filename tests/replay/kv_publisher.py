"""An engine's KV events as the tests need them: numbered batches are published, lost on the way, and repeated."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import msgspec
import zmq
import zmq.asyncio

from replay.engines.kv_subscriber import KvSubscriber

#: Tokens in a block.
SIZE = 2


def ids_of(path: Sequence[int]) -> list[int]:
    """The tokens of blocks that are named by small numbers."""
    return [1000 * block + place for block in path for place in range(SIZE)]


def hash_of(path: Sequence[int]) -> bytes:
    """The engine's own name for the last block of a chain."""
    return b"block " + bytes(path)


def stored(path: Sequence[int], start: int = 0, *, as_map: bool = True, **more: Any) -> Any:
    """An event: the blocks of a chain from a place on."""
    fields: dict[str, Any] = {
        "block_hashes": [hash_of(path[: end + 1]) for end in range(start, len(path))],
        "parent_block_hash": hash_of(path[:start]) if start else None,
        "token_ids": ids_of(path[start:]),
        "block_size": SIZE,
        "lora_id": None,
        "medium": "GPU",
        **more,
    }
    return {"type": "BlockStored", **fields} if as_map else ["BlockStored", *fields.values()]


def removed(*paths: Sequence[int], as_map: bool = True) -> Any:
    """An event: these blocks are gone."""
    names = [hash_of(path) for path in paths]
    return (
        {"type": "BlockRemoved", "block_hashes": names, "medium": "GPU"} if as_map else ["BlockRemoved", names, "GPU"]
    )


def cleared(*, as_map: bool = True) -> Any:
    """An event: all is gone."""
    return {"type": "AllBlocksCleared"} if as_map else ["AllBlocksCleared"]


class Publisher:
    """Publishes as vLLM does.

    Args:
        topic: what its messages begin with.
        topic_in_replay: whether that is in its replays too, as from 0.32 on.
        keeps: batches that it can repeat.
        port: of an earlier one that it follows; 0 for any.
    """

    def __init__(self, topic: bytes = b"", *, topic_in_replay: bool = True, keeps: int = 10_000, port: int = 0) -> None:
        self.topic, self._topic_in_replay, self._keeps = topic, topic_in_replay, keeps
        self._context = zmq.asyncio.Context()
        self._pub, self._router = self._context.socket(zmq.XPUB), self._context.socket(zmq.ROUTER)
        self._pub.bind(f"tcp://127.0.0.1:{port or '*'}")
        self._router.bind("tcp://127.0.0.1:*")
        self.endpoint = self._pub.getsockopt_string(zmq.LAST_ENDPOINT)
        self.replay = self._router.getsockopt_string(zmq.LAST_ENDPOINT)
        self.kept: list[tuple[int, bytes]] = []
        self.number, self.asked = 0, list[int]()
        self.leaves_out: Callable[[int], bool] = lambda place: False
        self.silent = False
        self._task = asyncio.get_running_loop().create_task(self._repeat())

    async def heard(self) -> None:
        """Wait until a listener has subscribed."""
        async with asyncio.timeout(5):
            await self._pub.recv()

    async def publish(self, *events: Any, lost: bool = False, at_s: float | None = None) -> None:
        """A batch; a lost one can be repeated, but never arrives."""
        payload = msgspec.msgpack.encode([float(self.number) if at_s is None else at_s, list(events), 0])
        await self.send(payload, lost=lost)

    async def send(self, payload: bytes, *, lost: bool = False) -> None:
        """The bytes of a batch, whatever they are."""
        number, self.number = self.number, self.number + 1
        self.kept = [*self.kept, (number, payload)][-self._keeps :]
        if not lost:
            await self.frames(self.topic, number.to_bytes(8, "big"), payload)

    async def frames(self, *frames: bytes) -> None:
        """A message, whatever it is."""
        await self._pub.send_multipart(frames)

    async def _repeat(self) -> None:
        while True:
            client, empty, start = await self._router.recv_multipart()
            self.asked.append(int.from_bytes(start, "big"))
            if self.silent:
                continue
            before = [self.topic] if self._topic_in_replay else []
            for number, payload in self.kept:
                if number >= self.asked[-1] and not self.leaves_out(number):
                    await self._router.send_multipart([client, empty, *before, number.to_bytes(8, "big"), payload])
            before = [b""] if self._topic_in_replay else []
            await self._router.send_multipart([client, empty, *before, b"\xff" * 8, b""])

    async def close(self) -> None:
        """Be gone."""
        self._task.cancel()
        await asyncio.wait([self._task])
        self._context.destroy(linger=0)


@contextlib.asynccontextmanager
async def publisher(topic: bytes = b"", **more: Any) -> AsyncIterator[Publisher]:
    """A publisher for the time of a test."""
    found = Publisher(topic, **more)
    try:
        yield found
    finally:
        await found.close()


@contextlib.asynccontextmanager
async def listening(subscriber: KvSubscriber, to: Publisher) -> AsyncIterator[KvSubscriber]:
    """A subscriber that has started and is known to the publisher."""
    await subscriber.start()
    try:
        await to.heard()
        yield subscriber
    finally:
        await subscriber.close()


async def until(reached: Callable[[], bool]) -> None:
    """Wait for something that is on its way through a socket."""
    async with asyncio.timeout(10):
        while not reached():
            await asyncio.sleep(0.001)
