"""The event-skipping engine: the same timeline as :mod:`replay.sim.reference`, at a cost per event, not per step.

Between two changes of the batch a decode step differs from the one before only by the KV length, which grows by the
batch size. So ``k`` steps have a closed form (:meth:`StepTicks.decode_steps`), and the next thing that can happen is
known: a request finishes, blocks run short, or a request arrives. While one long prompt takes the whole token budget
the same holds for prefill steps: nobody else can be admitted, and the attention of the chunks is an arithmetic series.
Other steps with prefill in them are taken one by one.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from replay.sim.decoding import Decoding
from replay.sim.sequence import InstanceSpec, Sim, Sinks
from scheduler.state import End


class Instance:
    """One simulated instance.

    Args:
        index: of the instance.
        spec: its shape.
        sinks: who is told.
        pool: its KV blocks, empty.

    Attributes:
        next_at: tick at which :meth:`fire` must be called, or None while idle.
    """

    __slots__ = (
        "_admissions",
        "_boundary",
        "_chunks",
        "_decoding",
        "_prefilling",
        "_running",
        "_skip",
        "_told_each_step",
        "index",
        "next_at",
        "pool",
        "sinks",
        "spec",
        "waiting",
    )

    def __init__(self, index: int, spec: InstanceSpec, sinks: Sinks, pool: Any) -> None:
        self.index, self.spec, self.sinks = index, spec, sinks
        self.pool = pool
        self.waiting: deque[Sim] = deque()
        self.next_at: int | None = None
        self._running: dict[int, Sim] = {}  # by admission number: in order of admission
        self._prefilling: list[Sim] = []
        self._chunks: list[tuple[Sim, int]] = []
        self._decoding = Decoding(spec.block_tokens)
        self._skip = 0  # steps until next_at
        self._boundary = 0  # tick of the last boundary that was looked at
        self._admissions = 0
        self._told_each_step = sinks.progressed is not None or sinks.stored is not None

    @property
    def step_count(self) -> int:
        """Steps done."""
        return self._decoding.step

    def context_tokens_at(self, at: int) -> int:
        """Tokens of all requests on the instance, counting the steps done by tick ``at`` [token]."""
        decoding = self._decoding
        tokens = decoding.kv_tokens + sum(s.prompt + s.generated for s in (*self._prefilling, *self.waiting))
        return tokens + decoding.batch * self._steps_done(at)

    def held_fraction_at(self, at: int) -> float:
        """Share of the KV blocks that requests hold, counting the steps begun by tick ``at``."""
        # A step takes its blocks when it begins, and the first of those that are skipped has taken them already.
        skipping = self.next_at is not None and self._skip > 1 and not self._chunks
        begun = min(self._steps_done(at) + 1, self._skip) if skipping else 0
        free: int = self.pool.available() - self._decoding.growth(begun)
        return 1 - free / self.spec.kv_blocks

    def _steps_done(self, at: int) -> int:
        """Steps of a skipped stretch of decoding that are over by tick ``at``."""
        decoding = self._decoding
        if not decoding.batch or self._chunks or self._skip <= 1 or at <= self._boundary:
            return 0
        done = self.spec.ticks.steps_beyond(at - self._boundary, decoding.batch, decoding.kv_tokens) - 1
        return min(done, self._skip)

    def arrive(self, at: int, sim: Sim) -> None:
        """Queue a request; all events up to ``at`` have fired."""
        blocked = bool(self.waiting)
        self.waiting.append(sim)
        if self.next_at is None:
            self._plan(at)
        elif self._skip > 1 and not blocked and not self._chunks:
            # Admission is tried at the next boundary, inside the steps that were to be skipped.
            ticks, decoding = self.spec.ticks, self._decoding
            steps = ticks.steps_beyond(at - self._boundary, decoding.batch, decoding.kv_tokens)
            if steps < self._skip:
                self._skip = steps
                self.next_at = self._boundary + ticks.decode_steps(steps, decoding.batch, decoding.kv_tokens)

    def settle(self, limit: int) -> int:
        """Bring open requests up to date with the steps done by ``limit``, the end of the run; returns the last end."""
        decoding, ticks = self._decoding, self.spec.ticks
        if self._chunks and self._skip > 1:
            sim, tokens = self._chunks[0]
            chunk = tokens // self._skip
            pairs = chunk * sim.computed + (chunk * (chunk + 1) >> 1)
            steps = range(1, self._skip)
            ends = [0, *(ticks.chunk_steps(k, chunk, decoding.batch, decoding.kv_tokens, pairs) for k in steps)]
            done = sum(self._boundary + end <= limit for end in ends[1:])
            ended = ends[done]
        else:
            done = self._steps_done(limit)
            ended = ticks.decode_steps(done, decoding.batch, decoding.kv_tokens)
        decoding.step += done
        for sim in self._running.values():
            if sim.computed == sim.total:
                sim.generated = sim.output - (sim.finish_step - decoding.step)
        return self._boundary + ended if done else 0

    def fire(self) -> None:
        """End the steps up to ``next_at`` and plan what follows."""
        now = self.next_at
        assert now is not None
        decoding, skip = self._decoding, self._skip
        if skip > 1 and decoding.crossings and decoding.crossings[0][0] <= decoding.step + skip:
            grown = decoding.grow(skip)
            if grown:  # the plan made sure that they can be had
                self.pool.reserve(grown)
        decoding.step += skip
        decoding.kv_tokens += decoding.batch * skip
        chunks = self._chunks
        for sim, tokens in chunks:
            self._computed(sim, tokens, now)
        changed = bool(chunks)
        if decoding.finishes and decoding.finishes[0][0] <= decoding.step:
            for sim in decoding.finished():
                self._finish(sim, now)
                changed = True
        for sim, _ in chunks:
            if sim.computed == sim.total:
                self._first_of_admission(sim, now)
        if changed and self.pool.evicted:
            self._tell_removed(now)
        self._plan(now)

    def _computed(self, sim: Sim, tokens: int, now: int) -> None:
        sim.computed += tokens
        sinks = self.sinks
        if sinks.progressed is not None:
            sinks.progressed(self.index, sim, tokens, now)
        held = sim.held
        visible = min(sim.computed // self.spec.block_tokens, sim.blocks)
        if visible > held:
            if self.pool.evicted:
                self._tell_removed(now)
            self.pool.commit(sim.path, held, visible)
            if sinks.stored is not None:
                sinks.stored(self.index, sim.path, held, visible, now)
            sim.private -= visible - held
            sim.held = visible

    def _first_of_admission(self, sim: Sim, now: int) -> None:
        self._prefilling.remove(sim)
        sim.generated += 1
        if sim.first_at is None:
            sim.first_at = now
        if self.sinks.first_token is not None:
            self.sinks.first_token(self.index, sim, now)
        if sim.generated == sim.output:
            self._finish(sim, now)
        else:
            self._decoding.enter(sim)

    def _finish(self, sim: Sim, now: int) -> None:
        del self._running[sim.order]
        self.pool.release(sim.path, sim.held, sim.private)
        sim.order = -1
        sim.generated = sim.output
        sim.last_at, sim.end = now, End.FINISHED
        if self.sinks.finished is not None:
            self.sinks.finished(self.index, sim, now)

    def _grow_next(self, now: int) -> bool:
        """Blocks entered in the next step, preempting where none can be had; True if someone was preempted."""
        preempted = False
        while (sim := self._decoding.next_crossing()) is not None:
            while sim.order >= 0 and self.pool.available() < 1:
                self._preempt(next(reversed(self._running.values())), now)
                preempted = True
            if sim.order >= 0:
                self.pool.reserve(1)
                sim.private += 1
                self._decoding.crossed(sim)
        return preempted

    def _preempt(self, sim: Sim, now: int) -> None:
        del self._running[sim.order]
        if sim.computed == sim.total:
            self._decoding.leave(sim)
        else:
            self._prefilling.remove(sim)
        self.pool.release(sim.path, sim.held, sim.private)
        sim.order = -1
        sim.held = sim.private = sim.computed = 0
        sim.total = sim.prompt + sim.generated
        sim.preemptions += 1
        self.waiting.appendleft(sim)
        if self.sinks.preempted is not None:
            self.sinks.preempted(self.index, sim, sim.total, now)

    def _admit(self, sim: Sim, now: int) -> bool:
        block, pool, path = self.spec.block_tokens, self.pool, sim.path
        total = sim.prompt + sim.generated
        # The last token is always computed, and with it the block it lies in.
        hit = pool.match(path, min(sim.blocks, (total - 1) // block))
        needed = -(-total // block) - hit
        available = pool.available()
        if needed + hit > available and needed + pool.idle_among(path, hit) > available:
            return False
        self.waiting.popleft()
        if hit:
            pool.pin(path, hit)
        pool.reserve(needed)
        if not sim.preemptions:
            sim.cached = hit * block
        sim.total, sim.held, sim.private, sim.computed = total, hit, needed, hit * block
        self._admissions += 1
        sim.order = self._admissions
        self._running[sim.order] = sim
        self._prefilling.append(sim)
        if self.sinks.admitted is not None:
            self.sinks.admitted(self.index, sim, total - sim.computed, now)
        return True

    def _plan(self, now: int) -> None:
        self._boundary = now
        decoding, ticks = self._decoding, self.spec.ticks
        crossings = decoding.crossings
        preempted = bool(crossings) and crossings[0][0] <= decoding.step + 1 and self._grow_next(now)
        chunks: list[tuple[Sim, int]] = []
        if self._prefilling or self.waiting:
            self._plan_prefill(now, chunks, preempted)
        self._chunks = chunks
        batch, kv_tokens = decoding.batch, decoding.kv_tokens
        if chunks:
            prefill_tokens = pairs = 0
            for sim, tokens in chunks:
                prefill_tokens += tokens
                pairs += tokens * sim.computed + (tokens * (tokens + 1) >> 1)
            skip = 1
            if len(chunks) == 1 and not preempted and not self._told_each_step:
                sim, tokens = chunks[0]
                skip = self._full_chunks(sim, tokens)
                chunks[0] = (sim, tokens * skip)
            self._skip = skip
            self.next_at = now + ticks.chunk_steps(skip, prefill_tokens, batch, kv_tokens, pairs)
        elif batch:
            self._skip = 1 if preempted else self._steps_to_skip()
            assert self._skip > 0, "a plan must move on"
            self.next_at = now + ticks.decode_steps(self._skip, batch, kv_tokens)
        else:
            assert not self.waiting, "an empty instance must admit the head of its queue"
            self.next_at = None

    def _plan_prefill(self, now: int, chunks: list[tuple[Sim, int]], preempted: bool) -> None:
        budget = self.spec.batch_tokens - self._decoding.batch
        for sim in self._prefilling:
            if not budget:
                break
            tokens = min(sim.total - sim.computed, budget)
            chunks.append((sim, tokens))
            budget -= tokens
        admitted = False
        waiting, room = self.waiting, self.spec.max_batch
        while not preempted and waiting and budget and len(self._running) < room:
            sim = waiting[0]
            if not self._admit(sim, now):
                break
            admitted = True
            tokens = min(sim.total - sim.computed, budget)
            chunks.append((sim, tokens))
            budget -= tokens
        if (admitted or preempted) and self.pool.evicted:
            self._tell_removed(now)

    def _full_chunks(self, sim: Sim, tokens: int) -> int:
        """Steps in which one prompt takes the whole budget, does not complete, and nothing else changes."""
        decoding = self._decoding
        if tokens + decoding.batch < self.spec.batch_tokens:
            return 1
        steps = (sim.total - sim.computed - 1) // tokens
        if steps > 1 and decoding.batch:
            steps = min(steps, decoding.steps_to_finish())
            crossing = decoding.steps_to_crossing()
            if crossing is not None:  # a block taken in between could evict what this prompt is about to share
                steps = min(steps, crossing - 1)
        return max(1, steps)

    def _steps_to_skip(self) -> int:
        """Decode steps until the batch changes by itself or blocks may run short."""
        decoding = self._decoding
        steps = decoding.steps_to_finish()
        if decoding.batch * (steps // self.spec.block_tokens + 1) > self.pool.available():
            crossing = decoding.steps_to_crossing()
            if crossing is not None:
                steps = min(steps, crossing - 1)
        return steps

    def _tell_removed(self, now: int) -> None:
        evicted = self.pool.evicted
        if evicted:
            if self.sinks.removed is not None:
                self.sinks.removed(self.index, evicted, now)
            self.pool.evicted = []
