"""One request inside the simulator, and the shape of an instance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from replay.sim.ticks import StepTicks, to_seconds
from scheduler.domains import Domain
from scheduler.errors import BadInput
from scheduler.state import End, Outcome, Request


class Sim:
    """A request with its progress; written by the instance it runs on.

    Attributes:
        request: what the trace said.
        path, blocks: the full blocks of the prompt as pools and indices name them, and how many; only full blocks can
            be shared.
        arrival, first_at, last_at: ticks; None until they happen.
        cached: prompt tokens taken from the cache at first admission [token].
        predicted_hit: what the router believed [token].
        generated: output tokens so far, kept up to date at events only.
        total, computed: tokens to prefill in this admission, and how many of them are computed or cached [token].
        held, private: shared blocks that it holds, and blocks of its own.
        order: admission number on the instance; a new one at each admission.
        finish_step: step of the instance in which the last token comes.
    """

    __slots__ = (
        "arrival",
        "blocks",
        "cached",
        "computed",
        "end",
        "finish_step",
        "first_at",
        "generated",
        "held",
        "instance",
        "last_at",
        "order",
        "output",
        "path",
        "predicted_hit",
        "preemptions",
        "private",
        "prompt",
        "reason",
        "request",
        "total",
    )

    def __init__(self, request: Request, arrival: int, path: Any, blocks: int) -> None:
        self.request = request
        self.prompt = request.prompt_tokens
        self.output = request.output_tokens
        self.path = path
        self.blocks = blocks
        self.arrival = arrival
        self.first_at: int | None = None
        self.last_at: int | None = None
        self.cached = self.predicted_hit = self.preemptions = 0
        self.generated = self.total = self.computed = self.held = self.private = 0
        self.order = self.finish_step = -1
        self.instance: int | None = None
        self.end: End | None = None
        self.reason = ""

    def outcome(self) -> Outcome:
        """The frozen result; the run must have settled the end."""
        assert self.end is not None, f"request {self.request.id} has no end"
        return Outcome(
            id=self.request.id,
            end=self.end,
            instance=self.instance,
            arrival_s=to_seconds(self.arrival),
            first_token_s=None if self.first_at is None else to_seconds(self.first_at),
            last_token_s=None if self.last_at is None else to_seconds(self.last_at),
            prompt_tokens=self.prompt,
            output_tokens=self.generated,
            cached_tokens=self.cached,
            predicted_hit_tokens=self.predicted_hit,
            preemptions=self.preemptions,
            reason=self.reason,
        )


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """Shape of one simulated instance.

    Args:
        ticks: step time.
        kv_blocks: capacity, >= 1 [block].
        block_tokens: tokens in a block [token].
        batch_tokens: tokens one step may process, prefill and decode together (chunked prefill budget) [token].
        max_batch: requests admitted at once [request]; less than ``batch_tokens``, so that a step always has room
            for prefill.
    """

    ticks: StepTicks
    kv_blocks: int
    block_tokens: int
    batch_tokens: int = 4096
    max_batch: int = 256

    def __post_init__(self) -> None:
        positive = Domain(1, 2**31, integer=True, unit="1")
        for name in ("kv_blocks", "block_tokens", "batch_tokens", "max_batch"):
            positive.check(name, getattr(self, name))
        if self.max_batch >= self.batch_tokens:
            raise BadInput("max_batch", self.max_batch, f"less than batch_tokens ({self.batch_tokens})")

    def fits(self, request: Request) -> bool:
        """Whether an empty instance can hold prompt and output at once."""
        return -(-(request.prompt_tokens + request.output_tokens) // self.block_tokens) <= self.kv_blocks


@dataclass(frozen=True, slots=True)
class Sinks:
    """Who is told what an instance does; None: nobody. ``i`` is the instance, ``t`` the tick.

    Args:
        first_token: ``(i, sim, t)`` a prefill is complete; the very first token of the request if
            ``sim.first_at == t``.
        finished: ``(i, sim, t)`` its last one.
        admitted: ``(i, sim, tokens, t)`` a request left the queue with so many tokens left to compute.
        progressed: ``(i, sim, tokens, t)`` prefill tokens were computed.
        preempted: ``(i, sim, tokens, t)`` a request was pushed out; so many tokens will be computed again.
        stored: ``(i, path, start, stop, t)`` these blocks of a path were computed and can be shared.
        removed: ``(i, evicted, t)`` blocks were evicted, as the pool names them. Evictions caused by the growth of
            decoding requests are told at the next change of the batch, before anything stored after them.
    """

    first_token: Callable[[int, Any, int], None] | None = None
    finished: Callable[[int, Any, int], None] | None = None
    admitted: Callable[[int, Any, int, int], None] | None = None
    progressed: Callable[[int, Any, int, int], None] | None = None
    preempted: Callable[[int, Any, int, int], None] | None = None
    stored: Callable[[int, Any, int, int, int], None] | None = None
    removed: Callable[[int, Any, int], None] | None = None
