"""What an engine says of its KV cache: batches of events in MessagePack, read into typed values.

vLLM and SGLang send the same batches: an array of the engine's clock, the events and a rank. An event is an array with
its name first and its fields by position (vLLM to 0.23, SGLang formerly), or a map with its name under ``type`` (vLLM
from 0.24, SGLang now). Both are read here, fields that came later included; those that nobody here knows, and events of
another name, say nothing. Hashes of blocks are opaque: what they are made of differs from version to version.

This file knows neither sockets nor routers (:mod:`replay.engines.kv_subscriber`, :mod:`replay.engines.kv_blocks`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from scheduler.errors import EngineFailure, shown

#: An engine's name for a block: an integer, or the bytes of a digest.
BlockHash = int | bytes | str

#: Fields by position, after the name. Maps name them the same.
_STORED = (
    "block_hashes",
    "parent_block_hash",
    "token_ids",
    "block_size",
    "lora_id",
    "medium",
    "lora_name",  # where SGLang formerly sent `metadata`, which says the same: not the tokens alone decide
    "extra_keys",
    "group_idx",
    "kv_cache_spec_kind",
)
_REMOVED = ("block_hashes", "medium", "group_idx")
#: If one of these is given, blocks of the same tokens may hold something else.
_BEYOND_TOKENS = ("lora_id", "lora_name", "cache_salt", "metadata")
_IDS_END = 2**32
_HINT = "is this the address of an engine's KV events, and is its version known?"


class Stored(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Blocks of one prompt that follow each other are in the cache from now on.

    Args:
        hashes: of the blocks, in order.
        parent: hash of the block before the first of them; None if that one starts the prompt.
        token_ids: what is in them, in order; None if the engine names no plain token ids (SGLang's pairs).
        block_tokens: tokens in a block [token].
        plain_blocks: so many of them, from the first, hold what their tokens and those before them say; in those
            behind, an adapter (LoRA), a salt or an image has a part [block].
        medium: where they are, as the engine calls it (``GPU``); None if it does not say.
        locality: ``LOCAL`` or ``REMOTE``, as seen from the engine; None if it does not say.
        group: which of the engine's caches, for models with several kinds of attention; None if it does not say.
        attention: the kind of that cache, as the engine calls it.
    """

    hashes: tuple[BlockHash, ...]
    parent: BlockHash | None
    token_ids: tuple[int, ...] | None
    block_tokens: int
    plain_blocks: int
    medium: str | None = None
    locality: str | None = None
    group: int | None = None
    attention: str | None = None


class Removed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Blocks are gone.

    Args:
        hashes: of the blocks, in the order in which they went.
        medium, locality, group: as in :class:`Stored`.
    """

    hashes: tuple[BlockHash, ...]
    medium: str | None = None
    locality: str | None = None
    group: int | None = None


class Cleared(msgspec.Struct, frozen=True, gc=False):
    """All blocks are gone."""


KvEvent = Stored | Removed | Cleared


class Batch(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What an engine told at once.

    Args:
        at_s: when, by the clock of the engine's machine [s since 1970].
        events: in the order in which they happened.
        rank: which of several engines behind one address.
        unknown: events left out, because their name is not known.
    """

    at_s: float
    events: tuple[KvEvent, ...]
    rank: int | None = None
    unknown: int = 0


def decode_batch(payload: bytes) -> Batch:
    """The events in a message.

    Args:
        payload: its last frame.

    Raises:
        EngineFailure: if it is no batch of KV events: where it differs, what was expected, what stood there.

    Example:
        >>> array = msgspec.msgpack.encode([1.5, [["BlockRemoved", [7], "GPU"], ["AllBlocksCleared"]]])
        >>> decode_batch(array).events
        (Removed(hashes=(7,), medium='GPU', locality=None, group=None), Cleared())
        >>> map_ = msgspec.msgpack.encode([1.5, [{"type": "BlockRemoved", "block_hashes": [7], "medium": "GPU"}], 0])
        >>> decode_batch(map_).events == decode_batch(array).events[:1]
        True
    """
    try:
        whole = msgspec.msgpack.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise EngineFailure(f"no batch of KV events: expected MessagePack: {fault} ({_HINT})") from None
    if not isinstance(whole, list) or len(whole) < 2:
        raise _otherwise("the whole", "an array of time, events and rank", whole)
    at_s, told, *others = whole
    if type(at_s) not in (int, float):
        raise _otherwise("the time", "a number of seconds", at_s)
    if not isinstance(told, list):
        raise _otherwise("the events", "an array", told)
    rank = _or_none("the rank", "an integer", others[0] if others else None, int)
    events = [_event(f"events[{place}]", event) for place, event in enumerate(told)]
    known = tuple(event for event in events if event is not None)
    return Batch(at_s=float(at_s), events=known, rank=rank, unknown=len(events) - len(known))


