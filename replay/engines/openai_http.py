"""Any server of OpenAI's completions API, over HTTP: vLLM, SGLang, or what else streams tokens.

Prompts are sent as token ids, so that nothing is tokenized on the way, and with ``ignore_eos``, so that lengths are
exact; a server that counts another prompt or another number of tokens than was asked for has failed the request. Such a
server does not tell when it admits a request or preempts one, nor how far a prefill is. Cached tokens it tells at the
end, if it was started so (vLLM with ``--enable-prompt-tokens-details``, SGLang with ``--enable-cache-report``).

Each job has a task of its own that reads as bytes come, so times are those at which the event loop saw them arrive,
however slow the reader of the events is; what else runs in that loop can delay it. The time to the first token includes
the way there, and a new connection where none is idle.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator
from typing import TYPE_CHECKING

import msgspec

from replay.engines.openai_found import POLL_S, find_cache_shape, find_model, find_version, until_ready
from replay.engines.openai_metrics import Gauges, read_gauges
from replay.engines.openai_server import Server, cancel_scope, drain
from replay.engines.openai_stream import Reply, ServerBroke, said
from replay.engines.prompts import VOCABULARY
from replay.engines.protocol import Event, Finished, Job
from scheduler.domains import REQUEST_DOMAINS, Domain
from scheduler.errors import BadInput, EngineFailure

if TYPE_CHECKING:
    from anyio import CancelScope

_BLOCKS = Domain(1, 2**40, integer=True, unit="block")
_SECONDS = Domain(0, 1e6, low_open=True, unit="s")
#: How a cache can be emptied between runs.
RESETS = ("auto", "endpoint", "salt")
#: Where: vLLM's, in its development mode, and SGLang's.
_RESET_PATHS = ("/reset_prefix_cache", "/flush_cache")
#: What a server answers that has no such path, and one that cannot empty its cache now but may soon.
_ABSENT, _BUSY = (404, 405), (400, 409, 503)
#: Options that make no run another one: how long is waited for a server before it is asked for anything, and what a
#: server that was found says better itself.
BESIDE = ("model", "block_tokens", "kv_blocks", "reset", "ready_s", "ask_s", "reset_s")
#: How long to wait for the end of a stream that has said it is done: then its connection can be used again [s].
_DRAIN_S = 0.1


class HttpOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a server is spoken to.

    Args:
        model: its name there; "" for the only one that ``/v1/models`` names.
        block_tokens: tokens in a KV block, where the server does not tell; 0: it has to [token].
        kv_blocks: KV blocks, where the server does not tell; None if not known [block].
        vocabulary: token ids of prompts run below it; not more than the model's [token id].
        reset: how the cache is emptied between runs: ``endpoint`` (by vLLM's ``/reset_prefix_cache``, which needs
            VLLM_SERVER_DEV_MODE=1, or SGLang's ``/flush_cache``), ``salt`` (not at all: the caller takes other prompts
            in each run), ``auto`` (by the endpoint if there is one).
        ignore_eos: ask for exact lengths in the way of vLLM and SGLang; False for servers that refuse the word.
        connect_s: a connection takes no longer [s].
        ready_s: so long a server is waited for that is not ready [s].
        ask_s: an answer to anything but a completion takes no longer [s].
        reset_s: so long a server is waited for that is too busy to empty its cache [s].
    """

    model: str = ""
    block_tokens: int = 16
    kv_blocks: int | None = None
    vocabulary: int = 32_000
    reset: str = "auto"
    ignore_eos: bool = True
    connect_s: float = 5.0
    ready_s: float = 10.0
    ask_s: float = 10.0
    reset_s: float = 10.0

    def checked(self) -> HttpOptions:
        """The options themselves, if they can be.

        Raises:
            BadInput: naming the field.
        """
        if self.block_tokens != 0:
            REQUEST_DOMAINS["block_tokens"].check("block_tokens", self.block_tokens)
        if self.kv_blocks is not None:
            _BLOCKS.check("kv_blocks", self.kv_blocks)
        VOCABULARY.check("vocabulary", self.vocabulary)
        if self.reset not in RESETS:
            raise BadInput("reset", self.reset, f"one of {', '.join(RESETS)}")
        for name in ("connect_s", "ready_s", "ask_s", "reset_s"):
            _SECONDS.check(name, getattr(self, name))
        return self


