"""What a router knows of its instances, kept up to date by what it sees.

The three information levels differ only in which of these methods are called: a plain proxy sees dispatch,
first token and end; KV events add the cache; a patched engine also reports admission and every chunk of prefill.

Events may be lost, duplicated and reordered. Those about unknown or ended requests, and those that cannot be (a request
dispatched twice, a negative number of tokens, prefill of a request that has its first token), are counted and ignored;
counters never go below zero. Two things are remembered for a while, for requests that another router dispatched: ids
that ended, so that a dispatch heard later opens nothing, and ids whose first token came before their dispatch. A
request that is never heard of again is given up by :meth:`Accounting.reclaim`.

There is no clock: who wants requests reclaimed gives the time of every event. A time before the latest counts as the
latest. Source of what is booked when: docs/notes/2026-11-23-what-the-router-believes.md.
"""

from __future__ import annotations

from collections.abc import Hashable
from copy import copy

from scheduler.accounting_state import AccountingState, Level, OpenRequest
from scheduler.domains import Domain
from scheduler.errors import BadInput
from scheduler.request_memory import LastHeard, RecentIds

__all__ = ["PRIOR_OUTPUT_TOKENS", "REMEMBERED_REQUESTS", "Accounting", "Level"]

#: Prior for the expected output length, weighted as one observed request [token].
PRIOR_OUTPUT_TOKENS = 256

#: Ended requests remembered at least: minutes at a hundred requests a second, some megabytes.
REMEMBERED_REQUESTS = 16_384

_COUNT = Domain(1, integer=True, unit="instance")
_REMEMBER = Domain(1, integer=True, unit="request")


