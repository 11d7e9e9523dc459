"""Prompts that share exactly what a trace says they share: token ids made from the keys of blocks.

A block of a prompt becomes ``block_tokens`` token ids that follow from its key alone, so two prompts begin with the
same tokens as far as their keys are the same, token for token. What lies behind the last key (the rest of the last
block, or a prompt without keys) follows from the id of the request, and is shared with nobody.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from scheduler.block_keys import keyed_by_tokens
from scheduler.domains import REQUEST_DOMAINS, Domain
from scheduler.errors import BadInput
from scheduler.state import Request

#: Smallest vocabulary: with fewer ids equal blocks would come up by chance.
VOCABULARY = Domain(256, 2**31, integer=True, unit="token id")


class Prompts:
    """Makes prompts for one vocabulary.

    Args:
        vocabulary_size: ids run below it.
        first_id: the least id used; those below are for special tokens.
        seed: another one gives other prompts that share the same.
        block_tokens: tokens in a block of the engines, where the router shall think in these; None: in the trace's
            own [token].

    Raises:
        BadInput: if the vocabulary is too small, or a block cannot be of that size.

    Example:
        >>> prompts = Prompts(1000)
        >>> one, two = (Request(id=i, arrival_s=0.0, prompt_tokens=10, block_tokens=4, block_keys=(7, 8 + i))
        ...             for i in range(2))
        >>> first, second = prompts.ids(one), prompts.ids(two)
        >>> len(first), first[:4] == second[:4], first[4:] == second[4:]
        (10, True, False)
    """

    def __init__(
        self, vocabulary_size: int, first_id: int = 10, seed: int = 0, block_tokens: int | None = None
    ) -> None:
        VOCABULARY.check("vocabulary_size", vocabulary_size)
        if block_tokens is not None:
            REQUEST_DOMAINS["block_tokens"].check("block_tokens", block_tokens)
        if not 0 <= first_id <= vocabulary_size // 2:
            raise BadInput("first_id", first_id, f"an integer from 0 to {vocabulary_size // 2}")
        self._low, self._high, self.seed, self._block_tokens = first_id, vocabulary_size, seed, block_tokens
        self._block = functools.lru_cache(maxsize=65_536)(self._made)

    def ids(self, request: Request) -> tuple[int, ...]:
        """The token ids of a request, ``prompt_tokens`` of them."""
        size, length = request.block_tokens, request.prompt_tokens
        found: list[int] = []
        for key in request.block_keys:
            found += self._block(f"block {key}", min(size, length - len(found))).tolist()
        if len(found) < length:
            found += self._made(f"rest of {request.id}", length - len(found)).tolist()
        return tuple(found)

    def keyed(self, request: Request, ids: tuple[int, ...]) -> Request:
        """The request as the router shall see it, given its token ids."""
        return request if self._block_tokens is None else keyed_by_tokens(request, ids, self._block_tokens)

    def salted(self, seed: int) -> Prompts:
        """Prompts that share the same among each other, and nothing with these."""
        return Prompts(self._high, self._low, seed, self._block_tokens)

    def _made(self, name: str, count: int) -> NDArray[np.uint32]:
        digest = xxh3_64_intdigest(name.encode(), seed=self.seed)
        # Kept as four bytes a token: a list of Python's numbers takes ten times as much.
        return np.random.default_rng(digest).integers(self._low, self._high, count).astype(np.uint32)
