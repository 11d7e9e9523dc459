"""What a replay asks of an engine: take a job, tell what becomes of it, forget what is cached, close.

An engine is one instance: one model with its own KV cache and batch. A job is a prompt with the exact number of tokens
to generate. :meth:`Engine.submit` gives its events in the order in which they happened; to close the iteration aborts
the job. Times are those of the running event loop (``loop.time()``), taken where the engine learned of the event.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Protocol

import msgspec

from scheduler.state import Request


class Job(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One request for an engine.

    Args:
        request: what the trace said: id, lengths, keys of the prompt's blocks.
        prompt_ids: the prompt, ``request.prompt_tokens`` token ids.
    """

    request: Request
    prompt_ids: tuple[int, ...] = ()


class Admitted(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The job left the queue; again, if it was preempted.

    Args:
        at_s: when [s].
        new_tokens: tokens left to compute, or None if the engine does not tell [token].
        cached_tokens: prompt tokens taken from the cache at the first admission, or None likewise [token].
    """

    at_s: float
    new_tokens: int | None = None
    cached_tokens: int | None = None


class Progress(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Prefill tokens were computed.

    Args:
        at_s: when [s].
        tokens: how many, since the last such event [token].
    """

    at_s: float
    tokens: int


class Preempted(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The job was pushed out and waits again.

    Args:
        at_s: when [s].
        tokens: how many will be computed again [token].
    """

    at_s: float
    tokens: int


class Tokens(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Output tokens came; the first of a job ends its prefill.

    Args:
        at_s: when [s].
        count: how many, >= 1 [token].
    """

    at_s: float
    count: int = 1


class Finished(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The last event of a job that ended well.

    Args:
        at_s: when the last token came [s].
        output_tokens: how many came in all [token].
        cached_tokens: as in :class:`Admitted`, for engines that tell at the end.
    """

    at_s: float
    output_tokens: int
    cached_tokens: int | None = None


Event = Admitted | Progress | Preempted | Tokens | Finished

#: Told of blocks of one instance, in the event loop's thread: its name, keys that were stored, the key before the first
#: of them (None if they start a prompt), keys that were removed. What :meth:`scheduler.router.Router.kv_event` takes.
CacheSink = Callable[[str, tuple[int, ...], int | None, tuple[int, ...]], None]


class Engine(Protocol):
    """One instance of an inference engine."""

    @property
    def name(self) -> str:
        """Id of the instance, as the router knows it."""
        ...

    @property
    def block_tokens(self) -> int:
        """Tokens in a KV block; only full blocks are shared [token]."""
        ...

    @property
    def kv_blocks(self) -> int | None:
        """KV blocks, or None if not known [block]."""
        ...

    @property
    def resets(self) -> bool:
        """Whether :meth:`reset_cache` empties the cache; if not, a run without old hits needs prompts never seen."""
        ...

    @property
    def about(self) -> dict[str, str]:
        """What computes here, as the log of a run says it (model, versions), as far as it is known after the start."""
        ...

    async def start(self) -> None:
        """Be ready for jobs.

        Raises:
            EngineFailure: if it cannot be made ready, with what to do about it.
        """
        ...

    def submit(self, job: Job) -> AsyncGenerator[Event, None]:
        """The events of a job, which is queued at once; the iteration ends after :class:`Finished`.

        Raises:
            EngineFailure: from the iteration, if the engine broke or ended the job otherwise than it was asked to.
        """
        ...

    async def reset_cache(self) -> None:
        """Forget all that is cached; asked only while no job is open.

        Raises:
            EngineFailure: if the engine cannot.
        """
        ...

    async def close(self) -> None:
        """Give everything back; open jobs are aborted. To close twice changes nothing."""
        ...
