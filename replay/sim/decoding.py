"""The decoding requests of one instance: their number, their tokens, and the steps in which something will change.

Two heaps look ahead: ``finishes`` (step of a request's last token) and ``crossings`` (step in which it enters a new
block). Entries of requests that ended or were preempted since are recognised by their admission number and dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush

from replay.sim.sequence import Sim

_Entry = tuple[int, int, Sim]


class Decoding:
    """Decoding requests of an instance.

    Args:
        block_tokens: tokens in a block.

    Attributes:
        batch: how many there are.
        kv_tokens: their tokens, as the next step reads them.
        step: steps the instance has done.
        finishes, crossings: heaps of ``(step, admission number, request)``. Public, because the engine looks at their
            first entries in every event, and a method call would cost more than the look.
    """

    __slots__ = ("_block_tokens", "batch", "crossings", "finishes", "kv_tokens", "step")

    def __init__(self, block_tokens: int) -> None:
        self._block_tokens = block_tokens
        self.finishes: list[_Entry] = []
        self.crossings: list[_Entry] = []
        self.batch = self.kv_tokens = self.step = 0

    def enter(self, sim: Sim) -> None:
        """A request has just produced the first token of its admission."""
        step, total, order = self.step, sim.total, sim.order
        self.batch += 1
        self.kv_tokens += total + 1
        sim.finish_step = finish = step + sim.output - sim.generated
        heappush(self.finishes, (finish, order, sim))
        crossing = step + 1 + -total % self._block_tokens
        if crossing <= finish:
            heappush(self.crossings, (crossing, order, sim))

    def leave(self, sim: Sim) -> None:
        """A request is preempted; its generated tokens are brought up to date."""
        sim.generated = sim.output - (sim.finish_step - self.step)
        self.batch -= 1
        self.kv_tokens -= sim.prompt + sim.generated

    def finished(self) -> Sequence[Sim]:
        """Take out the requests whose last token has come, in order of admission."""
        finishes, step = self.finishes, self.step
        if not finishes or finishes[0][0] > step:
            return ()
        done = []
        while finishes and finishes[0][0] <= step:
            _, order, sim = heappop(finishes)
            if sim.order == order:
                self.batch -= 1
                self.kv_tokens -= sim.prompt + sim.output
                done.append(sim)
        return done

    def steps_to_finish(self) -> int:
        """Steps until the next request finishes; there must be one."""
        finishes = self.finishes
        while finishes[0][2].order != finishes[0][1]:
            heappop(finishes)
        return finishes[0][0] - self.step

    def steps_to_crossing(self) -> int | None:
        """Steps until a request enters a new block, or None."""
        crossings = self.crossings
        while crossings and crossings[0][2].order != crossings[0][1]:
            heappop(crossings)
        return crossings[0][0] - self.step if crossings else None

    def growth(self, steps: int) -> int:
        """Blocks that requests enter within so many steps; changes nothing."""
        last, block = self.step + steps, self._block_tokens
        count = 0
        for step, order, sim in self.crossings:
            stop = min(last, sim.finish_step)
            if sim.order == order and step <= stop:
                count += (stop - step) // block + 1
        return count

    def grow(self, steps: int) -> int:
        """Give every request the blocks it enters within so many steps; returns how many blocks that is."""
        crossings, block, last = self.crossings, self._block_tokens, self.step + steps
        count = 0
        while crossings and crossings[0][0] <= last:
            step, order, sim = heappop(crossings)
            if sim.order != order:
                continue
            stop = min(last, sim.finish_step)
            while step <= stop:
                sim.private += 1
                count += 1
                step += block
            if step <= sim.finish_step:
                heappush(crossings, (step, order, sim))
        return count

    def next_crossing(self) -> Sim | None:
        """Take the first request that enters a new block in the next step; None if there is no more.

        The caller gives it a block, or preempts it.
        """
        crossings, step = self.crossings, self.step + 1
        while crossings and crossings[0][0] <= step:
            _, order, sim = heappop(crossings)
            if sim.order == order and step <= sim.finish_step:
                return sim
        return None

    def crossed(self, sim: Sim) -> None:
        """It got its block."""
        heappush(self.crossings, (self.step + 1 + self._block_tokens, sim.order, sim))
