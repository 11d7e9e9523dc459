"""Runs: stretches of the prefix tree in which nothing branches, so that work is done per run and not per block.

A trace is known before it is simulated. Blocks that always follow one another in it, and after none of which a prompt
ends, are one run; a prompt is a path of few runs, however small the blocks. Caches and indices that work on runs are
exact: they keep how many blocks of a run are there, so a run may be cached, evicted or computed in part.

This is knowledge about the trace, used to be quick, never to decide: the plain structures on blocks give the same
simulation (a property test), and a live router uses those.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from scheduler.state import Request

#: ``(run, first block, end block)``: a run and where it lies in the prompt, in order.
Path = tuple[tuple[int, int, int], ...]


def full_blocks(request: Request) -> int:
    """Blocks of a prompt that can be shared: the full ones of those that have a key."""
    return min(len(request.block_keys), request.prompt_tokens // request.block_tokens)


def run_paths(requests: Sequence[Request]) -> list[Path]:
    """The path of every request through the runs of all of them.

    Args:
        requests: all requests of a simulation; their keys name chains.

    Example:
        >>> make = lambda n, keys: Request(id=n, arrival_s=0, prompt_tokens=len(keys), block_keys=keys, block_tokens=1)
        >>> run_paths([make(0, (1, 2, 3, 4)), make(1, (1, 2, 5))])
        [((0, 0, 2), (1, 2, 4)), ((0, 0, 2), (2, 2, 3))]
    """
    chains = [request.block_keys[: full_blocks(request)] for request in requests]
    cuts = _cuts(chains)
    run_of: dict[int, int] = {}
    paths = []
    for chain in chains:
        start, path = 0, []
        for end in [depth for depth, key in enumerate(chain, 1) if key in cuts]:
            path.append((run_of.setdefault(chain[start], len(run_of)), start, end))
            start = end
        paths.append(tuple(path))
    return paths


def _cuts(chains: Iterable[Sequence[int]]) -> set[int]:
    """Keys after which a run ends: a prompt ends there, or two prompts part."""
    follower: dict[int, int] = {}
    cuts: set[int] = set()
    follow = follower.setdefault
    for chain in chains:
        if chain:
            cuts.add(chain[-1])
        cuts.update(key for key, after in pairwise(chain) if follow(key, after) != after)
    return cuts
