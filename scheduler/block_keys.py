"""Keys of KV blocks from the tokens in them: how a service names what prompts share.

Index, detector and rules know a prompt by chained keys, one a block: equal leading keys mean an equal prefix. The
router can only predict what an engine takes from its cache if it thinks in the engine's blocks. So a prompt is cut into
those, and each gets a key that follows from its tokens and all before them. Engines that tell what they store tell the
tokens too, which gives the same keys.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from xxhash import xxh3_64_intdigest

from scheduler.domains import Domain
from scheduler.errors import BadInput
from scheduler.state import Request

_BLOCK_TOKENS = Domain(1, None, integer=True, unit="token")
_KEY = Domain(0, 2**64 - 1, integer=True)


def token_keys(ids: Sequence[int] | bytes, block_tokens: int, after: int | None = None) -> tuple[int, ...]:
    """Chained keys of the whole blocks of a run of tokens.

    Args:
        ids: token ids, below 2**32; or the bytes of a text, each in the place of a token.
        block_tokens: tokens in a block, >= 1 [token].
        after: key of the block before the first of them; None if they start a prompt.

    Returns:
        One key a whole block, each below 2**64; what does not fill the last block has none.

    Raises:
        BadInput: a value outside these domains.

    Example:
        >>> keys = token_keys(range(10), 4)
        >>> len(keys), keys[1:] == token_keys(range(4, 10), 4, after=keys[0]), keys[1:] == token_keys(range(4, 10), 4)
        (2, True, False)
        >>> token_keys(b"Never say never", 8) == token_keys(list(b"Never say never"), 8)
        True
    """
    block_tokens = int(_BLOCK_TOKENS.check("block_tokens", block_tokens))
    after = None if after is None else int(_KEY.check("after", after))
    whole = len(ids) // block_tokens
    data = _packed(ids)
    keys: list[int] = []
    for block in range(whole):
        before = b"" if after is None else after.to_bytes(8, "little")
        after = xxh3_64_intdigest(before + data[4 * block * block_tokens : 4 * (block + 1) * block_tokens])
        keys.append(after)
    return tuple(keys)


def _packed(ids: Sequence[int] | bytes) -> bytes:
    """Four bytes a token."""
    given = list(ids) if isinstance(ids, bytes) else ids
    try:
        packed = np.asarray(given)
        fits = packed.dtype.kind in "iu" and packed.min() >= 0 and packed.max() < 2**32 if packed.size else True
        if packed.ndim != 1 or not fits:
            raise OverflowError
    except (OverflowError, TypeError, ValueError):
        raise BadInput("ids", ids, "token ids: integers >= 0 and < 2**32, or the bytes of a text") from None
    return packed.astype("<u4").tobytes()


def keyed_by_tokens(request: Request, ids: Sequence[int], block_tokens: int) -> Request:
    """The same request with the keys of an engine's blocks.

    Args:
        request: as the trace says.
        ids: its prompt.
        block_tokens: tokens in a block of the engine [token].
    """
    return msgspec.structs.replace(request, block_tokens=block_tokens, block_keys=token_keys(ids, block_tokens))
