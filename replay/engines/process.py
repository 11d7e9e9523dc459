"""Any engine in a process of its own, behind the protocol of all: engines then do not share one interpreter lock.

The child process builds the engine, runs an event loop and writes what the engine tells to a socket; this side reads it
in its own event loop, so neither waits for the other.

Times need no translation: ``loop.time()`` of both loops is the machine's monotonic clock (Linux, macOS), which all its
processes share. The handshake looks whether that is so. There is no virtual time in another process.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import socket
from collections.abc import AsyncGenerator, Callable
from multiprocessing.process import BaseProcess
from typing import Any

from replay.engines.process_child import serve
from replay.engines.process_wire import (
    TO_PARENT,
    Abort,
    Cached,
    Close,
    Emptied,
    Ended,
    Ready,
    Reset,
    Step,
    Submit,
    Told,
    Unready,
    Wire,
    event_of,
)
from replay.engines.protocol import CacheSink, Engine, Event, Finished, Job
from replay.engines.steps import StepSink
from scheduler.domains import Domain
from scheduler.errors import EngineFailure

#: How long a child may take to be ready or to empty its cache, and to end once it is told to [s].
READY_S, STOP_S = 240.0, 45.0
#: How long a child is waited for that is ending already, or that was terminated [s].
GRACE_S = 5.0
_SECONDS = Domain(0, 86_400, low_open=True, unit="s")


class ProcessEngine:
    """An engine that lives in a child process.

    Args:
        name: id of the instance.
        factory: makes the engine, in the child; it has to be picklable, as a :func:`functools.partial` of a class is.
            For each sink that is given it gets one as an argument of the same name.
        block_tokens: tokens in a KV block of that engine [token].
        kv_blocks: KV blocks; None: not known before the start [block].
        step_sink: told of the engine's steps, in this event loop's thread.
        cache_sink: told what its cache stores and evicts.
        ready_s: how long the child may take to be ready, and to empty its cache [s].

    Raises:
        BadInput: if ``ready_s`` cannot be.

    Example:
        >>> import functools
        >>> from replay.engines.simulated import SimulatedEngine
        >>> from replay.sim.cluster import roofline_cluster
        >>> spec = roofline_cluster(1).specs(16)[0]
        >>> engine = ProcessEngine("a", functools.partial(SimulatedEngine, "a", spec), block_tokens=16)
        >>> engine.name, engine.pid
        ('a', None)
    """

    def __init__(
        self,
        name: str,
        factory: Callable[..., Engine],
        *,
        block_tokens: int,
        kv_blocks: int | None = None,
        step_sink: StepSink | None = None,
        cache_sink: CacheSink | None = None,
        ready_s: float = READY_S,
    ) -> None:
        _SECONDS.check("ready_s", ready_s)
        self.name, self.block_tokens, self.kv_blocks, self.resets = name, block_tokens, kv_blocks, True
        self.about: dict[str, str] = {}
        self._factory, self._ready_s = factory, ready_s
        self._step_sink, self._cache_sink = step_sink, cache_sink
        self._process: BaseProcess | None = None
        self._wire: Wire | None = None
        self._queues: dict[int, asyncio.Queue[Event | EngineFailure | None]] = {}
        self._answer: asyncio.Future[Any] | None = None
        self._burial: asyncio.Task[None] | None = None
        self._gone = "was not started"
        self._jobs = 0

    @property
    def pid(self) -> int | None:
        """Id of the child process, or None if there is none."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start the child and wait until its engine is ready; see :class:`replay.engines.protocol.Engine`."""
        if self._process is not None:
            raise EngineFailure(f"{self.name} was started already")
        loop = asyncio.get_running_loop()
        began_s, here = loop.time(), self._spawned()
        wire = self._wire = Wire(TO_PARENT, self._heard, self._lost)
        try:
            await loop.create_connection(lambda: wire, sock=here)
            self._agree(await self._answered("was not ready"), began_s)
        except BaseException:
            await self._end(GRACE_S, "could not be started")
            raise

    def _spawned(self) -> socket.socket:
        """Start the process; this end of the socket to it."""
        here, there = socket.socketpair()
        given = {"step_sink": self._step_sink, "cache_sink": self._cache_sink}
        sinks = tuple(name for name, sink in given.items() if sink is not None)
        process = multiprocessing.get_context("spawn").Process(
            target=serve, args=(there, self._factory, sinks), name=f"engine {self.name}", daemon=True
        )
        try:
            process.start()
        except Exception as fault:
            here.close()
            raise EngineFailure(
                f"no process could be started for {self.name}: {fault} (its factory has to be picklable: a "
                "functools.partial of something at the top of a module)"
            ) from fault
        finally:
            there.close()
        self._process, self._gone = process, ""
        return here

    def _agree(self, ready: Ready, began_s: float) -> None:
        """Take over what the engine says of itself, if it is what was said of it."""
        if not began_s <= ready.now_s <= asyncio.get_running_loop().time():
            raise EngineFailure(f"the process of {self.name} has another clock; engines in processes need real time")
        said = (self.block_tokens, ready.kv_blocks if self.kv_blocks is None else self.kv_blocks)
        if said != (ready.block_tokens, ready.kv_blocks):
            has = f"{ready.kv_blocks} blocks of {ready.block_tokens} tokens"
            raise EngineFailure(f"{self.name} has {has}, and not {said[1]} of {said[0]} as was said of it")
        self.kv_blocks, self.resets, self.about = ready.kv_blocks, ready.resets, ready.about

    async def _answered(self, late: str) -> Any:
        """What the child answers next; it has ``ready_s`` for that."""
        self._answer = asyncio.get_running_loop().create_future()
        try:
            return await asyncio.wait_for(self._answer, self._ready_s)
        except TimeoutError:
            raise EngineFailure(f"{self.name} {late} after {self._ready_s:g} s") from None
        finally:
            self._answer = None

    def _heard(self, message: Any) -> None:
        """One message of the child."""
        if isinstance(message, Told):
            self._tell(message.number, event_of(message))
        elif isinstance(message, Ended):
            self._tell(message.number, None if message.reason is None else EngineFailure(message.reason))
        elif isinstance(message, Step):
            if self._step_sink is not None:
                self._step_sink(self.name, message.record)
        elif isinstance(message, Cached):
            if self._cache_sink is not None:
                self._cache_sink(self.name, message.stored, message.after, message.removed)
        elif self._answer is not None and not self._answer.done():
            if isinstance(message, Unready | Emptied) and message.reason is not None:
                self._answer.set_exception(EngineFailure(message.reason))
            else:
                self._answer.set_result(message)

    def _tell(self, number: int, event: Event | EngineFailure | None) -> None:
        queue = self._queues.get(number)
        if queue is not None:
            queue.put_nowait(event)

    def _lost(self) -> None:
        """The child hung up: find out how it ended, and fail what is open."""
        if self._process is not None and self._burial is None:
            self._burial = asyncio.get_running_loop().create_task(self._bury(self._process))

    async def _bury(self, process: BaseProcess) -> None:
        self._fail(_how(await _exit_code(process, GRACE_S)))

    def _fail(self, how: str) -> None:
        """Nothing more will come: whoever waits learns why."""
        self._gone = self._gone or how
        fault = f"{self.name} {self._gone}"
        for queue in self._queues.values():
            queue.put_nowait(EngineFailure(fault))
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(EngineFailure(fault))

    async def submit(self, job: Job) -> AsyncGenerator[Event, None]:
        """The events of a job; see :class:`replay.engines.protocol.Engine`."""
        if self._gone or self._wire is None:
            raise EngineFailure(f"{self.name} {self._gone}")
        self._jobs += 1
        number, ended = self._jobs, False
        queue = self._queues[number] = asyncio.Queue()
        self._wire.send(Submit(number, job))
        try:
            while not ended:
                event = await queue.get()
                ended = event is None or isinstance(event, Finished | EngineFailure)
                if isinstance(event, EngineFailure):
                    raise event
                if event is not None:
                    yield event
        finally:
            self._queues.pop(number, None)
            if not ended and self._wire is not None:
                self._wire.send(Abort(number))

    async def reset_cache(self) -> None:
        """The child's engine forgets what is cached."""
        if self._gone or self._wire is None:
            raise EngineFailure(f"{self.name} {self._gone}")
        if self._queues:
            raise EngineFailure(f"{self.name} has open jobs, so its cache cannot be reset")
        self._wire.send(Reset())
        await self._answered("had not emptied its cache")

    async def close(self) -> None:
        """The child closes its engine and ends; one that does not is terminated, then killed. Open jobs fail."""
        await self._end(STOP_S, "was closed")

    async def _end(self, grace_s: float, how: str) -> None:
        """The child is gone after this, whatever it does."""
        process, self._process = self._process, None
        if process is None or self._wire is None:
            return
        self._wire.send(Close())
        self._fail(how)
        code = await _exit_code(process, grace_s)
        for force in (process.terminate, process.kill):
            if code is None:
                force()
                code = await _exit_code(process, GRACE_S)
        burial, self._burial = self._burial, None
        if burial is not None:
            await burial
        self._wire.close()
        self._wire = None
        if code is not None:
            process.close()


async def _exit_code(process: BaseProcess, within_s: float) -> int | None:
    """The exit code of a child; None if it still runs after so long."""
    loop = asyncio.get_running_loop()
    deadline_s, wait_s = loop.time() + within_s, 0.001
    while process.exitcode is None and loop.time() < deadline_s:
        await asyncio.sleep(wait_s)
        wait_s = min(0.05, 2 * wait_s)
    return process.exitcode


def _how(code: int | None) -> str:
    """What became of an engine whose process hung up, in words.

    Example:
        >>> _how(1), _how(-9)
        ('lost its process, which ended with exit code 1', 'lost its process, which ended with exit code -9 (SIGKILL)')
    """
    if code is None:
        return "hung up, but its process still runs"
    name = f" ({signal.Signals(-code).name})" if code < 0 and -code in set(signal.Signals) else ""
    return f"lost its process, which ended with exit code {code}{name}"
