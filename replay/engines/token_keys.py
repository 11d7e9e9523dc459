"""Keys of blocks from the tokens in them: what engines share that have blocks of their own size.

A trace names blocks of its own size (Mooncake's hold 512 tokens), an engine caches blocks of another (16, 32). The
router can only predict what an engine takes from its cache if it thinks in the engine's blocks. So the prompt is cut
into those, and each gets a key that follows from its tokens and all before them. Engines that tell what they store tell
the tokens too, which gives the same keys.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from xxhash import xxh3_64_intdigest

from scheduler.state import Request


def token_keys(ids: Sequence[int] | bytes, block_tokens: int, after: int | None = None) -> tuple[int, ...]:
    """Chained keys of the whole blocks of a run of tokens.

    Args:
        ids: token ids, below 2**32; or the bytes of a text, each in the place of a token.
        block_tokens: tokens in a block, >= 1 [token].
        after: key of the block before the first of them; None if they start a prompt.

    Returns:
        One key a whole block, each below 2**64; what does not fill the last block has none.

    Example:
        >>> keys = token_keys(range(10), 4)
        >>> len(keys), keys[1:] == token_keys(range(4, 10), 4, after=keys[0]), keys[1:] == token_keys(range(4, 10), 4)
        (2, True, False)
        >>> token_keys(b"Never say never", 8) == token_keys(list(b"Never say never"), 8)
        True
    """
    whole = len(ids) // block_tokens
    whole_ids = ids[: whole * block_tokens]
    data = np.asarray(list(whole_ids) if isinstance(ids, bytes) else whole_ids, dtype="<u4").tobytes()
    keys: list[int] = []
    for block in range(whole):
        before = b"" if after is None else after.to_bytes(8, "little")
        after = xxh3_64_intdigest(before + data[4 * block * block_tokens : 4 * (block + 1) * block_tokens])
        keys.append(after)
    return tuple(keys)


def keyed_by_tokens(request: Request, ids: Sequence[int], block_tokens: int) -> Request:
    """The same request with the keys of an engine's blocks.

    Args:
        request: as the trace says.
        ids: its prompt.
        block_tokens: tokens in a block of the engine [token].
    """
    return msgspec.structs.replace(request, block_tokens=block_tokens, block_keys=token_keys(ids, block_tokens))
