"""Listens to the KV events of one engine over ZeroMQ, and passes on what they say of its cache.

An engine publishes numbered batches (``--kv-events-config`` of vLLM and SGLang): three frames, a topic, the number and
the batch. It drops them without a word where nobody listens yet or a queue is full, so the numbers are watched. A hole
is filled by asking the engine's replay endpoint, if it has one. What cannot be had is counted as lost, and blocks that
follow it are left out (:mod:`replay.engines.kv_blocks`).

An engine with several ranks has an address for each, the port counted up: each needs a listener of its own, and a name.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, TypeVar

import msgspec

from replay.engines.kv_blocks import BLOCKS_MAX, BlockCounts, ClearSink, KnownBlocks
from replay.engines.kv_events import decode_batch
from replay.engines.kv_sockets import NUMBER_BYTES, checked_address, repeated, sizes, subscribed
from replay.engines.protocol import CacheSink
from scheduler.domains import Domain
from scheduler.errors import EngineFailure

if TYPE_CHECKING:
    import zmq.asyncio

_SECONDS = Domain(0, 86_400, low_open=True, unit="s")


class BatchCounts(msgspec.Struct):
    """What came of the batches of an engine.

    Args:
        read: batches read, replayed ones too.
        replayed: of these, those that the replay endpoint gave.
        missed_before: published before the listener came, and not to be had any more.
        gaps: holes in the numbers.
        lost: batches in these holes that could not be had any more.
        restarts: how often the engine started anew.
        failed_replays: requests for a replay that were not answered to their end.
        unreadable: messages that are no batch of KV events; :attr:`KvSubscriber.fault` tells the last fault.
    """

    read: int = 0
    replayed: int = 0
    missed_before: int = 0
    gaps: int = 0
    lost: int = 0
    restarts: int = 0
    failed_replays: int = 0
    unreadable: int = 0


_Counts = TypeVar("_Counts", BatchCounts, BlockCounts)


class KvSubscriber:
    """A listener for one engine. It connects, and binds nothing.

    Args:
        name: id of the instance.
        endpoint: where the engine publishes, to connect to: ``tcp://HOST:PORT`` or ``ipc://PATH``.
        sink: told what is stored and removed, in the event loop's thread.
        cleared: told when the engine has forgotten all.
        block_tokens: tokens in a block of the engine [token].
        replay: where it repeats what it published; None: nowhere.
        topic: what its messages begin with.
        connect_s: how long the engine may take to be there [s].
        replay_s: how long it may be silent before the end of a replay [s].
        blocks_max: beyond so many the oldest blocks are forgotten; the engine's own number is best [block].

    Attributes:
        blocks: what is cached, with counts since the engine started, as far as it repeats them.
        counts: of batches, likewise.
        fault: what was wrong with the last message or replay that could not be read.

    Raises:
        BadInput: for an address that cannot be connected to, and values outside their domains.
    """

    def __init__(
        self,
        name: str,
        endpoint: str,
        *,
        sink: CacheSink,
        cleared: ClearSink,
        block_tokens: int,
        replay: str | None = None,
        topic: str = "",
        connect_s: float = 10.0,
        replay_s: float = 10.0,
        blocks_max: int = BLOCKS_MAX,
    ) -> None:
        self.name, self.endpoint, self.topic = name, checked_address("endpoint", endpoint), topic
        self.replay = None if replay is None else checked_address("replay", replay)
        self._connect_s: float = _SECONDS.check("connect_s", connect_s)
        self._replay_s: float = _SECONDS.check("replay_s", replay_s)
        self.blocks = KnownBlocks(name, block_tokens, sink=sink, cleared=cleared, blocks_max=blocks_max)
        self.counts, self.fault = BatchCounts(), ""
        self._before: tuple[BatchCounts, BlockCounts] = BatchCounts(), BlockCounts()
        self._context: zmq.asyncio.Context | None = None
        self._task: asyncio.Task[None] | None = None
        self._next = 0  # the number that is due
        self._live = -1  # the last one that was published, not replayed
        self._at_s = float("-inf")  # the engine's clock in the last batch

    async def start(self) -> None:
        """Connect, ask for what was published before, and listen from now on.

        Raises:
            EngineFailure: if nobody publishes there, or the replay endpoint does not answer.
        """
        if self._context is not None:
            return
        try:
            import zmq.asyncio
        except ImportError:
            raise EngineFailure("pyzmq is missing, which KV events need: pip install 'argprod[full]'") from None
        self._context = zmq.asyncio.Context()
        try:
            socket = await subscribed(self._context, self.endpoint, self.topic, self._connect_s)
            if self.replay is not None and not await self._repeat():
                raise EngineFailure(self.fault)
        except BaseException:
            await self.close()
            raise
        self._task = asyncio.get_running_loop().create_task(self._listen(socket))

    async def _listen(self, socket: zmq.asyncio.Socket) -> None:
        while True:
            await self._hear(await socket.recv_multipart())
            await asyncio.sleep(0)  # a message that waits already is read without a turn of the loop

    async def _hear(self, frames: list[bytes]) -> None:
        """One message of the publisher."""
        if len(frames) != 3 or len(frames[1]) != NUMBER_BYTES:
            self._unreadable(f"expected a topic, a number of 8 bytes and a batch, got {sizes(frames)}")
            return
        number, payload = int.from_bytes(frames[1], "big"), frames[2]
        if number < self._next and self._is_anew(number, payload):
            self.counts.restarts += 1
            self.blocks.forget()
            self._next = 0
        self._live = number
        if number > self._next:
            await self._fill(number)
        if number == self._next:
            self._take(number, payload)

    def _is_anew(self, number: int, payload: bytes) -> bool:
        """Whether a number that was read before means that the engine started anew.

        If not, the batch was replayed before its turn came; then it is not newer than the last one by the engine's own
        clock. An engine that has published more since its start than was read before is not found out.
        """
        if number <= self._live:
            return True
        try:
            return decode_batch(payload).at_s > self._at_s
        except EngineFailure:
            return False

    async def _fill(self, number: int) -> None:
        """Those before this number did not come: have them repeated, or give them up."""
        if not self._is_late():
            self.counts.gaps += 1
        if self.replay is not None:
            await self._repeat()
        self._give_up_before(number)

    def _is_late(self) -> bool:
        """Whether what is missing was published before the listener came."""
        return not self.counts.read and not self.counts.restarts

    def _give_up_before(self, number: int) -> None:
        missing = number - self._next
        if missing <= 0:
            return
        if self._is_late():
            self.counts.missed_before += missing
        else:
            self.counts.lost += missing
        self._next = number

    async def _repeat(self) -> bool:
        """Have all repeated from the number that is due; whether it came to its end.

        As long as that brings something new, holes in it are asked for again.
        """
        while True:
            due = self._next
            try:
                if await self._repeat_once():
                    return True
            except EngineFailure as fault:
                self.fault = f"{self.name}: {fault}"
            if self._next == due:
                self.counts.failed_replays += 1
                return False

    async def _repeat_once(self) -> bool:
        """Whether a replay had no hole; one at its beginning is older than what the engine keeps."""
        assert self._context is not None
        assert self.replay is not None
        batches = repeated(self._context, self.replay, self._next, self._replay_s)
        first = True
        async with contextlib.aclosing(batches):
            async for number, payload in batches:
                if first:
                    self._give_up_before(number)
                elif number > self._next:
                    return False
                if number == self._next:
                    self._take(number, payload)
                    self.counts.replayed += 1
                first = False
                await asyncio.sleep(0)
        return True

    def _take(self, number: int, payload: bytes) -> None:
        """The batch that is due."""
        self._next = number + 1
        try:
            batch = decode_batch(payload)
        except EngineFailure as fault:
            self._unreadable(str(fault))
            return
        self.counts.read += 1
        self._at_s = batch.at_s
        for event in batch.events:
            self.blocks.hear(event)

    def _unreadable(self, fault: str) -> None:
        self.counts.unreadable += 1
        self.fault = f"{self.name} at {self.endpoint}: {fault}"

    def forget(self) -> None:
        """The cache was emptied from here: do not wait for the engine to say so, which vLLM does with its next step."""
        self.blocks.forget()

    def count_anew(self) -> None:
        """What was heard until now, of runs that are over and of a warm-up, is not for :meth:`counted`."""
        self._before = msgspec.structs.replace(self.counts), msgspec.structs.replace(self.blocks.counts)

    def counted(self) -> tuple[BatchCounts, BlockCounts]:
        """Counts since :meth:`count_anew`; since the start, if it was not called."""
        batches, blocks = self._before
        return _less(self.counts, batches), _less(self.blocks.counts, blocks)

    async def close(self) -> None:
        """Listen no more. To close twice changes nothing.

        Raises:
            Exception: what a sink raised, if that ended the listening.
        """
        task, self._task = self._task, None
        context, self._context = self._context, None
        try:
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
                if not task.cancelled():
                    task.result()
        finally:
            if context is not None:
                context.destroy(linger=0)


def _less(now: _Counts, then: _Counts) -> _Counts:
    """What came in between."""
    return type(now)(**{name: getattr(now, name) - getattr(then, name) for name in now.__struct_fields__})
