"""The plain engine: one step at a time, everything looked at anew in each. Slow, and meant to be read.

A step at a boundary ``t``: (1) decoding requests take a block where they cross into one; if none can be had, the
request admitted last is preempted; (2) prefills in progress take what is left of the token budget, in order of
admission; (3) unless someone was preempted, waiting requests are admitted first come, first served, while budget,
batch and blocks last; the whole prompt must fit. At the end of the step computed blocks become visible, decoding
requests gain a token, and prefills that are complete produce one.

Source: scheduler of vLLM v1 (chunked prefill, decode first, recompute preemption of the last admitted).
:class:`replay.sim.instance.Instance` must give the same timeline (a property test).
"""

from __future__ import annotations

from collections import deque
from typing import Any

from replay.sim.sequence import InstanceSpec, Sim, Sinks
from scheduler.state import End


class ReferenceInstance:
    """One simulated instance, step by step.

    Args:
        index: of the instance.
        spec: its shape.
        sinks: who is told.
        pool: its KV blocks, empty.

    Attributes:
        next_at: tick at which :meth:`fire` must be called, or None while idle.
    """

    def __init__(self, index: int, spec: InstanceSpec, sinks: Sinks, pool: Any) -> None:
        self.index, self.spec, self.sinks = index, spec, sinks
        self.pool = pool
        self.waiting: deque[Sim] = deque()
        self.running: list[Sim] = []  # in order of admission, prefilling and decoding
        self.chunks: list[tuple[Sim, int]] = []  # prefill of the current step
        self.next_at: int | None = None
        self.step_count = 0

    def context_tokens_at(self, _at: int) -> int:
        """Tokens of all requests on the instance; the plain engine is never ahead of the clock [token]."""
        return sum(sim.prompt + sim.generated for sim in (*self.running, *self.waiting))

    def held_fraction_at(self, _at: int) -> float:
        """Share of the KV blocks that requests hold."""
        free: int = self.pool.available()
        return 1 - free / self.spec.kv_blocks

    def arrive(self, at: int, sim: Sim) -> None:
        """Queue a request; all events up to ``at`` have fired."""
        self.waiting.append(sim)
        if self.next_at is None:
            self._plan(at)

    def settle(self, _limit: int) -> int:
        """Nothing to do: the plain engine never runs ahead."""
        return 0

    def fire(self) -> None:
        """End the current step and plan the next."""
        assert self.next_at is not None
        now = self.next_at
        self.step_count += 1
        changed = bool(self.chunks)
        decoding = [sim for sim in self.running if sim.computed == sim.total]
        for sim, tokens in self.chunks:
            self._computed(sim, tokens, now)
        for sim in decoding:
            sim.generated += 1
            if sim.generated == sim.output:
                self._finish(sim, now)
                changed = True
        for sim, _ in self.chunks:
            if sim.computed == sim.total:
                self._first_of_admission(sim, now)
        if changed:
            self._tell_removed(now)
        self._plan(now)

    def _computed(self, sim: Sim, tokens: int, now: int) -> None:
        sim.computed += tokens
        if self.sinks.progressed:
            self.sinks.progressed(self.index, sim, tokens, now)
        visible = min(sim.computed // self.spec.block_tokens, sim.blocks)
        if visible > sim.held:
            self._tell_removed(now)
            self.pool.commit(sim.path, sim.held, visible)
            if self.sinks.stored:
                self.sinks.stored(self.index, sim.path, sim.held, visible, now)
            sim.private -= visible - sim.held
            sim.held = visible

    def _first_of_admission(self, sim: Sim, now: int) -> None:
        sim.generated += 1
        if sim.first_at is None:
            sim.first_at = now
        if self.sinks.first_token:
            self.sinks.first_token(self.index, sim, now)
        if sim.generated == sim.output:
            self._finish(sim, now)

    def _finish(self, sim: Sim, now: int) -> None:
        self.running.remove(sim)
        self.pool.release(sim.path, sim.held, sim.private)
        sim.last_at, sim.end = now, End.FINISHED
        if self.sinks.finished:
            self.sinks.finished(self.index, sim, now)

    def _plan(self, now: int) -> None:
        preempted = self._grow(now)
        decoding = [sim for sim in self.running if sim.computed == sim.total]
        budget = self.spec.batch_tokens - len(decoding)
        self.chunks = []
        for sim in self.running:
            if sim.computed < sim.total and budget:
                tokens = min(sim.total - sim.computed, budget)
                self.chunks.append((sim, tokens))
                budget -= tokens
        admitted = False
        while not preempted and self.waiting and budget and len(self.running) < self.spec.max_batch:
            sim = self.waiting[0]
            if not self._admit(sim, now):
                break
            admitted = True
            tokens = min(sim.total - sim.computed, budget)
            self.chunks.append((sim, tokens))
            budget -= tokens
        if admitted or preempted:
            self._tell_removed(now)
        if not decoding and not self.chunks:
            assert not self.waiting, "an empty instance must admit the head of its queue"
            self.next_at = None
            return
        prefill_tokens = sum(tokens for _, tokens in self.chunks)
        pairs = sum(tokens * sim.computed + tokens * (tokens + 1) // 2 for sim, tokens in self.chunks)
        kv_tokens = sum(sim.prompt + sim.generated for sim in decoding)
        self.next_at = now + self.spec.ticks.step(prefill_tokens, len(decoding), kv_tokens, pairs)

    def _grow(self, now: int) -> bool:
        """Give each decoding request the block its next token needs; True if someone was preempted."""
        preempted = False
        for sim in list(self.running):
            if sim not in self.running or sim.computed < sim.total:
                continue
            needed = (sim.prompt + sim.generated - 1) // self.spec.block_tokens + 1
            if needed <= sim.held + sim.private:
                continue
            while sim in self.running and self.pool.available() < 1:
                self._preempt(self.running[-1], now)
                preempted = True
            if sim in self.running:
                self.pool.reserve(1)
                sim.private += 1
        return preempted

    def _preempt(self, sim: Sim, now: int) -> None:
        self.running.remove(sim)
        self.pool.release(sim.path, sim.held, sim.private)
        sim.held = sim.private = sim.computed = 0
        sim.total = sim.prompt + sim.generated
        sim.preemptions += 1
        self.waiting.appendleft(sim)
        if self.sinks.preempted:
            self.sinks.preempted(self.index, sim, sim.total, now)

    def _admit(self, sim: Sim, now: int) -> bool:
        block = self.spec.block_tokens
        sim.total = sim.prompt + sim.generated
        # The last token is always computed, and with it the block it lies in.
        hit = self.pool.match(sim.path, min(sim.blocks, (sim.total - 1) // block))
        needed = -(-sim.total // block) - hit
        if needed + self.pool.idle_among(sim.path, hit) > self.pool.available():
            return False
        self.waiting.popleft()
        self.pool.pin(sim.path, hit)
        self.pool.reserve(needed)
        sim.held, sim.private, sim.computed = hit, needed, hit * block
        self.running.append(sim)
        if sim.order < 0:
            sim.order, sim.cached = 0, sim.computed
        if self.sinks.admitted:
            self.sinks.admitted(self.index, sim, sim.total - sim.computed, now)
        return True

    def _tell_removed(self, now: int) -> None:
        if self.pool.evicted:
            if self.sinks.removed:
                self.sinks.removed(self.index, self.pool.evicted, now)
            self.pool.evicted = []
