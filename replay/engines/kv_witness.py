"""Whether what engines tell of their caches is of what they were sent.

Addresses of KV events say nothing of whose they are. If two are swapped, all looks well: batches come, blocks are
stored, and the router believes each cache to be on the other instance. So it is looked whether the events that are
taken for those of an instance tell of the prompts that this instance was sent.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from replay.engines.prompts import Prompts
from replay.engines.protocol import CacheSink
from replay.live_record import Line
from scheduler.state import End, Request

#: Prompts of an instance that are looked for, the first that ended; with fewer than the second, nothing is said.
PROMPTS_MAX, PROMPTS_MIN = 16, 4
#: Events that are an engine's own tell of at least this share of its prompts; some may come late or be lost.
SHARE_OWN = 0.5
#: Keys remembered of an instance and a run; the first prompts are among the first of them [block].
KEYS_MAX = 2**17


class KvWitness:
    """Passes on what caches do, and remembers what was stored since a run began.

    Args:
        sink: told next.

    Example:
        >>> witness = KvWitness(lambda *_: None)
        >>> for name, keys in (("a", (5, 6, 7, 8)), ("b", (1, 2, 3, 4))):
        ...     witness(name, keys, None, ())
        >>> witness.contradictions({"a": {5, 6, 7, 8}, "b": {1, 2, 3, 4}})
        []
        >>> witness.contradictions({"b": {5, 6, 7, 8}})
        ['KV events of b tell of 0 of 4 prompts that it was sent: is that address of its --kv-events its own?']
    """

    def __init__(self, sink: CacheSink) -> None:
        self._sink = sink
        self._stored: dict[str, set[int]] = {}

    def __call__(self, name: str, stored: tuple[int, ...], after: int | None, removed: tuple[int, ...]) -> None:
        """Blocks were stored, or removed."""
        kept = self._stored.setdefault(name, set())
        if len(kept) < KEYS_MAX:
            kept.update(stored)
        self._sink(name, stored, after, removed)

    def forget(self) -> None:
        """A run begins."""
        self._stored.clear()

    def contradictions(self, sent: Mapping[str, Collection[int]]) -> list[str]:
        """Sentences on events that are none of their instance's.

        Args:
            sent: by instance, the key of the last whole block of each prompt that it was sent.
        """
        told = []
        for name, keys in sent.items():
            if len(keys) < PROMPTS_MIN or self._share(name, keys) >= SHARE_OWN:
                continue
            own = f"KV events of {name} tell of {self._found(name, keys)} of {len(keys)} prompts that it was sent"
            others = {
                other: self._share(name, theirs)
                for other, theirs in sent.items()
                if other != name and len(theirs) >= PROMPTS_MIN
            }
            whose = max(others, key=lambda other: others[other], default=name)
            if others.get(whose, 0.0) >= SHARE_OWN:
                theirs = sent[whose]
                own += f", and of {self._found(name, theirs)} of {len(theirs)} that {whose} was sent"
                told.append(f"{own}: are --kv-events in the order of --endpoint?")
            else:
                told.append(f"{own}: is that address of its --kv-events its own?")
        return told

    def _found(self, name: str, keys: Collection[int]) -> int:
        stored = self._stored.get(name, set())
        return sum(key in stored for key in keys)

    def _share(self, name: str, keys: Collection[int]) -> float:
        return self._found(name, keys) / len(keys)


def sent_to(lines: Sequence[Line], requests: Mapping[int, Request], prompts: Prompts) -> dict[str, set[int]]:
    """By instance, the key of the last whole block of each of the first prompts that ended there.

    Args:
        lines: of a run, in the order of their ends.
        requests: those of the trace, by id.
        prompts: of that run; they think in blocks of the engines.
    """
    sent: dict[str, set[int]] = {}
    for line in lines:
        if line.instance is None or line.end != End.FINISHED.value:
            continue
        keys = sent.setdefault(line.instance, set())
        if len(keys) >= PROMPTS_MAX:
            continue
        request = requests[line.id]
        seen = prompts.keyed(request, prompts.ids(request))
        whole = seen.prompt_tokens // seen.block_tokens
        if whole:
            keys.add(seen.block_keys[whole - 1])
    return sent
