"""What a router can know of its cluster, in plain sets and dictionaries; ``test_router_machine.py`` compares."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from scheduler import Request
from scheduler.router import Router
from scheduler.testing.deciding import product_indicators

BLOCK = 16
#: Kinds that promise that no other candidate has fewer tokens and a smaller batch.
PROMISED = ("replicate", "filter", "probe_cold")


def chained(steps: tuple[int, ...]) -> tuple[int, ...]:
    """Keys that name their whole chain: a prefix is a number in base 3."""
    keys, key = [], 0
    for step in steps:
        key = 3 * key + step + 1
        keys.append(key)
    return tuple(keys)


INSTANCES = ("a", "b", "c", "d", "e")
HOT = (0, 0, 0, 0)
PATHS = [HOT, HOT, (0, 0), (0, 0, 1), (1,), (1, 2), (0, 1, 1), (2,) * 5, ()]
ALL_PATHS = [chained(path) for path in dict.fromkeys(PATHS)]


def request_of(name: int, keys: tuple[int, ...], extra: int, now_s: float) -> Request:
    tokens = max(1, len(keys) * BLOCK + extra)
    return Request(id=name, arrival_s=now_s, prompt_tokens=tokens, block_keys=keys, block_tokens=BLOCK)


@dataclass
class Open:
    """A request in flight."""

    instance: str
    queued: int
    prompt: int
    prefilling: bool
    heard_s: float
    keys: tuple[int, ...]


@dataclass
class Model:
    """The cluster as one router can know it.

    Args:
        history: whether blocks are learned from what is routed.
        lost_after_s: a request of which nothing was heard for so long is given up.
        held: blocks on every instance that is there.
        draining: instances that get nothing new.
        open: requests in flight, in order of dispatch.
        mine: names of those this router sent.
        over: names of requests that ended, however.
        computed: names whose first token came before anything else.
        ignored: events that could not be.
        now_s: the latest time.
    """

    history: bool
    lost_after_s: float
    held: dict[str, set[int]]
    draining: set[str] = field(default_factory=set)
    open: dict[Any, Open] = field(default_factory=dict)
    mine: set[Any] = field(default_factory=set)
    over: set[Any] = field(default_factory=set)
    computed: set[Any] = field(default_factory=set)
    ignored: int = 0
    now_s: float = 0.0

    def at(self, now_s: float) -> None:
        """Time never runs backwards."""
        self.now_s = max(self.now_s, now_s)

    def hit_blocks(self, instance: str, keys: tuple[int, ...]) -> int:
        """The longest prefix of a prompt whose blocks are all there."""
        held = self.held[instance]
        return next((depth for depth, key in enumerate(keys) if key not in held), len(keys))

    def close(self, name: Any) -> None:
        """A request is over."""
        del self.open[name]
        self.mine.discard(name)
        self.over.add(name)

    def sent(self, name: Any, instance: str, new: int, prompt: int, keys: tuple[int, ...]) -> None:
        """The router sent a request itself; it takes the place of another router's of that name."""
        if name in self.open:
            self.ignored += 1
            self.close(name)
        self._opened(name, Open(instance, new, prompt, True, self.now_s, keys))
        self.mine.add(name)

    def heard(self, name: Any, instance: str, new: int, prompt: int, keys: tuple[int, ...]) -> None:
        """Another router sent a request."""
        if instance not in self.held or name in self.open or name in self.over:
            self.ignored += 1
            return
        early = name in self.computed
        self.computed.discard(name)
        self._opened(name, Open(instance, 0 if early else new, prompt, not early, self.now_s, keys))

    def _opened(self, name: Any, entry: Open) -> None:
        self.open[name] = entry
        if self.history:
            self.held[entry.instance].update(entry.keys)

    def first_token(self, name: Any) -> None:
        entry = self.open.get(name)
        if entry is None or not entry.prefilling:
            self.ignored += 1
            if entry is None and name not in self.over:
                self.computed.add(name)
            return
        entry.prefilling, entry.queued, entry.heard_s = False, 0, self.now_s

    def prefill_progress(self, name: Any, tokens: int) -> None:
        entry = self.open.get(name)
        if entry is None or not entry.prefilling or tokens < 0:
            self.ignored += 1
            return
        entry.queued, entry.heard_s = max(0, entry.queued - tokens), self.now_s

    def admitted(self, name: Any, new: int) -> None:
        entry = self.open.get(name)
        if entry is None or not entry.prefilling or new < 0:
            self.ignored += 1
            return
        entry.queued, entry.heard_s = new, self.now_s

    def preempted(self, name: Any, new: int) -> None:
        entry = self.open.get(name)
        if entry is None or new < 0:
            self.ignored += 1
            return
        entry.queued, entry.heard_s, entry.prefilling = new, self.now_s, True

    def finish(self, name: Any, output: int | None = None) -> None:
        known = name in self.open
        if known:
            self.close(name)
        else:
            self.over.add(name)
            self.computed.discard(name)
        if not known or (output is not None and output < 0):
            self.ignored += 1

    def fail(self, name: Any) -> None:
        self.finish(name)

    def kv_event(
        self,
        instance: str,
        *,
        stored: tuple[int, ...] = (),
        after: int | None = None,  # noqa: ARG002 - where blocks hang follows from their keys
        removed: tuple[int, ...] = (),
        cleared: bool = False,
    ) -> None:
        if instance not in self.held or self.history:
            self.ignored += 1
            return
        held = self.held[instance]
        if cleared:
            held.clear()
        held.difference_update(removed)
        held.update(stored)

    def reclaim(self) -> list[Any]:
        """Requests silent for too long."""
        silent = [name for name, entry in self.open.items() if entry.heard_s + self.lost_after_s <= self.now_s]
        for name in silent:
            self.close(name)
        return silent

    def join(self, instance: str) -> None:
        self.held.setdefault(instance, set())
        self.draining.discard(instance)

    def leave(self, instance: str) -> list[Any]:
        """The requests that were open there, in order of dispatch."""
        lost = [name for name, entry in self.open.items() if entry.instance == instance]
        for name in lost:
            self.close(name)
        del self.held[instance]
        self.draining.discard(instance)
        return lost

    def blocks_in_use(self, instance: str) -> int:
        """Distinct blocks of the requests in flight on an instance."""
        return len({key for entry in self.open.values() if entry.instance == instance for key in entry.keys})

    def counters(self, instance: str) -> tuple[int, int, int, int]:
        """Running, waiting, queued prefill and context of an instance."""
        here = [entry for entry in self.open.values() if entry.instance == instance]
        waiting = sum(entry.prefilling for entry in here)
        queued, context = sum(entry.queued for entry in here), sum(entry.prompt for entry in here)
        return len(here) - waiting, waiting, queued, context


