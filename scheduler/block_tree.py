"""Which block follows which: the tree of all known blocks, for :class:`scheduler.prefix_index.PrefixIndex`.

Most blocks are followed by one other. Those links are dictionaries of plain keys, one entry a block, which the garbage
collector need not look into. Only where several blocks follow one there is an object, with a count for each instance:
whether an instance holds any of a thousand children is one look-up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from scheduler.index_state import SavedRun
from scheduler.orphans import Key


class Fork:
    """Several blocks that follow the same one, and how many of them each instance holds."""

    __slots__ = ("children", "counts")

    def __init__(self) -> None:
        self.children: dict[Key, None] = {}
        self.counts: dict[int, int] = {}

    def gain(self, instance: int) -> None:
        """An instance holds one more of the children."""
        self.counts[instance] = self.counts.get(instance, 0) + 1

    def lose(self, instance: int) -> None:
        """An instance holds one less."""
        left = self.counts[instance] - 1
        if left:
            self.counts[instance] = left
        else:
            del self.counts[instance]


class BlockTree:
    """Parents and children of blocks; None stands before the first block of every prompt.

    Args:
        masks: holders of every block in the tree, a bitmask; kept by the owner.

    Attributes:
        parents: the block before each block.
        only: the block after a block, where there is, and was, one at a time.
        forks: the same for the others.
    """

    __slots__ = ("_masks", "forks", "only", "parents")

    def __init__(self, masks: Mapping[Key, int]) -> None:
        self._masks = masks
        self.parents: dict[Key, Key | None] = {}
        self.only: dict[Key | None, Key] = {}
        self.forks: dict[Key | None, Fork] = {}

    def grow(self, keys: Sequence[Key], after: Key | None, instance: int) -> None:
        """New blocks, one after the other, of which ``instance`` is the only holder; there is at least one."""
        fork = self._follow(keys, after)
        if fork is not None:
            fork.gain(instance)

    def _follow(self, keys: Sequence[Key], after: Key | None) -> Fork | None:
        """Put new blocks in their place; the fork that the first of them is now at, where it is not counted yet."""
        key = keys[0]
        self.parents[key] = after
        fork = self.forks.get(after)
        if fork is None:
            other = self.only.pop(after, None)
            if other is None:
                self.only[after] = key
            else:
                fork = self.forks[after] = Fork()
                fork.children[other] = None
                fork.counts = dict.fromkeys(_bits(self._masks[other]), 1)
        if fork is not None:
            fork.children[key] = None
        if len(keys) > 1:
            follow = keys[1:]
            self.parents.update(zip(follow, keys, strict=False))
            self.only.update(zip(keys, follow, strict=False))
        return fork

    def cut(self, key: Key) -> None:
        """A block that nobody holds leaves the tree; nothing follows it."""
        parent = self.parents.pop(key)
        fork = self.forks.get(parent)
        if fork is None:
            del self.only[parent]
            return
        del fork.children[key]
        if not fork.children:
            del self.forks[parent]

    def below(self, key: Key | None, bit: int) -> list[Key]:
        """The blocks after this one whose mask has that bit, each before those that follow it."""
        masks = self._masks
        found: list[Key] = []
        position = 0
        while True:
            child = self.only.get(key)
            if child is not None:
                if masks[child] & bit:
                    found.append(child)
            elif key in self.forks:
                found += [other for other in self.forks[key].children if masks[other] & bit]
            if position == len(found):
                return found
            key = found[position]
            position += 1

    def runs(self) -> list[SavedRun]:
        """All blocks, in runs of one chain with the same holders; for :meth:`regrow`."""
        masks, only, forks = self._masks, self.only, self.forks
        found: list[SavedRun] = []
        starts: deque[tuple[int, Key]] = deque((0, key) for key in self._after(None))
        while starts:
            after, key = starts.popleft()
            mask, keys = masks[key], [key]
            while (child := only.get(key)) is not None or (key in forks and len(forks[key].children) == 1):
                if child is None:  # a fork of which one way is left
                    (child,) = forks[key].children
                if masks[child] != mask:
                    break
                keys.append(child)
                key = child
            found.append(SavedRun(after, mask, keys))
            starts.extend((len(found), child) for child in self._after(key))
        return found

    def regrow(self, runs: Iterable[SavedRun]) -> None:
        """The blocks of :meth:`runs` again, into an empty tree; their holders are known already."""
        ends: list[Key | None] = [None]
        for run in runs:
            fork = self._follow(run.keys, ends[run.after])
            if fork is not None:
                for instance in _bits(run.mask):
                    fork.gain(instance)
            ends.append(run.keys[-1])

    def _after(self, key: Key | None) -> Iterable[Key]:
        """The blocks that follow one, in order."""
        child = self.only.get(key)
        if child is not None:
            return (child,)
        return self.forks[key].children if key in self.forks else ()


def _bits(mask: int) -> list[int]:
    return [instance for instance in range(mask.bit_length()) if mask >> instance & 1]
