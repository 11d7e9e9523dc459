"""Which blocks of one engine are cached, told in keys that follow from tokens.

An engine names its blocks by hashes of its own, a router by keys that follow from the tokens
(:mod:`scheduler.block_keys`). An engine that stores a block tells its tokens and the block before, so the key can
be worked out once, and found again by the hash when the block goes.

What is left out, and counted: blocks behind one that is not known (the listener came late, or a batch was lost), blocks
that are not in the memory where the engine computes, blocks that hold more than their tokens say (adapters, salts,
images), and caches that do not hold whole prefixes (sliding windows, states).

vLLM stores the same block again where two requests compute it at once, and tells each copy that goes: a block is gone
with its last copy (``BlockHashToBlockMap`` in vLLM 0.32, ``v1/core/block_pool.py``).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import msgspec

from replay.engines.kv_events import BlockHash, KvEvent, Removed, Stored
from replay.engines.protocol import CacheSink
from scheduler.block_keys import token_keys
from scheduler.domains import REQUEST_DOMAINS, Domain

#: Told when an instance has forgotten all: its name.
ClearSink = Callable[[str], None]
#: Blocks kept of an engine at most, unless told otherwise: at about 200 bytes each, below 250 MB.
BLOCKS_MAX = 2**20

_BLOCKS = Domain(1, 2**31, integer=True, unit="block")
#: Caches of these kinds (``KVCacheSpecKind`` in vLLM 0.32) do not hold the whole prefix of what they can go on with.
_NOT_WHOLE = frozenset(
    {
        "sliding_window",
        "sliding_window_mla",
        "chunked_local_attention",
        "mamba",
        "encoder_only_attention",
        "cross_attention",
    }
)


class BlockCounts(msgspec.Struct):
    """What came of the blocks that an engine told of.

    Args:
        stored: told on as stored, copies too [block].
        removed: told on as removed [block].
        cleared: how often all were forgotten.
        orphans: left out, because the block before them was not known [block].
        unknown: went without being known [block].
        others: left out, because they are none that a prompt of plain tokens finds, in blocks of this size [block].
        dropped: forgotten, because there were too many; removals must have been lost [block].
    """

    stored: int = 0
    removed: int = 0
    cleared: int = 0
    orphans: int = 0
    unknown: int = 0
    others: int = 0
    dropped: int = 0


class KnownBlocks:
    """The blocks of one engine, by its hashes.

    Args:
        name: id of the instance.
        block_tokens: tokens in a block; those of another size are left out [token].
        sink: told what is stored and removed, in keys.
        cleared: told when all is gone.
        blocks_max: beyond so many the oldest are forgotten, and told as removed [block].

    Raises:
        BadInput: if a block cannot be of that size.

    Example:
        >>> told = []
        >>> blocks = KnownBlocks("a", 2, sink=lambda *event: told.append(event), cleared=told.append)
        >>> ids = (5, 6, 7, 8)
        >>> blocks.hear(Stored(hashes=(b"x", b"y"), parent=None, token_ids=ids, block_tokens=2, plain_blocks=2))
        >>> blocks.hear(Removed(hashes=(b"y",)))
        >>> told == [("a", token_keys(ids, 2), None, ()), ("a", (), None, token_keys(ids, 2)[1:])], len(blocks)
        (True, 1)
    """

    def __init__(
        self, name: str, block_tokens: int, *, sink: CacheSink, cleared: ClearSink, blocks_max: int = BLOCKS_MAX
    ) -> None:
        self.name, self.counts = name, BlockCounts()
        self.block_tokens: int = REQUEST_DOMAINS["block_tokens"].check("block_tokens", block_tokens)
        self._max: int = _BLOCKS.check("blocks_max", blocks_max)
        self._sink, self._cleared = sink, cleared
        self._keys: dict[BlockHash, int] = {}
        self._copies: dict[BlockHash, int] = {}  # those beyond the first
        self._group: int | None = None

    def __len__(self) -> int:
        return len(self._keys)

    def hear(self, event: KvEvent) -> None:
        """One event of the engine."""
        if isinstance(event, Stored):
            self._store(event)
        elif isinstance(event, Removed):
            self._remove(event)
        else:
            self.forget()

    def forget(self) -> None:
        """All is gone. Whoever empties an engine's cache says so here: vLLM tells it with its next step only."""
        self._keys.clear()
        self._copies.clear()
        self.counts.cleared += 1
        self._cleared(self.name)

    def _store(self, event: Stored) -> None:
        count = len(event.hashes)
        if not self._concerns(event):
            self.counts.others += count
            return
        if event.parent is not None and event.parent not in self._keys:
            self.counts.orphans += count
            return
        assert event.token_ids is not None
        after = None if event.parent is None else self._keys[event.parent]
        plain = event.token_ids[: event.plain_blocks * self.block_tokens]
        keys = token_keys(plain, self.block_tokens, after)
        keys = keys[: self._kept(event.hashes, keys)]
        self.counts.stored += len(keys)
        self.counts.others += count - len(keys)
        if keys:
            self._sink(self.name, keys, after, ())
            self._limit()

    def _concerns(self, event: Stored) -> bool:
        """Whether a prompt of plain tokens can find these blocks where the engine computes."""
        here = event.medium in (None, "GPU") and event.locality in (None, "LOCAL")
        size, ids = event.block_tokens, event.token_ids
        if not here or event.attention in _NOT_WHOLE or size != self.block_tokens:
            return False
        if ids is None or len(ids) != size * len(event.hashes):  # holes: a window has left blocks out
            return False
        if not self._keys and event.plain_blocks:  # of several caches with whole prefixes the first stands for all
            self._group = event.group
        return event.plain_blocks > 0 and event.group == self._group

    def _kept(self, hashes: tuple[BlockHash, ...], keys: tuple[int, ...]) -> int:
        """Remember keys by hash; how many were believed, from the first.

        Older versions of SGLang name a block by its own tokens alone, so one hash may stand for two blocks. The first
        of them is believed.
        """
        for place, (name, key) in enumerate(zip(hashes, keys, strict=False)):
            known = self._keys.get(name)
            if known is None:
                self._keys[name] = key
            elif known == key:
                self._copies[name] = self._copies.get(name, 0) + 1
            else:
                return place
        return len(keys)

    def _remove(self, event: Removed) -> None:
        here = event.medium in (None, "GPU") and event.locality in (None, "LOCAL")
        if not here or (self._keys and event.group != self._group):
            self.counts.others += len(event.hashes)
            return
        gone: list[int] = []
        for name in event.hashes:
            if name not in self._keys:
                self.counts.unknown += 1
            elif name in self._copies:
                self._copies[name] -= 1
                if not self._copies[name]:
                    del self._copies[name]
            else:
                gone.append(self._keys.pop(name))
        self._gone(gone)

    def _limit(self) -> None:
        """Forget the oldest, a sixteenth at once, so that it costs little."""
        if len(self._keys) <= self._max:
            return
        names = list(itertools.islice(self._keys, len(self._keys) - self._max + self._max // 16))
        for name in names:
            self._copies.pop(name, None)
        self.counts.dropped += len(names)
        self._gone([self._keys.pop(name) for name in names])

    def _gone(self, keys: list[int]) -> None:
        if keys:
            self.counts.removed += len(keys)
            self._sink(self.name, (), None, tuple(keys))