def _event(where: str, event: Any) -> KvEvent | None:
    """One event; None if its name is not known."""
    name = event.get("type") if isinstance(event, dict) else event[0] if isinstance(event, list) and event else None
    if not isinstance(name, str):
        raise _otherwise(where, "an array with a name first, or a map with a name under `type`", event)
    if name == "AllBlocksCleared":
        return Cleared()
    if name == "BlockRemoved":
        return _removed(where, _fields(event, _REMOVED))
    if name == "BlockStored":
        return _stored(where, _fields(event, _STORED))
    return None


def _fields(event: dict[Any, Any] | list[Any], names: Sequence[str]) -> Mapping[Any, Any]:
    """Fields by name; an array may be shorter than the names, or longer."""
    return event if isinstance(event, dict) else dict(zip(names, event[1:], strict=False))


def _removed(where: str, fields: Mapping[Any, Any]) -> Removed:
    return Removed(
        hashes=_hashes(where, fields.get("block_hashes")),
        medium=_or_none(f"{where}.medium", "a text", fields.get("medium"), str),
        locality=_or_none(f"{where}.locality", "a text", fields.get("locality"), str),
        group=_or_none(f"{where}.group_idx", "an integer", fields.get("group_idx"), int),
    )


def _stored(where: str, fields: Mapping[Any, Any]) -> Stored:
    size, parent = fields.get("block_size"), fields.get("parent_block_hash")
    if type(size) is not int or size < 1:
        raise _otherwise(f"{where}.block_size", "an integer >= 1", size)
    if parent is not None and type(parent) not in (int, bytes, str):
        raise _otherwise(f"{where}.parent_block_hash", "an integer, bytes or nil", parent)
    hashes = _hashes(where, fields.get("block_hashes"))
    return Stored(
        hashes=hashes,
        parent=parent,
        token_ids=_token_ids(where, fields.get("token_ids")),
        block_tokens=size,
        plain_blocks=_plain_blocks(where, fields, len(hashes)),
        medium=_or_none(f"{where}.medium", "a text", fields.get("medium"), str),
        locality=_or_none(f"{where}.locality", "a text", fields.get("locality"), str),
        group=_or_none(f"{where}.group_idx", "an integer", fields.get("group_idx"), int),
        attention=_or_none(f"{where}.kv_cache_spec_kind", "a text", fields.get("kv_cache_spec_kind"), str),
    )


def _hashes(where: str, value: Any) -> tuple[BlockHash, ...]:
    if not isinstance(value, list) or not set(map(type, value)) <= {int, bytes, str}:
        raise _otherwise(f"{where}.block_hashes", "an array of integers or bytes", value)
    return tuple(value)


def _token_ids(where: str, value: Any) -> tuple[int, ...] | None:
    if not isinstance(value, list):
        raise _otherwise(f"{where}.token_ids", "an array", value)
    plain = set(map(type, value)) <= {int} and (not value or (min(value) >= 0 and max(value) < _IDS_END))
    return tuple(value) if plain else None


def _plain_blocks(where: str, fields: Mapping[Any, Any], blocks: int) -> int:
    """How many blocks, from the first, hold what their tokens say and nothing else."""
    if any(fields.get(name) is not None for name in _BEYOND_TOKENS):
        return 0
    extra = fields.get("extra_keys")
    if extra is None:
        return blocks
    if not isinstance(extra, list):
        raise _otherwise(f"{where}.extra_keys", "an array or nil", extra)
    return next((place for place, keys in enumerate(extra[:blocks]) if keys), blocks)


def _or_none(where: str, expected: str, value: Any, kind: type) -> Any:
    if value is not None and type(value) is not kind:
        raise _otherwise(where, f"{expected} or nil", value)
    return value


def _otherwise(where: str, expected: str, value: Any) -> EngineFailure:
    return EngineFailure(f"no batch of KV events: {where}: expected {expected}, got {shown(value)} ({_HINT})")