class OpenAIEngine:
    """One server.

    Args:
        name: id of the instance.
        url: where it is, ``http://HOST:PORT``; a ``/v1`` at the end is left out.
        options: how it is spoken to.

    Raises:
        BadInput: for an address or options that cannot be.

    Example:
        >>> OpenAIEngine("a", "http://127.0.0.1:8000/v1").url
        'http://127.0.0.1:8000'
    """

    def __init__(self, name: str, url: str, options: HttpOptions | None = None) -> None:
        self.name, self.options = name, (HttpOptions() if options is None else options).checked()
        self._server = Server(name, url, connect_s=self.options.connect_s, ask_s=self.options.ask_s)
        self.url, self.model = self._server.url, self.options.model
        self.block_tokens, self.kv_blocks = self.options.block_tokens, self.options.kv_blocks
        self.about: dict[str, str] = {}
        self._jobs: dict[asyncio.Task[None], CancelScope] = {}
        self._reset_path: str | None = None
        self._tells_cached = self._has_served = False

    @property
    def resets(self) -> bool:
        """Whether :meth:`reset_cache` empties the cache; known after :meth:`start`."""
        return self._reset_path is not None

    async def start(self) -> None:
        """Wait for the server, and ask for its model and its cache, which is emptied if it can be.

        Raises:
            EngineFailure: if it cannot be reached, is not ready in time, or its model or blocks cannot be known.
        """
        self._server.open()
        try:
            await until_ready(self._server, self.options.ready_s)
            self.model = self.options.model or await find_model(self._server)
            self.about = {"model": self.model, **await find_version(self._server)}
            await self._find_shape()
            await self._find_reset()
        except BaseException:
            await self.close()
            raise

    async def _find_shape(self) -> None:
        """Blocks as the server tells them; what was given otherwise."""
        shape = await find_cache_shape(self._server)
        self.block_tokens = shape.block_tokens or self.options.block_tokens
        self.kv_blocks = shape.kv_blocks or self.options.kv_blocks
        if not self.block_tokens:
            raise EngineFailure(f"{self.name} does not tell how many tokens its KV blocks hold: give block_tokens")

    async def _find_reset(self) -> None:
        """Empty the cache, if that is wanted and can be."""
        self._reset_path = None
        for path in _RESET_PATHS if self.options.reset != "salt" else ():
            status, _ = await self._server.ask("POST", path)
            if status not in _ABSENT:
                self._reset_path = path
                await self.reset_cache()  # that it answered does not say that it could
                return
        if self.options.reset == "endpoint":
            raise EngineFailure(
                f"{self.name} has neither of {' and '.join(_RESET_PATHS)}: start vLLM with VLLM_SERVER_DEV_MODE=1, or "
                "take reset=salt"
            )

    async def submit(self, job: Job) -> AsyncGenerator[Event, None]:
        """The events of a job; see :class:`replay.engines.protocol.Engine`.

        Raises:
            BadInput: for a job without token ids.
        """
        if not job.prompt_ids:
            raise BadInput("prompt_ids", job.prompt_ids, "the token ids of the prompt", "give the runner Prompts")
        queue: asyncio.Queue[Event | BaseException] = asyncio.Queue()

        def ended(task: asyncio.Task[None]) -> None:
            self._jobs.pop(task, None)
            fault = EngineFailure(f"{self.name} was closed") if task.cancelled() else task.exception()
            if fault is not None:
                queue.put_nowait(fault)

        scope = cancel_scope()
        task = asyncio.get_running_loop().create_task(self._complete(job, queue, scope))
        self._jobs[task] = scope
        task.add_done_callback(ended)
        try:
            while True:
                event = await queue.get()
                if isinstance(event, BaseException):
                    raise event
                yield event
                if isinstance(event, Finished):
                    return
        finally:
            scope.cancel()
            await asyncio.wait([task])

    async def _complete(self, job: Job, queue: asyncio.Queue[Event | BaseException], scope: CancelScope) -> None:
        """Ask for a completion, and put what it tells into the queue."""
        loop = asyncio.get_running_loop()
        reply = Reply(self.name, len(job.prompt_ids), job.request.output_tokens)
        pieces = self._server.stream("/v1/completions", self._body(job), "text/event-stream", lambda: reply.progress)
        with scope, self._hinting():
            async with contextlib.aclosing(pieces):
                async for piece in pieces:
                    for event in reply.hear(piece, loop.time()):
                        queue.put_nowait(event)
                    if reply.done:
                        await drain(pieces, _DRAIN_S)
                        break
        if scope.cancelled_caught:
            raise EngineFailure(f"{self.name} was closed")
        for event in reply.end():
            self._has_served = True
            queue.put_nowait(self._with_cached(event) if isinstance(event, Finished) else event)

    @contextlib.contextmanager
    def _hinting(self) -> Iterator[None]:
        """A server that has not served anything yet may break on token ids that its model does not know.

        vLLM's engine then ends, and tells no more than that it did; no server tells how many ids its model knows.
        """
        try:
            yield
        except ServerBroke as fault:
            if self._has_served:
                raise
            ids = self.options.vocabulary
            hint = f"if its model knows fewer than {ids} token ids, say so: --engine http:vocabulary=N"
            raise EngineFailure(f"{fault} ({hint})") from None

    def _body(self, job: Job) -> bytes:
        wanted = {
            "model": self.model,
            "prompt": job.prompt_ids,
            "max_tokens": job.request.output_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        }
        return msgspec.json.encode(wanted | ({"ignore_eos": True} if self.options.ignore_eos else {}))

    def _with_cached(self, end: Finished) -> Finished:
        """Servers that tell cached tokens leave them out where there are none (SGLang, and vLLM before it told 0)."""
        self._tells_cached = self._tells_cached or end.cached_tokens is not None
        if self._tells_cached and end.cached_tokens is None:
            return msgspec.structs.replace(end, cached_tokens=0)
        return end

    async def gauges(self) -> Gauges:
        """What the server tells of its load now.

        Raises:
            EngineFailure: if it does not answer.
        """
        status, body = await self._server.ask("GET", "/metrics")
        return read_gauges(body.decode(errors="replace")) if status < 400 else Gauges()

    async def reset_cache(self) -> None:
        """Empty the cache by the server's endpoint; nothing where :attr:`resets` is False.

        vLLM answers with 200 even if it could not, because a request still holds blocks; newer ones then say
        ``{"success": false}``. So it is asked once it says that nothing runs there, and again if it says so.
        """
        if self._jobs:
            raise EngineFailure(f"{self.name} has open jobs, so its cache cannot be reset")
        if self._reset_path is None:
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.options.reset_s
        while True:
            load = await self.gauges()
            if not load.running and not load.waiting:
                status, body = await self._server.ask("POST", self._reset_path)
                refused = _refused(body)
                if status < 400 and not refused:
                    return
                fault = f"{self._reset_path} answered {status}: {said(body)}"
                busy = status in _BUSY or refused
            else:
                fault, busy = f"{load.running} requests run and {load.waiting} wait there, none of them ours", True
            if not busy or loop.time() + POLL_S > deadline:
                raise EngineFailure(f"the cache of {self.name} cannot be emptied: {fault}")
            await asyncio.sleep(POLL_S)

    async def close(self) -> None:
        """Abort open jobs and give all connections back."""
        jobs = dict(self._jobs)
        for scope in jobs.values():
            scope.cancel()
        if jobs:
            await asyncio.wait(jobs)
        await self._server.close()


def _refused(body: bytes) -> bool:
    """Whether an answer says that what was asked for was not done.

    Example:
        >>> _refused(b'{"success": false}'), _refused(b'{"success": true}'), _refused(b"")
        (True, False, False)
    """
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return isinstance(found, dict) and found.get("success") is False
