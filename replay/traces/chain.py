"""Block keys that name whole chains: equal keys mean equal prefixes, and unequal keys unequal ones.

A cache holds a block only together with all blocks before it, so two blocks are the same for it when their own
contents and their parents are the same. Traces differ in what their ids say: Mooncake's already name the chain,
Bailian's name the content of one block. Numbering the pairs (parent key, id) in order of first appearance makes them
equal, small and consecutive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from scheduler.state import Request

#: Ids are unsigned 64-bit numbers, as every hash in use is.
BLOCK_ID_MAX = 2**64 - 1


class Chain:
    """Numbers chains of block ids.

    Example:
        >>> chain = Chain()
        >>> chain.keys([7, 8]), chain.keys([7, 9]), chain.keys([9, 8])
        ((0, 1), (0, 2), (3, 4))
    """

    def __init__(self) -> None:
        # One whole number stands for the pair (parent + 1, id): half the memory of a tuple, and the garbage collector
        # does not look at it.
        self._key_of: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._key_of)

    def keys(self, ids: Iterable[int]) -> tuple[int, ...]:
        """The keys of a prompt's blocks, from the ids of the blocks in order (0 to BLOCK_ID_MAX)."""
        key_of = self._key_of
        parent = 0
        keys = []
        for block in ids:
            key = key_of.setdefault(parent << 64 | block, len(key_of))
            keys.append(key)
            parent = key + 1
        return tuple(keys)


def interned(requests: Iterable[Request]) -> Iterator[Request]:
    """The same requests with their keys numbered in order of first appearance."""
    chain = Chain()
    for request in requests:
        yield msgspec.structs.replace(request, block_keys=chain.keys(request.block_keys))