def fingerprint(router: Router) -> Any:
    """All that later answers depend on, but for the clock and the count of what was ignored."""
    saved = msgspec.to_builtins(router._ledger.accounting.save())
    saved = {name: value for name, value in saved.items() if name not in ("ignored", "now_s")}
    for name in ("ended", "computed"):
        saved[name] = set().union(*saved[name])
    saved["computed"] -= saved["ended"]  # a first token of what is over says nothing more
    hits = [router._ledger.index.hit_tokens(keys, BLOCK) for keys in ALL_PATHS]
    guard = router._guard
    return saved, hits, router.instances, guard.pending, list(guard._sent), set(guard.monitor._residents)


def mitigation_keeps_its_promises(request: Request, done: Any) -> None:
    """It chooses among its candidates, and no other of them is better in both."""
    found = done.mitigation
    if found is None:
        assert done.instance == done.rule_instance
        return
    assert found.instance == done.index
    assert found.instance in found.candidates
    if found.kind == "none":
        assert done.instance == done.rule_instance
    if found.kind in PROMISED:
        loads = product_indicators(done.state, request)
        tokens, batch = mine = loads[done.index]
        others = [loads[i] for i in found.candidates if loads[i] != mine]
        assert not [load for load in others if load[0] <= tokens and load[1] <= batch]
