"""What one router knows of its cluster: members, requests in flight, caches; and how events change it.

No lock, no clock, no decisions: :class:`scheduler.router.Router` has those.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import msgspec

from scheduler.accounting import Accounting
from scheduler.accounting_state import AccountingState
from scheduler.active_blocks import ActiveBlocks
from scheduler.cost import StepTime
from scheduler.errors import BadInput
from scheduler.guard import Guard
from scheduler.history_index import HistoryIndex
from scheduler.index_state import HistoryIndexState, PrefixIndexState
from scheduler.prefix_index import PrefixIndex
from scheduler.router_config import RouterConfig
from scheduler.slots import Slots
from scheduler.state import Request
from scheduler.view import View


class LedgerState(msgspec.Struct, frozen=True, kw_only=True):
    """All that a :class:`Ledger` knows, from ``save()``.

    Args:
        names: id of the instance in every slot; empty where there is none.
        draining: slots that get no new requests.
        accounting: counters and requests in flight.
        index: who holds which block, where engines tell; else None.
        history: the same where it follows from what was routed; else None.
        active: which blocks are in use, if the rule asks; else None.
        blocks: those of every request in flight, if the rule asks.
        ignored: events about instances that are not there.
    """

    names: list[str]
    draining: list[int]
    accounting: AccountingState
    index: PrefixIndexState | None
    history: HistoryIndexState | None
    active: PrefixIndexState | None
    blocks: list[tuple[int | str, list[int]]]
    ignored: int


class Ledger:
    """Members, counters and caches of one cluster, as one router books them.

    Args:
        instances: ids of the instances.
        config: settings of the router.
        guard: of the router; it learns what becomes of requests.
        needs: optional columns that the rule reads.
        step_times: engine times by id, or one for all, or None.

    Attributes:
        slots: who is there.
        accounting: counters of every slot.
        index: who holds which block.
        history: the same where it is fed by what was routed, else None.
        active: which blocks are in use, if the rule asks, else None.
        view: columns of the routable instances.
        ignored: events about instances that are not there.
    """

    def __init__(
        self,
        instances: Sequence[str],
        config: RouterConfig,
        guard: Guard,
        needs: Sequence[str],
        step_times: Mapping[str, StepTime] | StepTime | None,
    ) -> None:
        self._config, self._guard = config, guard
        self.slots = Slots(instances)
        count = max(1, len(self.slots))
        self.accounting = Accounting(count)
        self.history: HistoryIndex | None = None
        if config.source == "history":
            self.history = HistoryIndex(count, config.capacity_blocks, config.ttl_s)
        self.index = PrefixIndex(count) if self.history is None else self.history.index
        self.view = View(needs, step_times, config.kv_tokens)
        self.view.settle(self.slots)
        self.active = ActiveBlocks(count) if {"active_blocks", "added_blocks"} & set(needs) else None
        self._blocks: dict[Hashable, tuple[int, Sequence[int]]] = {}  # slot and blocks of who is in flight, if so
        self._wants_output = "expected_output_tokens" in needs or step_times is not None
        self.ignored = 0
        guard.grow(count)

    def observe(self, request: Request, now_s: float) -> float | None:
        """Bring the view up to date for a request; its expected output length if anybody reads it [token]."""
        if self.history is not None:
            self.history.expire(now_s)
        hits = self.index.hit_tokens(request.block_keys, request.block_tokens, full_blocks(request))
        self.view.refresh(self.accounting, self.slots, hits, now_s)
        if self.active is not None:
            blocks = -(-request.prompt_tokens // request.block_tokens)
            self.view.refresh_blocks(self.slots, self.active.counts, self.active.added(request.block_keys, blocks))
        if not self._wants_output:
            return None
        known = request.expected_output_tokens
        return self.accounting.expected_output_tokens() if known is None else known

    def book(self, name: Hashable, request: Request, slot: int, new_tokens: int, now_s: float) -> None:
        """We sent a request to a slot; if another router's of that name is in flight, this one takes its place."""
        if not self._opened(name, request, slot, new_tokens, now_s, heard=False):
            self.failed(name)
            opened = self._opened(name, request, slot, new_tokens, now_s, heard=False)
            assert opened

    def heard(self, name: Hashable, request: Request, instance: str, new_tokens: int, now_s: float) -> None:
        """Another router sent a request; its end may have been heard before."""
        slot = self._slot(instance)
        if slot is not None:
            self._opened(name, request, slot, new_tokens, now_s, heard=True)

    def _opened(
        self, name: Hashable, request: Request, slot: int, new_tokens: int, now_s: float, *, heard: bool
    ) -> bool:
        """Book a request, and what it leaves in the cache; False, and nothing is changed, if it is booked or over."""
        books = self.accounting
        before = len(books)
        books.dispatched(name, slot, new_tokens, request.prompt_tokens, now_s, heard=heard)
        if len(books) == before:
            return False
        if self.history is not None:
            self.history.record(slot, request.block_keys[: full_blocks(request)], now_s)
        if self.active is not None:
            keys = request.block_keys[: -(-request.prompt_tokens // request.block_tokens)]
            self.active.add(slot, keys)
            self._blocks[name] = (slot, keys)
        return True

    def computed(self, name: Hashable, now_s: float) -> None:
        """The prefill of a request is done."""
        self.accounting.first_token(name, now_s)
        self._guard.computed(name)

    def ended(self, name: Hashable, output_tokens: int | None, now_s: float) -> None:
        """A request finished."""
        self.accounting.ended(name, output_tokens, now_s)
        self._gone(name)

    def failed(self, name: Hashable) -> None:
        """A request ended without an answer."""
        self.accounting.failed(name)
        self._gone(name)

    def _gone(self, name: Hashable) -> None:
        """A request is no longer in flight; what else was kept of it goes too."""
        self._guard.ended(name)
        if self.active is not None:
            slot, keys = self._blocks.pop(name, (0, ()))
            self.active.remove(slot, keys)

    def reclaim(self, now_s: float) -> list[Hashable]:
        """Give up requests of which nothing was heard for too long; their names."""
        if self._config.lost_after_s is None:
            return []
        lost = self.accounting.reclaim(now_s, self._config.lost_after_s)
        for name in lost:
            self._gone(name)
        return lost

    def booked(self) -> int:
        """All counters of all slots added up."""
        books = self.accounting
        return sum(map(sum, (books.running, books.waiting, books.queued_prefill_tokens, books.context_tokens)))

    def cache_changed(
        self, instance: str, stored: Sequence[int], after: int | None, removed: Sequence[int], cleared: bool
    ) -> None:
        """An engine says what it stored and evicted; of one call, in the order cleared, removed, stored."""
        slot = self._slot(instance)
        if slot is None:
            return
        if self.history is not None:  # two sources would contradict each other
            self.ignored += 1
            return
        if cleared:
            self.index.clear(slot)
        if removed:
            self.index.remove(slot, removed)
        if stored:
            self.index.add(slot, stored, after)

    def join(self, instance: str) -> None:
        """An instance comes, or is routable again."""
        self.view.check_times(instance)
        self.slots.join(instance)
        count = len(self.slots)
        self.accounting.grow(count)
        (self.index if self.history is None else self.history).grow(count)
        if self.active is not None:
            self.active.grow(count)
        self._guard.grow(count)
        self.view.settle(self.slots)

    def drain(self, instance: str) -> None:
        """No new requests for an instance."""
        self.slots.drain(instance)
        self.view.settle(self.slots)

    def leave(self, instance: str) -> list[Hashable]:
        """An instance is gone with all that it held; the requests that were open on it."""
        slot = self.slots.leave(instance)
        lost = self.accounting.reset(slot)
        for name in lost:
            self._gone(name)
        (self.index if self.history is None else self.history).clear(slot)
        self._guard.left(slot)
        self.view.settle(self.slots)
        return lost

    def save(self) -> LedgerState:
        """All that is known, as plain values that are not changed by what comes."""
        blocks: list[tuple[Any, list[int]]] = [(name, list(keys)) for name, (_, keys) in self._blocks.items()]
        return LedgerState(
            names=list(self.slots.names),
            draining=self.slots.draining_slots(),
            accounting=self.accounting.save(),
            index=self.index.save() if self.history is None else None,
            history=None if self.history is None else self.history.save(),
            active=None if self.active is None else self.active.save(),
            blocks=blocks,
            ignored=self.ignored,
        )

    def go_on(self, saved: LedgerState, guard: Guard) -> None:
        """Of a ledger that is new: it goes on where :meth:`save` was called on one with the same settings.

        Raises:
            BadInput: if what was saved has another source of knowledge, or no ledger looks like this.
        """
        self._guard = guard
        self.slots = Slots.restore(saved.names, saved.draining)
        self.accounting = Accounting.restore(saved.accounting)
        config = self._config
        if self.history is None and saved.index is not None:
            self.index = PrefixIndex.restore(saved.index)
        elif self.history is not None and saved.history is not None:
            self.history = HistoryIndex.restore(saved.history, config.capacity_blocks, config.ttl_s)
            self.index = self.history.index
        else:
            raise BadInput("index", None, f"what is known from {config.source}")
        if self.active is not None and saved.active is not None:
            slot_of = {name: entry.instance for name, entry in saved.accounting.open}
            self._blocks = {name: (slot_of[name], tuple(keys)) for name, keys in saved.blocks}
            self.active = ActiveBlocks.restore(saved.active, self._blocks.values())
        self.ignored = saved.ignored
        self.view.settle(self.slots)

    def _slot(self, instance: str) -> int | None:
        slot = self.slots.slot(instance)
        if slot is None:
            self.ignored += 1
        return slot


def full_blocks(request: Request) -> int:
    """Blocks of a prompt that an engine can share: the full ones of those that have a key."""
    return min(len(request.block_keys), request.prompt_tokens // request.block_tokens)
