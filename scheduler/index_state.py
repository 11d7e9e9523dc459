"""A prefix index, and what routing history adds to it, as plain values that survive JSON; no key is written twice."""

from __future__ import annotations

import msgspec

from scheduler.errors import BadInput
from scheduler.orphans import Key


class SavedRun(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Blocks that follow one another and have the same holders.

    Args:
        after: number, from 1, of the run whose last block comes before; 0 if they start a prompt.
        mask: bitmask of their holders.
        keys: in the order of the chain; at least one.
    """

    after: int
    mask: int
    keys: list[Key]


class SavedOrphans(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Orphans that follow one another and were kept one after the other; ``after`` is the block that they wait for."""

    after: Key | None
    keys: list[Key]


class SavedTouch(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Blocks of one chain that were touched together, and when [s]."""

    touched_s: float
    keys: list[Key]


class PrefixIndexState(msgspec.Struct, frozen=True, kw_only=True):
    """All that :class:`scheduler.prefix_index.PrefixIndex` knows, from ``save()``.

    Args:
        slots: number of instances.
        orphan_blocks: orphans kept for each of them.
        contradictions: blocks that were not believed.
        runs: all blocks, each run after the one that it follows, and those that follow the same one in order.
        orphans: of every instance, those kept longest first.
    """

    slots: int
    orphan_blocks: int
    contradictions: int
    runs: list[SavedRun]
    orphans: list[list[SavedOrphans]]

    def checked(self) -> PrefixIndexState:
        """The state itself, if an index can look like this.

        Raises:
            BadInput: naming the run that cannot be.
        """
        everyone = (1 << max(0, self.slots)) - 1
        holders = [everyone]
        seen: set[Key] = set()
        count = 0
        for number, run in enumerate(self.runs):
            if not (run.keys and 0 <= run.after <= number and run.mask > 0 and not run.mask & ~holders[run.after]):
                raise BadInput(f"index.runs[{number}]", run, "blocks that follow a run before, on some of its holders")
            holders.append(run.mask)
            seen.update(run.keys)
            count += len(run.keys)
        if len(seen) < count or len(self.orphans) != self.slots:
            raise BadInput("index", count - len(seen), "every block once, and the orphans of every instance")
        return self


class HistoryIndexState(msgspec.Struct, frozen=True, kw_only=True):
    """All that :class:`scheduler.history_index.HistoryIndex` knows, from ``save()``.

    Args:
        index: what is believed.
        recency: of every instance, its blocks, those touched longest ago first.
        now_s: the latest time that was told [s].
    """

    index: PrefixIndexState
    recency: list[list[SavedTouch]]
    now_s: float
