"""Which instance holds how much of a prompt: block key -> bitmask of instances.

Keys are chained: a key stands for its whole prefix, so every block follows one and the same other block, or none. An
instance has its bit on a block only if it holds the block **and every block before it**. So the mask of holders can
only shrink along a prompt, and a lookup gallops from one change to the next; its cost grows with the number of
distinct depths, not with the length of the prompt.

The promise holds under lost, duplicated and reordered events. A block whose parent is missing is an orphan
(``scheduler/orphans.py``); a block that goes while others on the instance follow it makes those orphans too,
until it is stored again. Engines evict leaf first, and then a removal costs the same however long the chain is.

What follows what is in ``scheduler/block_tree.py``. Equal neighbours share one mask object. Three dictionaries have an
entry for each block, 150 bytes in all with its key (benchmarks/index_memory.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from scheduler.block_tree import BlockTree
from scheduler.domains import Domain
from scheduler.errors import BadInput
from scheduler.index_state import PrefixIndexState, SavedOrphans
from scheduler.orphans import Key, Orphans

#: Orphans kept for each instance unless told otherwise: at about 400 bytes each, 64 instances stay below 2 GB.
ORPHAN_BLOCKS = 65_536

_COUNT = Domain(1, integer=True, unit="instance")
_BLOCKS = Domain(0, integer=True, unit="block")


class PrefixIndex:
    """Holders of every known block.

    Args:
        instance_count: number of instances, >= 1.
        orphan_blocks: orphans kept for each instance, >= 0.

    Attributes:
        contradictions: blocks not believed, because they were said to follow another block than before.

    Example:
        >>> index = PrefixIndex(3)
        >>> index.add(0, [7, 8]); index.add(0, [9], after=8); index.add(2, [7])
        >>> index.hit_tokens([7, 8, 9, 10], 16)
        [48, 0, 16]
        >>> index.remove(0, [8]); index.hit_tokens([7, 8, 9, 10], 16)
        [16, 0, 16]
        >>> index.add(0, [8], after=7); index.hit_tokens([7, 8, 9, 10], 16)
        [48, 0, 16]
    """

    def __init__(self, instance_count: int, orphan_blocks: int = ORPHAN_BLOCKS) -> None:
        _COUNT.check("instance_count", instance_count)
        self._orphan_blocks = _BLOCKS.check("orphan_blocks", orphan_blocks)
        self.contradictions = 0
        self._bits: list[int] = []
        self._orphans: list[Orphans] = []
        self._masks: dict[Key, int] = {}
        self._tree = BlockTree(self._masks)
        self._shared = (0, 0, 0)  # the last mask that lost a bit, the bit, what was left: the next is often the same
        self.grow(instance_count)

    def __len__(self) -> int:
        return len(self._masks)

    def grow(self, instance_count: int) -> None:
        """There are at least so many instances from now on."""
        start = len(self._bits)
        self._bits += [1 << instance for instance in range(start, instance_count)]
        self._orphans += [Orphans(self._orphan_blocks) for _ in range(start, instance_count)]
        self._all = (1 << len(self._bits)) - 1

    def holders(self, key: Key) -> int:
        """Bitmask of the instances that hold a block and all before it."""
        return self._masks.get(key, 0)

    def orphan_count(self, instance: int) -> int:
        """Blocks that an instance holds and that wait for one before them.

        Raises:
            BadInput: if there is no such instance.
        """
        self._bit(instance)
        return len(self._orphans[instance])

    def add(self, instance: int, keys: Sequence[Key], after: Key | None = None) -> None:
        """The instance now holds these blocks.

        Args:
            instance: its index.
            keys: consecutive blocks of one prompt.
            after: the block before the first of them; None if that one starts the prompt.

        Raises:
            BadInput: if there is no such instance.
        """
        bit, orphans = self._bit(instance), self._orphans[instance]
        if after is not None and not self._masks.get(after, 0) & bit:
            for position, key in enumerate(keys):
                if self._masks.get(key, 0) & bit:  # then its parent is held, and is not this one
                    self.contradictions += len(keys) - position
                    return
                orphans.keep(key, after)
                after = key
            return
        count = self._attach(instance, keys, after)
        if orphans:
            found = list(keys[:count])
            for key in found:
                orphans.discard(key)
            while found:
                parent = found.pop()
                found += [key for key in orphans.take(parent) if self._attach(instance, (key,), parent)]

    def remove(self, instance: int, keys: Iterable[Key]) -> None:
        """The instance no longer holds these blocks; unknown ones are ignored.

        Raises:
            BadInput: if there is no such instance.
        """
        bit, orphans = self._bit(instance), self._orphans[instance]
        masks, parents, only, forks = self._masks, self._tree.parents, self._tree.only, self._tree.forks
        for key in keys:
            mask = masks.get(key, 0)
            if not mask & bit:
                orphans.discard(key)
                continue
            child = only.get(key)
            if child is not None:
                inner = masks[child] & bit
            else:
                inner = key in forks and forks[key].counts.get(instance, 0)
                if mask == bit and not inner:
                    parent = parents[key]
                    if parent not in forks:  # the last block of a chain that nobody else holds: the usual case
                        del masks[key], parents[key], only[parent]
                        continue
            if inner:
                for below in reversed(self._tree.below(key, bit)):  # the deepest first: they are forgotten first too
                    parent = self._detach(instance, below)
                    orphans.keep(below, parent)
            self._detach(instance, key)

    def clear(self, instance: int) -> None:
        """The instance holds nothing any more; its index may be given to another.

        Raises:
            BadInput: if there is no such instance.
        """
        bit = self._bit(instance)
        self._orphans[instance].clear()
        for key in reversed(self._tree.below(None, bit)):
            self._detach(instance, key)

    def hit_tokens(self, keys: Sequence[Key], block_tokens: int, limit: int | None = None) -> list[int]:
        """Contiguous cached prefix of a prompt on every instance [token].

        Args:
            keys: chained keys of the prompt's blocks, in order.
            block_tokens: tokens in a block.
            limit: look at no more than so many blocks, >= 0.

        Raises:
            BadInput: if the limit is negative.
        """
        count = len(self._bits)
        length = len(keys) if limit is None else min(limit, len(keys))
        if length < 0:
            raise BadInput("limit", limit, "an integer >= 0 [block]")
        get, bits = self._masks.get, self._bits
        hits = [0] * count
        mask = get(keys[0], 0) if length else 0
        end = get(keys[length - 1], 0) if mask else 0  # who holds the whole prompt needs no search
        low = 0
        while mask:
            # Invariant: mask is held at depth `low`. Gallop past the last depth that has it, then bisect.
            # Strides grow eightfold: a probe costs most of the time, so a few too far are cheaper than many on the way.
            stride, high = (4, low + 1) if mask != end else (4, length)
            if high == length:
                low = length - 1
            while high < length and get(keys[high]) == mask:
                low, high, stride = high, high + stride, stride << 3
            if high > length:
                high = length
            while high - low > 1:
                middle = (low + high) >> 1
                if get(keys[middle]) == mask:
                    low = middle
                else:
                    high = middle
            below = get(keys[high], 0) & mask if high < length else 0
            leaving, tokens = mask ^ below, high * block_tokens
            if leaving.bit_count() * 4 > count:
                for instance, bit in enumerate(bits):
                    if leaving & bit:
                        hits[instance] = tokens
            else:
                while leaving:
                    bit = leaving & -leaving
                    hits[bit.bit_length() - 1] = tokens
                    leaving ^= bit
            mask, low = below, high
        return hits

    def save(self) -> PrefixIndexState:
        """All that is known, as plain values that are not changed by what comes."""
        return PrefixIndexState(
            slots=len(self._bits),
            orphan_blocks=self._orphan_blocks,
            contradictions=self.contradictions,
            runs=self._tree.runs(),
            orphans=[[SavedOrphans(*chain) for chain in orphans.chains()] for orphans in self._orphans],
        )

    @classmethod
    def restore(cls, saved: PrefixIndexState) -> PrefixIndex:
        """An index that goes on where :meth:`save` was called.

        Raises:
            BadInput: if no index looks like this.
        """
        index = cls(saved.checked().slots, saved.orphan_blocks)
        index.contradictions = saved.contradictions
        for run in saved.runs:
            index._masks.update(dict.fromkeys(run.keys, run.mask))
        index._tree.regrow(saved.runs)
        for orphans, chains in zip(index._orphans, saved.orphans, strict=True):
            for chain in chains:
                after = chain.after
                for key in chain.keys:
                    orphans.keep(key, after)
                    after = key
        return index

    def _bit(self, instance: int) -> int:
        if not 0 <= instance < len(self._bits):
            raise BadInput("instance", instance, f"an index >= 0 and < {len(self._bits)}")
        return self._bits[instance]

    def _attach(self, instance: int, keys: Sequence[Key], after: Key | None) -> int:
        """Set the bit on blocks whose parent has it; how many were believed, from the first."""
        masks, parents, forks, bit = self._masks, self._tree.parents, self._tree.forks, self._bits[instance]
        old_mask = new_mask = 0
        known = 0
        for key in keys:
            mask = masks.get(key)
            if mask is None:
                break
            if parents[key] != after:
                self.contradictions += len(keys) - known
                return known
            if not mask & bit:
                if mask != old_mask:
                    old_mask, new_mask = mask, mask | bit
                masks[key] = new_mask
                if after in forks:
                    forks[after].gain(instance)
            after = key
            known += 1
        else:
            return known
        # A block is known wherever one that follows it is. So the others are all new, or contradict what is known.
        new = keys[known:] if known else keys
        fresh = dict.fromkeys(new, bit)
        if len(fresh) < len(new) or not masks.keys().isdisjoint(fresh):
            fresh = {}
            for key in new:
                if key in masks or key in fresh:
                    break
                fresh[key] = bit
            self.contradictions += len(new) - len(fresh)
            new = new[: len(fresh)]
        masks.update(fresh)
        self._tree.grow(new, after, instance)
        return known + len(new)

    def _detach(self, instance: int, key: Key) -> Key | None:
        """Clear the bit on a block that no other block of the instance follows; what it follows itself."""
        mask, bit, parent = self._masks[key], self._bits[instance], self._tree.parents[key]
        fork = self._tree.forks.get(parent)
        if fork is not None:
            fork.lose(instance)
        if mask == bit:
            del self._masks[key]
            self._tree.cut(key)
        else:
            if self._shared[:2] != (mask, bit):
                self._shared = (mask, bit, mask ^ bit)
            self._masks[key] = self._shared[2]
        return parent
