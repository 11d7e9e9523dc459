"""Distinct KV blocks held by requests in flight, as a router books them. Source: Dynamo (docs/sources.md#dynamo)."""

from __future__ import annotations

from collections.abc import Sequence

from scheduler.prefix_index import PrefixIndex


class ActiveBlocks:
    """Blocks in use on every instance, shared ones counted once.

    Args:
        instance_count: number of instances, >= 1.

    Attributes:
        counts: distinct blocks in use, one entry an instance.
    """

    def __init__(self, instance_count: int) -> None:
        self.counts = [0] * instance_count
        self._users: list[dict[int, int]] = [{} for _ in range(instance_count)]
        self._index = PrefixIndex(instance_count)

    def added(self, keys: Sequence[int], prompt_blocks: int) -> list[int]:
        """Blocks a prompt would add on every instance."""
        return [prompt_blocks - shared for shared in self._index.hit_tokens(keys, 1)]

    def add(self, instance: int, keys: Sequence[int]) -> None:
        """A request with these blocks starts."""
        users = self._users[instance]
        new = []
        for key in keys:
            count = users.get(key, 0)
            if not count:
                new.append(key)
            users[key] = count + 1
        self._index.add(instance, new)
        self.counts[instance] += len(new)

    def remove(self, instance: int, keys: Sequence[int]) -> None:
        """It ended."""
        users = self._users[instance]
        gone = []
        for key in keys:
            users[key] -= 1
            if not users[key]:
                del users[key]
                gone.append(key)
        self._index.remove(instance, gone)
        self.counts[instance] -= len(gone)