class Accounting:
    """Counters of every instance; the columns have the names of :class:`scheduler.state.ClusterState`.

    Args:
        instance_count: number of instances, >= 1.
        remember: ended requests that are remembered at least, >= 1.

    Attributes:
        running, waiting, queued_prefill_tokens, context_tokens: one entry an instance; the lists stay the same objects.
        progress_at_s: when an instance last showed progress: a first token, prefill progress, a request that finished,
            or the dispatch that ended its idleness; 0 if none was told with its time [s].
        ignored: events that named no request in flight, or that could not be.

    Example:
        >>> books = Accounting(2)
        >>> books.dispatched("a", 0, 100, 160, now_s=1.0); books.dispatched("b", 0, 7, 7, now_s=2.0)
        >>> books.first_token("a", now_s=3.0)
        >>> books.running, books.waiting, books.queued_prefill_tokens, books.context_tokens, books.progress_at_s
        ([1, 0], [1, 0], [7, 0], [167, 0], [3.0, 0.0])
        >>> books.reclaim(now_s=9.0, lost_after_s=7.0), len(books)
        (['b'], 1)
    """

    __slots__ = (
        "_computed",
        "_ended",
        "_ended_count",
        "_last_heard",
        "_open",
        "_output_tokens",
        "context_tokens",
        "ignored",
        "progress_at_s",
        "queued_prefill_tokens",
        "running",
        "waiting",
    )

    def __init__(self, instance_count: int, remember: int = REMEMBERED_REQUESTS) -> None:
        _COUNT.check("instance_count", instance_count)
        _REMEMBER.check("remember", remember)
        self.running: list[int] = []
        self.waiting: list[int] = []
        self.queued_prefill_tokens: list[int] = []
        self.context_tokens: list[int] = []
        self.progress_at_s: list[float] = []
        self.ignored = 0
        self._open: dict[Hashable, OpenRequest] = {}
        self._last_heard = LastHeard()
        self._ended, self._computed = RecentIds(remember), RecentIds(remember)
        self._ended_count, self._output_tokens = 1, PRIOR_OUTPUT_TOKENS
        self.grow(instance_count)

    def __len__(self) -> int:
        """Requests in flight."""
        return len(self._open)

    def expected_output_tokens(self) -> float:
        """Mean output length of the requests that ended, with a prior of one request [token]."""
        return self._output_tokens / self._ended_count

    def dispatched(
        self,
        request_id: Hashable,
        instance: int,
        new_tokens: int,
        prompt_tokens: int,
        now_s: float | None = None,
        *,
        heard: bool = False,
    ) -> None:
        """A request was sent to an instance, with so many tokens believed uncached.

        Args:
            request_id: a name that no other request in flight has.
            instance: index of the instance.
            new_tokens: tokens to prefill, >= 0 [token].
            prompt_tokens: length of the prompt, >= 0 [token].
            now_s: time [s].
            heard: whether another router sent it and we only hear of it. Its end or its first token may have been
                heard before. What we send ourselves is new, even if a request of that name ended (a second attempt).

        Raises:
            BadInput: if there is no such instance, or a number of tokens is negative.
        """
        if not 0 <= instance < len(self.running):
            raise self._no_instance(instance)
        if new_tokens < 0 or prompt_tokens < 0:
            name = "new_tokens" if new_tokens < 0 else "prompt_tokens"
            raise BadInput(name, min(new_tokens, prompt_tokens), "an integer >= 0 [token]")
        if request_id in self._open or (heard and request_id in self._ended):
            self.ignored += 1
            return
        if now_s is not None:
            now_s = self._last_heard.heard(request_id, now_s)
            if not self.waiting[instance] and not self.running[instance]:
                self.progress_at_s[instance] = now_s
        self.context_tokens[instance] += prompt_tokens
        if heard and request_id in self._computed:
            self._computed.discard(request_id)
            self.running[instance] += 1
            self._open[request_id] = OpenRequest(instance, 0, prompt_tokens, False)
        else:
            self.waiting[instance] += 1
            self.queued_prefill_tokens[instance] += new_tokens
            self._open[request_id] = OpenRequest(instance, new_tokens, prompt_tokens)

    def first_token(self, request_id: Hashable, now_s: float | None = None) -> None:
        """Its prefill is done: whatever was still booked as queued is released."""
        entry = self._open.get(request_id)
        if entry is None or not entry.prefilling:
            self.ignored += 1
            if entry is None and request_id not in self._ended:
                self._computed.add(request_id)
            return
        i = entry.instance
        if now_s is not None:
            self.progress_at_s[i] = self._last_heard.heard(request_id, now_s)
        entry.prefilling = False
        self.waiting[i] -= 1
        self.running[i] += 1
        self.queued_prefill_tokens[i] -= entry.queued_tokens
        entry.queued_tokens = 0

    def ended(self, request_id: Hashable, output_tokens: int | None = None, now_s: float | None = None) -> None:
        """It finished; ``output_tokens`` feeds the expected output length if given."""
        if now_s is not None:
            now_s = self._last_heard.time(now_s)
        entry = self._open.pop(request_id, None)
        ended = self._ended
        ended.new.add(request_id)
        if len(ended.new) >= ended.size:
            ended.turn()
        if entry is None:
            self.ignored += 1
            self._computed.discard(request_id)
            return
        if self._last_heard.times:
            self._last_heard.times.pop(request_id, None)
        i = entry.instance
        if entry.prefilling:
            self.waiting[i] -= 1
        else:
            self.running[i] -= 1
        self.queued_prefill_tokens[i] -= entry.queued_tokens
        self.context_tokens[i] -= entry.prompt_tokens
        if now_s is not None:
            self.progress_at_s[i] = now_s
        if output_tokens is None:
            return
        if output_tokens < 0:
            self.ignored += 1
        else:
            self._ended_count += 1
            self._output_tokens += output_tokens

    def failed(self, request_id: Hashable) -> None:
        """It ended without an answer, or its client went away: no sign that the instance makes progress."""
        self.ended(request_id)

    def corrected(self, request_id: Hashable, new_tokens: int, now_s: float | None = None) -> None:
        """The engine says how many tokens are really left to prefill (at admission, or after a preemption)."""
        entry = self._open.get(request_id)
        if entry is None or not entry.prefilling or new_tokens < 0:
            self.ignored += 1
            return
        if now_s is not None:
            self._last_heard.heard(request_id, now_s)
        self.queued_prefill_tokens[entry.instance] += new_tokens - entry.queued_tokens
        entry.queued_tokens = new_tokens

    def progressed(self, request_id: Hashable, tokens: int, now_s: float | None = None) -> None:
        """So many prefill tokens were computed."""
        entry = self._open.get(request_id)
        if entry is None or not entry.prefilling or tokens < 0:
            self.ignored += 1
            return
        if now_s is not None:
            self.progress_at_s[entry.instance] = self._last_heard.heard(request_id, now_s)
        done = min(tokens, entry.queued_tokens)
        entry.queued_tokens -= done
        self.queued_prefill_tokens[entry.instance] -= done

    def preempted(self, request_id: Hashable, new_tokens: int, now_s: float | None = None) -> None:
        """It was pushed out and waits again with so many tokens to compute."""
        entry = self._open.get(request_id)
        if entry is None or new_tokens < 0:
            self.ignored += 1
            return
        if now_s is not None:
            now_s = self._last_heard.time(now_s)
        if not entry.prefilling:
            entry.prefilling = True
            self.running[entry.instance] -= 1
            self.waiting[entry.instance] += 1
        self.corrected(request_id, new_tokens, now_s)

    def grow(self, instance_count: int) -> None:
        """There are at least so many instances from now on."""
        missing = instance_count - len(self.running)
        for column in (self.running, self.waiting, self.queued_prefill_tokens, self.context_tokens):
            column += [0] * missing
        self.progress_at_s += [0.0] * missing

    def reset(self, instance: int) -> list[Hashable]:
        """An instance is gone: its requests ended without an answer. Their ids, in order of dispatch.

        Raises:
            BadInput: if there is no such instance.
        """
        if not 0 <= instance < len(self.running):
            raise self._no_instance(instance)
        lost = [name for name, entry in self._open.items() if entry.instance == instance]
        for name in lost:
            self.ended(name)
        self.progress_at_s[instance] = 0.0
        return lost

    def reclaim(self, now_s: float, lost_after_s: float) -> list[Hashable]:
        """Give up the requests of which nothing was heard for so long; costs nothing if there are none.

        Returns:
            Their ids, the longest silent first.

        Raises:
            BadInput: if ``now_s`` is later than any time can be, or ``lost_after_s`` is not > 0.
        """
        if not lost_after_s > 0:
            raise BadInput("lost_after_s", lost_after_s, "a number > 0 [s]")
        self._last_heard.time(now_s)
        lost: list[Hashable] = []
        while (name := self._last_heard.silent(lost_after_s)) is not None:
            self.ended(name)
            lost.append(name)
        return lost

    def save(self) -> AccountingState:
        """All that is known, as plain values that are not changed by what comes."""
        return AccountingState(
            open=[(name, copy(entry)) for name, entry in self._open.items()],
            last_heard=list(self._last_heard.times.items()),
            slots=len(self.running),
            progress_at_s=list(self.progress_at_s),
            ended=self._ended.generations(),
            computed=self._computed.generations(),
            remember=self._ended.size,
            ended_count=self._ended_count,
            output_tokens=self._output_tokens,
            ignored=self.ignored,
            now_s=self._last_heard.now_s,
        )

    @classmethod
    def restore(cls, saved: AccountingState) -> Accounting:
        """Accounting that goes on where :meth:`save` was called."""
        books = cls(saved.slots, saved.remember)
        for name, entry in saved.open:
            i = entry.instance
            books._open[name] = copy(entry)
            (books.waiting if entry.prefilling else books.running)[i] += 1
            books.queued_prefill_tokens[i] += entry.queued_tokens
            books.context_tokens[i] += entry.prompt_tokens
        books._last_heard = LastHeard(saved.now_s, saved.last_heard)
        books.progress_at_s = list(saved.progress_at_s)
        books._ended, books._computed = (RecentIds(saved.remember, ids) for ids in (saved.ended, saved.computed))
        books._ended_count, books._output_tokens = saved.ended_count, saved.output_tokens
        books.ignored = saved.ignored
        return books

    def _no_instance(self, instance: int) -> BadInput:
        return BadInput("instance", instance, f"an index >= 0 and < {len(self.running)}")
