"""What a router knows of its instances, kept up to date by what it sees.

The three information levels differ only in which of these methods are called: a plain proxy sees dispatch,
first token and end; KV events add the cache; a patched engine also reports admission and every chunk of prefill.
Events about unknown or already ended requests, and events that cannot be (a request dispatched twice, a negative number
of tokens, prefill of a request that has its first token), are counted and ignored; counters never go below zero.
"""

from __future__ import annotations

from enum import Enum

from scheduler.domains import Domain
from scheduler.errors import BadInput

#: Prior for the expected output length, weighted as one observed request [token].
PRIOR_OUTPUT_TOKENS = 256


_COUNT = Domain(1, integer=True, unit="instance")


class Level(Enum):
    """How much the router can see."""

    PROXY = "proxy"
    EVENTS = "events"
    PER_STEP = "per_step"


class _Open:
    """A request in flight, as the router books it."""

    __slots__ = ("instance", "prefilling", "prompt_tokens", "queued_tokens")

    def __init__(self, instance: int, queued_tokens: int, prompt_tokens: int) -> None:
        self.instance, self.queued_tokens, self.prompt_tokens = instance, queued_tokens, prompt_tokens
        self.prefilling = True


class Accounting:
    """Counters of every instance; the columns have the names of :class:`scheduler.state.ClusterState`.

    Args:
        instance_count: number of instances, >= 1.

    Attributes:
        running, waiting, queued_prefill_tokens, context_tokens: one entry an instance.
        ignored: events that named no request in flight, or that could not be.
    """

    __slots__ = (
        "_ended",
        "_open",
        "_output_tokens",
        "context_tokens",
        "ignored",
        "queued_prefill_tokens",
        "running",
        "waiting",
    )

    def __init__(self, instance_count: int) -> None:
        _COUNT.check("instance_count", instance_count)
        self.running = [0] * instance_count
        self.waiting = [0] * instance_count
        self.queued_prefill_tokens = [0] * instance_count
        self.context_tokens = [0] * instance_count
        self.ignored = 0
        self._open: dict[int, _Open] = {}
        self._ended = 1
        self._output_tokens = PRIOR_OUTPUT_TOKENS

    def expected_output_tokens(self) -> float:
        """Mean output length of the requests that ended, with a prior of one request [token]."""
        return self._output_tokens / self._ended

    def dispatched(self, request_id: int, instance: int, new_tokens: int, prompt_tokens: int) -> None:
        """A request was sent to an instance, with so many tokens believed uncached.

        Raises:
            BadInput: if there is no such instance, or a number of tokens is negative.
        """
        if not 0 <= instance < len(self.running):
            raise BadInput("instance", instance, f"an index >= 0 and < {len(self.running)}")
        if new_tokens < 0 or prompt_tokens < 0:
            name = "new_tokens" if new_tokens < 0 else "prompt_tokens"
            raise BadInput(name, min(new_tokens, prompt_tokens), "an integer >= 0 [token]")
        if request_id in self._open:
            self.ignored += 1
            return
        self._open[request_id] = _Open(instance, new_tokens, prompt_tokens)
        self.waiting[instance] += 1
        self.queued_prefill_tokens[instance] += new_tokens
        self.context_tokens[instance] += prompt_tokens

    def first_token(self, request_id: int) -> None:
        """Its prefill is done: whatever was still booked as queued is released."""
        entry = self._open.get(request_id)
        if entry is None or not entry.prefilling:
            self.ignored += 1
            return
        entry.prefilling = False
        i = entry.instance
        self.waiting[i] -= 1
        self.running[i] += 1
        self.queued_prefill_tokens[i] -= entry.queued_tokens
        entry.queued_tokens = 0

    def ended(self, request_id: int, output_tokens: int | None = None) -> None:
        """It finished or failed; ``output_tokens`` feeds the expected output length if given."""
        entry = self._open.pop(request_id, None)
        if entry is None:
            self.ignored += 1
            return
        i = entry.instance
        if entry.prefilling:
            self.waiting[i] -= 1
        else:
            self.running[i] -= 1
        self.queued_prefill_tokens[i] -= entry.queued_tokens
        self.context_tokens[i] -= entry.prompt_tokens
        if output_tokens is None:
            return
        if output_tokens < 0:
            self.ignored += 1
        else:
            self._ended += 1
            self._output_tokens += output_tokens

    def corrected(self, request_id: int, new_tokens: int) -> None:
        """The engine says how many tokens are really left to prefill (at admission, or after a preemption)."""
        entry = self._open.get(request_id)
        if entry is None or not entry.prefilling or new_tokens < 0:
            self.ignored += 1
            return
        self.queued_prefill_tokens[entry.instance] += new_tokens - entry.queued_tokens
        entry.queued_tokens = new_tokens

    def progressed(self, request_id: int, tokens: int) -> None:
        """So many prefill tokens were computed."""
        entry = self._open.get(request_id)
        if entry is None or not entry.prefilling or tokens < 0:
            self.ignored += 1
            return
        done = min(tokens, entry.queued_tokens)
        entry.queued_tokens -= done
        self.queued_prefill_tokens[entry.instance] -= done

    def preempted(self, request_id: int, new_tokens: int) -> None:
        """It was pushed out and waits again with so many tokens to compute."""
        entry = self._open.get(request_id)
        if entry is None or new_tokens < 0:
            self.ignored += 1
            return
        if not entry.prefilling:
            entry.prefilling = True
            self.running[entry.instance] -= 1
            self.waiting[entry.instance] += 1
        self.corrected(request_id, new_tokens)
