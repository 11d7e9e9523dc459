"""The child's side of an engine in a process of its own: it builds the engine, serves it, and ends with its parent."""

from __future__ import annotations

import asyncio
import functools
import signal
import socket
from collections.abc import Callable
from typing import Any

from replay.engines.process_wire import (
    TO_CHILD,
    Abort,
    Cached,
    Close,
    Emptied,
    Ended,
    Ready,
    Reset,
    Step,
    Submit,
    Unready,
    Wire,
    told,
)
from replay.engines.protocol import Engine, Job
from replay.engines.steps import StepRecord
from scheduler.errors import BadInput, EngineFailure

#: The number under which the one reset that may be going on is kept; jobs count from 1.
_RESET = 0


def serve(there: socket.socket, factory: Callable[..., Engine], sinks: tuple[str, ...]) -> None:
    """What the child process does, from its beginning to its end.

    Args:
        there: the child's end of the socket.
        factory: makes the engine.
        sinks: which the factory gets: ``step_sink``, ``cache_sink``.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; the parent decides what it means
    asyncio.run(_Child(sinks).run(there, factory))


class _Child:
    """One engine, and who asks it."""

    def __init__(self, sinks: tuple[str, ...]) -> None:
        self._sinks = sinks
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._wire = Wire(TO_CHILD, self._heard, self._enough)
        self._engine: Engine
        self._loop: asyncio.AbstractEventLoop
        self._over: asyncio.Future[None]

    async def run(self, there: socket.socket, factory: Callable[..., Engine]) -> None:
        """Serve until the parent says that it is enough, or is gone."""
        self._loop = asyncio.get_running_loop()
        self._over = self._loop.create_future()
        await self._loop.create_connection(lambda: self._wire, sock=there)
        told_of = {"step_sink": self._step, "cache_sink": self._cached}
        try:
            engine = self._engine = factory(**{name: told_of[name] for name in self._sinks})
            await engine.start()
        except (EngineFailure, BadInput) as fault:
            self._wire.send(Unready(str(fault)))
            raise SystemExit(1) from None
        self._wire.send(Ready(engine.block_tokens, engine.kv_blocks, engine.resets, engine.about, self._loop.time()))
        try:
            await self._over
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            await engine.close()

    def _enough(self, fault: BaseException | None = None) -> None:
        """The parent said so, or is gone, or something broke that nobody foresaw."""
        if not self._over.done():
            self._over.set_result(None) if fault is None else self._over.set_exception(fault)

    def _heard(self, message: Submit | Abort | Reset | Close) -> None:
        """One message of the parent."""
        if isinstance(message, Submit):
            self._begin(message.number, self._job(message.number, message.job))
        elif isinstance(message, Abort):
            if message.number in self._tasks:
                self._tasks[message.number].cancel()
        elif isinstance(message, Reset):
            self._begin(_RESET, self._emptied())
        else:
            self._enough()

    def _begin(self, number: int, work: Any) -> None:
        task = self._tasks[number] = self._loop.create_task(work)
        task.add_done_callback(functools.partial(self._done, number))

    def _done(self, number: int, task: asyncio.Task[None]) -> None:
        self._tasks.pop(number, None)
        if not task.cancelled() and task.exception() is not None:
            self._enough(task.exception())

    async def _job(self, number: int, job: Job) -> None:
        """Pass on what the engine tells of a job."""
        stream = self._engine.submit(job)
        reason = None
        try:
            async for event in stream:
                self._wire.send(told(number, event))
        except EngineFailure as fault:
            reason = str(fault)
        finally:
            await stream.aclose()
        self._wire.send(Ended(number, reason))

    async def _emptied(self) -> None:
        reason = None
        try:
            await self._engine.reset_cache()
        except EngineFailure as fault:
            reason = str(fault)
        self._wire.send(Emptied(reason))

    def _step(self, _: str, record: StepRecord) -> None:
        """Told of a step, maybe in a thread of the engine's own."""
        self._loop.call_soon_threadsafe(self._wire.send, Step(record))

    def _cached(self, _: str, stored: tuple[int, ...], after: int | None, removed: tuple[int, ...]) -> None:
        self._wire.send(Cached(stored, after, removed))
