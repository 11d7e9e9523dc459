"""The tree of the prompts of the last W requests and of those in flight, path-compressed: exact counts at every depth.

Block keys are chained: equal keys name equal prefixes. A node is a run of blocks that the same prompts have, so all
depths inside it have the same requests, and the node stands for the class of prompts that begin with its last block.
Descending compares only the last key of a run; where a prompt leaves inside a run, the place is found by bisection
(equality is monotone along a chain), and the run is split there. So a prompt of 1000 blocks costs as many steps as it
has nodes. When a prompt leaves the window, nodes vanish or merge: every node ends a prompt or has two children, so
there are at most two a prompt, and the keys kept are those of the distinct blocks.

Rejected: sketches of heavy hitters. They hold fewer numbers but count with an error, cannot say how many of the last 64
requests it were, and have to be fed each block.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain

#: A run of keys in pieces.
Pieces = tuple[tuple[int, ...], ...]


class Node:
    """A run of blocks; the class of prompts that begin with the last of them.

    Attributes:
        pieces: the keys of its blocks, in order, in pieces none of which is empty: nodes that merge are not copied.
        end: number of blocks from the first block of a prompt to the end of the run [block].
        first, last: keys of its first and last block.
        parent: the node before; None for the root and for what is no longer in the tree.
        children: nodes after it, by the first key of their run.
        arrivals: numbers of the requests of the class in the window, ascending.
        residents: requests of the class in flight.
        ends: prompts, in the window or in flight, that end here.
        block_tokens: tokens of a block [token].
        prompt_tokens: length of the prompt that came last [token].
        streak, standing: for the owner of the tree, see :mod:`scheduler.monitor`.
    """

    __slots__ = (
        "_label", "arrivals", "block_tokens", "children", "end", "ends", "first", "last", "parent", "pieces",
        "prompt_tokens", "residents", "standing", "streak",
    )  # fmt: skip

    def __init__(self, pieces: Pieces, end: int, parent: Node | None, block_tokens: int) -> None:
        self.pieces, self.end, self.parent, self.block_tokens = pieces, end, parent, block_tokens
        self.first, self.last = (pieces[0][0], pieces[-1][-1]) if pieces else (0, 0)
        self.children: dict[int, Node] = {}
        self.arrivals: deque[int] = deque()
        self.residents = self.ends = self.prompt_tokens = self.streak = 0
        self.standing = False
        self._label = ""

    @property
    def run(self) -> tuple[int, ...]:
        """The keys of its blocks, in order."""
        return tuple(chain.from_iterable(self.pieces))

    def label(self) -> str:
        """A name that equal classes have in every run: length of the prefix and the end of its key."""
        if not self._label:
            self._label = f"prefix {self.end * self.block_tokens} tokens #{self.last & 0xFFFFFF:06x}"
        return self._label

    def count_since(self, number: int) -> int:
        """Requests of the class with a number above this one."""
        arrivals = self.arrivals
        return len(arrivals) - bisect_left(arrivals, number + 1)


class PrefixTree:
    """The prompts of the last requests and of those in flight.

    Args:
        window: W, requests that are remembered, >= 1.

    Attributes:
        root: the node before the first block; it counts nothing.
        number: requests so far.
        recent: where the prompts of the window end, oldest first.
        size: nodes without the root.

    Example:
        >>> tree = PrefixTree(2)
        >>> first = tree.add([1, 2, 3], 3, 16, 50)
        >>> second = tree.add([1, 2, 4], 3, 16, 50)
        >>> [(node.run, len(node.arrivals)) for node in tree.nodes()]
        [((1, 2), 2), ((3,), 1), ((4,), 1)]
        >>> _ = tree.add([1, 2, 4], 3, 16, 50)  # the first one leaves the window, and what is left is one run
        >>> [(node.run, len(node.arrivals)) for node in tree.nodes()]
        [((1, 2, 4), 2)]
    """

    __slots__ = ("_window", "number", "recent", "root", "size")

    def __init__(self, window: int) -> None:
        self._window = window
        self.recent: deque[Node] = deque()
        self.root = Node((), 0, None, 1)
        self.number = 0
        self.size = 0

    def add(self, keys: Sequence[int], blocks: int, block_tokens: int, prompt_tokens: int) -> Node:
        """Count a request; the one that leaves the window is counted off.

        Args:
            keys: chained keys of the prompt's blocks.
            blocks: look at no more than so many of them, in [0, len(keys)].
            block_tokens: tokens of a block, >= 1 [token].
            prompt_tokens: length of the prompt [token].

        Returns:
            The node where the prompt ends; the root if it has no block.
        """
        self.number = number = self.number + 1
        node, depth = self.root, 0
        while depth < blocks:
            child = node.children.get(keys[depth])
            if child is None:
                child = self._leaf(node, keys, blocks, block_tokens)
            elif child.end > blocks or keys[child.end - 1] != child.last:
                child = self._split(child, keys, blocks)
            child.arrivals.append(number)
            child.prompt_tokens = prompt_tokens
            node, depth = child, child.end
        node.ends += 1
        recent = self.recent
        recent.append(node)
        if len(recent) > self._window:
            self._forget(recent.popleft())
        return node

    def find(self, keys: Sequence[int], blocks: int, block_tokens: int) -> Node:
        """The node where a prompt ends, made if it is not there; nothing is counted, see :meth:`enter`."""
        node, depth = self.root, 0
        while depth < blocks:
            child = node.children.get(keys[depth])
            if child is None:
                child = self._leaf(node, keys, blocks, block_tokens)
            elif child.end > blocks or keys[child.end - 1] != child.last:
                child = self._split(child, keys, blocks)
            node, depth = child, child.end
        return node

    def recount(self, node: Node) -> None:
        """One more request whose prompt ends at a node of this tree, for a tree that is built anew."""
        self.number += 1
        self.recent.append(node)
        node.ends += 1
        up = node
        while up.parent is not None:
            up.arrivals.append(self.number)
            up = up.parent

    def enter(self, node: Node) -> None:
        """A request whose prompt ends at a node of this tree is in flight."""
        node.ends += 1
        up: Node | None = node
        while up is not None:
            up.residents += 1
            up = up.parent

    def leave(self, node: Node) -> None:
        """It is no longer."""
        up: Node | None = node
        while up is not None:
            up.residents -= 1
            up = up.parent
        self._unpin(node)

    def nodes(self) -> Iterator[Node]:
        """All nodes without the root, each before its children."""
        stack = list(reversed(self.root.children.values()))
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.children.values()))

    def _forget(self, node: Node) -> None:
        """The oldest request of the window, whose prompt ends here, leaves it."""
        up, root = node, self.root
        while up is not root:
            up.arrivals.popleft()
            assert up.parent is not None, "a prompt of the window ends at a node of the tree"
            up = up.parent
        self._unpin(node)

    def _unpin(self, node: Node) -> None:
        node.ends -= 1
        while not node.ends and node.parent is not None and len(node.children) < 2:
            parent = node.parent
            if node.children:  # all its prompts go on to the one child: the same class
                (child,) = node.children.values()
                child.pieces, child.first, child.parent = node.pieces + child.pieces, node.first, parent
                parent.children[node.first] = child
            else:
                del parent.children[node.first]
            node.parent = None
            self.size -= 1
            node = parent

    def _leaf(self, parent: Node, keys: Sequence[int], blocks: int, block_tokens: int) -> Node:
        run = tuple(keys[parent.end : blocks])
        node = parent.children[run[0]] = Node((run,), blocks, parent, block_tokens)
        self.size += 1
        return node

    def _split(self, lower: Node, keys: Sequence[int], blocks: int) -> Node:
        """Part a run where a prompt leaves it; the upper part is new, so that who knows the end of the run still does.

        The first block of the run is the prompt's.
        """
        parent = lower.parent
        assert parent is not None, "the root has no run"
        above, below, end = _parted(lower.pieces, keys, parent.end, blocks)
        upper = Node(above, end, parent, lower.block_tokens)
        upper.arrivals = lower.arrivals.copy()
        upper.residents, upper.streak, upper.prompt_tokens = lower.residents, lower.streak, lower.prompt_tokens
        upper.standing = lower.standing
        parent.children[upper.first] = upper
        lower.pieces, lower.first, lower.parent = below, below[0][0], upper
        upper.children[lower.first] = lower
        self.size += 1
        return upper


def _parted(pieces: Pieces, keys: Sequence[int], start: int, blocks: int) -> tuple[Pieces, Pieces, int]:
    """The run up to where the prompt leaves it, the rest of it, and the depth of that place [block]."""
    for place, piece in enumerate(pieces):
        end = start + len(piece)
        if end <= blocks and keys[end - 1] == piece[-1]:
            start = end
            continue
        low, high = 0, min(len(piece), blocks - start)  # equal for `low` blocks, perhaps for `high`
        while low < high:
            middle = (low + high + 1) // 2
            if keys[start + middle - 1] == piece[middle - 1]:
                low = middle
            else:
                high = middle - 1
        above = (*pieces[:place], piece[:low]) if low else pieces[:place]
        return above, (piece[low:], *pieces[place + 1 :]), start + low
    raise AssertionError("the prompt leaves the run")
