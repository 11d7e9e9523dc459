"""Columns of the routable instances, as rules, detector and mitigation read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scheduler.accounting import Accounting
from scheduler.cost import StepTime
from scheduler.errors import BadInput
from scheduler.slots import Slots
from scheduler.state import ClusterState

#: Columns that are the engine times of an instance, by the names that :class:`StepTime` gives them.
_TIMES = ("prefill_s_per_token", "decode_s_per_request", "base_s", "kv_s_per_token", "attention_s_per_pair")


class View:
    """What is known of every routable instance at one decision; the columns of :class:`ClusterState` as lists.

    While every slot is routable the columns are the counters themselves, not copies of them.

    Args:
        needs: optional columns that somebody reads.
        step_times: engine times by id, or one for all instances, or None.
        kv_tokens: KV capacity of an instance, or None [token].

    Raises:
        BadInput: if a column is needed and what it follows from is not given.
    """

    __slots__ = (
        "_divides",
        "_kv_tokens",
        "_wants_kv_use",
        "active_blocks",
        "added_blocks",
        "attention_s_per_pair",
        "base_s",
        "context_tokens",
        "decode_s_per_request",
        "hit_tokens",
        "ids",
        "kv_s_per_token",
        "kv_used_fraction",
        "now_s",
        "prefill_s_per_token",
        "queued_prefill_tokens",
        "running",
        "step_times",
        "updated_s",
        "waiting",
    )

    def __init__(
        self,
        needs: Sequence[str],
        step_times: Mapping[str, StepTime] | StepTime | None,
        kv_tokens: int | None,
    ) -> None:
        self.step_times, self._kv_tokens = step_times, kv_tokens
        self._wants_kv_use = "kv_used_fraction" in needs
        if self._wants_kv_use and kv_tokens is None:
            raise BadInput("kv_tokens", None, "the KV capacity of an instance, because the rule reads kv_used_fraction")
        if step_times is None and set(_TIMES) & set(needs):
            raise BadInput("step_times", None, "engine times, because the rule reads them")
        self._divides = "prefill_s_per_token" in needs
        self.ids: tuple[str, ...] = ()
        self.now_s = 0.0
        self.running: list[int] = []
        self.waiting: list[int] = []
        self.queued_prefill_tokens: list[int] = []
        self.hit_tokens: list[int] = []
        self.context_tokens: list[int] = []
        self.updated_s: list[float] | None = None
        self.kv_used_fraction: list[float] | None = None
        self.active_blocks: list[int] | None = None
        self.added_blocks: list[int] | None = None
        self.prefill_s_per_token: list[float] | None = None
        self.decode_s_per_request: list[float] | None = None
        self.base_s: list[float] | None = None
        self.kv_s_per_token: list[float] | None = None
        self.attention_s_per_pair: list[float] | None = None

    def settle(self, slots: Slots) -> None:
        """The set of routable instances has changed.

        Raises:
            BadInput: if engine times are given by id and one is missing.
        """
        self.ids = slots.ids
        times = self.step_times
        if times is None:
            return
        for name in slots.ids:
            self.check_times(name)
        each = [times if isinstance(times, StepTime) else times[name] for name in slots.ids]
        for column in _TIMES:
            setattr(self, column, [float(getattr(time, column)) for time in each])

    def check_times(self, name: str) -> None:
        """Check that the engine times of an instance are known, if any are, and that the rule can read them.

        Raises:
            BadInput: if they are given by id and this one is missing, or if prefill takes no time and the rule measures
                other times in it.
        """
        times = self.step_times
        if times is None:
            return
        if not isinstance(times, StepTime) and name not in times:
            raise BadInput(f"step_times[{name!r}]", None, "a StepTime for every instance")
        time = times if isinstance(times, StepTime) else times[name]
        if self._divides and not time.prefill_s_per_token:
            raise BadInput(
                "step_times", time, "prefill_s_per_token > 0, because the rule reads it", "fit steps that have prefill"
            )

    def refresh(self, counters: Accounting, slots: Slots, hit_tokens: list[int], now_s: float) -> None:
        """Bring every column up to date for one decision."""
        self.now_s = now_s
        if slots.whole:
            self.running, self.waiting = counters.running, counters.waiting
            self.queued_prefill_tokens = counters.queued_prefill_tokens
            self.context_tokens, self.updated_s = counters.context_tokens, counters.progress_at_s
            self.hit_tokens = hit_tokens
        else:
            places = slots.routable
            self.running = [counters.running[slot] for slot in places]
            self.waiting = [counters.waiting[slot] for slot in places]
            self.queued_prefill_tokens = [counters.queued_prefill_tokens[slot] for slot in places]
            self.context_tokens = [counters.context_tokens[slot] for slot in places]
            self.updated_s = [counters.progress_at_s[slot] for slot in places]
            self.hit_tokens = [hit_tokens[slot] for slot in places]
        if self._wants_kv_use:
            assert self._kv_tokens is not None
            self.kv_used_fraction = [min(1.0, tokens / self._kv_tokens) for tokens in self.context_tokens]

    def refresh_blocks(self, slots: Slots, active: list[int], added: list[int]) -> None:
        """Bring the columns of blocks in use up to date, where they are kept; both by slot [block]."""
        if slots.whole:
            self.active_blocks, self.added_blocks = active, added
        else:
            self.active_blocks = [active[slot] for slot in slots.routable]
            self.added_blocks = [added[slot] for slot in slots.routable]

    def state(self) -> ClusterState:
        """A frozen copy."""
        optional: dict[str, Any] = {}
        for name in ("kv_used_fraction", "active_blocks", "added_blocks", *_TIMES):
            column = getattr(self, name)
            optional[name] = None if column is None else tuple(column)
        return ClusterState(
            ids=self.ids,
            running=tuple(self.running),
            waiting=tuple(self.waiting),
            queued_prefill_tokens=tuple(self.queued_prefill_tokens),
            hit_tokens=tuple(self.hit_tokens),
            context_tokens=tuple(self.context_tokens),
            now_s=self.now_s,
            updated_s=None if self.updated_s is None else tuple(self.updated_s),
            **optional,
        )
