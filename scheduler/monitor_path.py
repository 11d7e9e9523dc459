"""A request as the hot-spot monitor knows it, from its arrival to its dispatch."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

from scheduler.prefix_tree import Node, PrefixTree
from scheduler.unions import Joint


class Path:
    """A request; made by :meth:`scheduler.monitor.Monitor.arrived`, opaque to others.

    Attributes:
        tree: where it is counted.
        node: where its prompt ends in the tree.
        keys, blocks: keys of its blocks, and how many of them count [block].
        block_tokens, prompt_tokens: tokens of a block and of the prompt [token].
        alarmed: its classes and unions in alarm, with the mask of their holders.
    """

    __slots__ = ("alarmed", "block_tokens", "blocks", "keys", "node", "prompt_tokens", "tree")

    def __init__(
        self, tree: PrefixTree, node: Node, keys: Sequence[int], blocks: int, block_tokens: int, prompt_tokens: int
    ) -> None:
        self.tree, self.node, self.keys, self.blocks = tree, node, keys, blocks
        self.block_tokens, self.prompt_tokens = block_tokens, prompt_tokens
        self.alarmed: list[tuple[Node | Joint, int]] = []

    def inside_tokens(self, node: Node) -> int:
        """New tokens of the request on an instance that holds the prompt up to the end of a node."""
        return max(1, self.prompt_tokens - node.end * self.block_tokens)

    def outside_tokens(self, holders_of: Callable[[int], int], everywhere: int) -> int:
        """New tokens of the request on an instance that holds only what all hold.

        Presence is monotone along the chain, so the end of that is found by bisection.

        Args:
            holders_of: bitmask of the slots that hold the block of a key.
            everywhere: bitmask of all slots that count.
        """
        keys = self.keys
        held = bisect_left(range(self.blocks), True, key=lambda at: holders_of(keys[at]) & everywhere != everywhere)
        return max(1, self.prompt_tokens - held * self.block_tokens)
