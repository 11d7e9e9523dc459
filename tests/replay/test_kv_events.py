"""Batches of KV events: both encodings of all versions say the same, and what is no batch is refused in plain words."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.engines.kv_events import Batch, Cleared, Removed, Stored, decode_batch
from scheduler.errors import EngineFailure

IDS = list(range(100, 108))
STORED = {"block_hashes": [7, 8], "parent_block_hash": 6, "token_ids": IDS, "block_size": 4, "lora_id": None}
PLAIN = Stored(hashes=(7, 8), parent=6, token_ids=tuple(IDS), block_tokens=4, plain_blocks=2)
GPU = msgspec.structs.replace(PLAIN, medium="GPU")
KINDS: dict[str, Any] = {"group_idx": 0, "kv_cache_spec_kind": "full_attention", "kv_cache_spec_sliding_window": None}
IN_GROUP = msgspec.structs.replace(GPU, group=0, attention="full_attention")

#: What vLLM 0.32.0 on CPU published: its cache was emptied, then a prompt of the tokens 1 to 64 came.
OF_VLLM_0_32 = bytes.fromhex(
    "93cb41dac2ced5806f289281a474797065b0416c6c426c6f636b73436c65617265648ba474797065ab426c6f636b53746f726564ac626c6f"
    "636b5f68617368657392cfb1aca189072f77a2cf40ec39fb3ab240c3b1706172656e745f626c6f636b5f68617368c0a9746f6b656e5f6964"
    "73dc00400102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031323334"
    "35363738393a3b3c3d3e3f40aa626c6f636b5f73697a6520a76c6f72615f6964c0a66d656469756da3475055a96c6f72615f6e616d65c0aa"
    "65787472615f6b65797392c0c0a967726f75705f69647800b26b765f63616368655f737065635f6b696e64ae66756c6c5f617474656e7469"
    "6f6e00"
)


def decoded(*events: Any, more: tuple[Any, ...] = ()) -> Batch:
    return decode_batch(msgspec.msgpack.encode([12.5, list(events), *more]))


def array(fields: dict[str, Any], *more: Any, name: str = "BlockStored") -> list[Any]:
    return [name, *fields.values(), *more]


def map_(fields: dict[str, Any], name: str = "BlockStored", **more: Any) -> dict[str, Any]:
    return {"type": name, **fields, **more}


@pytest.mark.parametrize(
    ("event", "meant"),
    [
        pytest.param(array(STORED), PLAIN, id="SGLang 0.4"),
        pytest.param(array(STORED, "GPU"), GPU, id="vLLM 0.11, SGLang 0.5"),
        pytest.param(array(STORED, "GPU", None), GPU, id="vLLM 0.15"),
        pytest.param(array(STORED, "GPU", None, [None, None], 0), msgspec.structs.replace(GPU, group=0), id="0.20"),
        pytest.param(array(STORED, "GPU", None, [None, None], 0, "full_attention", None), IN_GROUP, id="vLLM 0.23"),
        pytest.param(map_(STORED, medium="GPU", lora_name=None, extra_keys=[None, None], **KINDS), IN_GROUP, id="0.24"),
        pytest.param(
            map_(STORED, medium="GPU", lora_name=None, locality="LOCAL", ownership="x", session_id="y", **KINDS),
            msgspec.structs.replace(IN_GROUP, locality="LOCAL"),
            id="vLLM 0.32",
        ),
        pytest.param(map_(STORED, medium="GPU", cache_salt=None, session_id=None), GPU, id="SGLang, newer"),
    ],
)
def test_each_version_tells_the_same_of_a_stored_block(event: Any, meant: Stored) -> None:
    assert decoded(event) == Batch(at_s=12.5, events=(meant,))


@pytest.mark.parametrize(
    ("event", "meant"),
    [
        (["BlockRemoved", [7, 8]], Removed(hashes=(7, 8))),
        (["BlockRemoved", [7], "GPU"], Removed(hashes=(7,), medium="GPU")),
        (["BlockRemoved", [7], "CPU", 1], Removed(hashes=(7,), medium="CPU", group=1)),
        (map_({"block_hashes": [7]}, "BlockRemoved", medium="GPU", group_idx=0, locality="REMOTE", ownership=None),
         Removed(hashes=(7,), medium="GPU", group=0, locality="REMOTE")),
        (["AllBlocksCleared"], Cleared()),
        ({"type": "AllBlocksCleared"}, Cleared()),
    ],
)  # fmt: skip
def test_each_version_tells_the_same_of_what_is_gone(event: Any, meant: Any) -> None:
    assert decoded(event, more=(3,)) == Batch(at_s=12.5, events=(meant,), rank=3)


def test_a_batch_of_a_real_engine_is_read() -> None:
    batch = decode_batch(OF_VLLM_0_32)
    ids = tuple(range(1, 65))
    hashes = 0xB1ACA189072F77A2, 0x40EC39FB3AB240C3
    stored = Stored(
        hashes=hashes, parent=None, token_ids=ids, block_tokens=32, plain_blocks=2, medium="GPU", group=0,
        attention="full_attention",
    )  # fmt: skip
    assert (batch.events, batch.rank, batch.unknown) == ((Cleared(), stored), 0, 0)


ORDER = (*STORED, "medium", "lora_name", "extra_keys", *KINDS)
HASHES = st.lists(st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=32), max_size=4)
TEXTS = st.none() | st.text(max_size=5)
REST = st.dictionaries(
    st.sampled_from(["later", "ownership", "x"]), st.none() | st.integers(0, 9) | st.lists(st.text())
)


@given(
    st.fixed_dictionaries(
        {
            "block_hashes": HASHES,
            "parent_block_hash": st.none() | st.integers(0, 2**64 - 1) | st.binary(max_size=32),
            "token_ids": st.lists(st.integers(0, 2**32 - 1), max_size=20),
            "block_size": st.integers(1, 8),
            "lora_id": st.none() | st.integers(0, 3),
            "medium": TEXTS,
            "lora_name": TEXTS,
            "extra_keys": st.none() | st.lists(st.none() | st.lists(st.text(max_size=3), max_size=2), max_size=5),
            "group_idx": st.none() | st.integers(0, 3),
            "kv_cache_spec_kind": TEXTS,
            "kv_cache_spec_sliding_window": st.none() | st.integers(1, 9),
        }
    ),
    st.integers(5, 11),
    REST,
    st.lists(st.none() | st.integers(0, 9), max_size=3),
)
def test_an_array_and_a_map_say_the_same(
    fields: dict[str, Any], told: int, later: dict[str, Any], more: list[Any]
) -> None:
    """Arrays may end early and maps leave fields out; what nobody here knows says nothing."""
    some = {name: fields[name] for name in ORDER[:told]}
    behind = more if told == len(ORDER) else []
    as_array, as_map = decoded(array(some, *behind)), decoded(map_(some, **later))
    assert as_array == as_map
    (event,) = as_map.events
    assert isinstance(event, Stored)
    assert event.hashes == tuple(fields["block_hashes"])
    assert event.token_ids == tuple(fields["token_ids"])
    assert 0 <= event.plain_blocks <= len(event.hashes)


@pytest.mark.parametrize(
    ("more", "plain"),
    [
        ({"lora_id": 1}, 0),
        ({"lora_name": "french"}, 0),
        ({"lora_name": {"cache_salt": "x"}}, 0),  # an array of SGLang with `metadata` in that place
        ({"cache_salt": "x"}, 0),
        ({"extra_keys": [["salt"], None]}, 0),
        ({"extra_keys": [None, [["image", 3]]]}, 1),
        ({"extra_keys": [None, []]}, 2),
        ({"extra_keys": [None]}, 2),
    ],
)
def test_blocks_that_hold_more_than_their_tokens_are_told_apart(more: dict[str, Any], plain: int) -> None:
    (event,) = decoded(map_({**STORED, **more})).events
    assert isinstance(event, Stored)
    assert event.plain_blocks == plain


@pytest.mark.parametrize("ids", [[[1, 2], [2, 3]], [-1], [2**32], [True], ["a"], [1.0]])
def test_what_are_no_token_ids_is_none(ids: list[Any]) -> None:
    (event,) = decoded(map_({**STORED, "token_ids": ids})).events
    assert isinstance(event, Stored)
    assert event.token_ids is None


def test_events_of_an_unknown_name_are_counted_and_left_out() -> None:
    batch = decoded(["BlockMoved", [7]], {"type": "Later", "x": 1}, ["AllBlocksCleared"])
    assert (batch.events, batch.unknown) == ((Cleared(),), 2)


@pytest.mark.parametrize(
    ("whole", "said"),
    [
        (b"", "expected MessagePack"),
        (b"\x93\x01", "expected MessagePack"),
        (b"\x91" * 100_000, "expected MessagePack"),
        (b"\xa1\xff", "expected MessagePack"),
        ({"events": []}, "the whole: expected an array of time, events and rank, got {"),
        ([1.0], "the whole: expected an array of time, events and rank"),
        (["LoadStat", 7, 3], "the time: expected a number of seconds, got 'LoadStat'"),
        ([1.0, {}], "the events: expected an array"),
        ([1.0, [], "x"], "the rank: expected an integer or nil, got 'x'"),
        ([1.0, [7]], r"events\[0\]: expected an array with a name first, or a map with a name under `type`, got 7"),
        ([1.0, [[]]], r"events\[0\]: expected an array with a name first"),
        ([1.0, [["AllBlocksCleared"], {"name": "x"}]], r"events\[1\]: expected an array with a name first"),
        ([1.0, [["BlockRemoved"]]], r"events\[0\].block_hashes: expected an array of integers or bytes, got None"),
        ([1.0, [["BlockRemoved", [1.5]]]], r"block_hashes: expected an array of integers or bytes, got \[1.5\]"),
        ([1.0, [["BlockRemoved", [1], 7]]], "medium: expected a text or nil, got 7"),
        ([1.0, [["BlockRemoved", [1], "GPU", True]]], "group_idx: expected an integer or nil, got True"),
        ([1.0, [array({**STORED, "block_size": 0})]], "block_size: expected an integer >= 1, got 0"),
        ([1.0, [array({**STORED, "token_ids": None})]], "token_ids: expected an array, got None"),
        ([1.0, [array({**STORED, "parent_block_hash": [1]})]], "parent_block_hash: expected an integer, bytes or nil"),
        ([1.0, [map_(STORED, extra_keys=7)]], "extra_keys: expected an array or nil, got 7"),
    ],
)
def test_what_is_no_batch_is_refused_in_plain_words(whole: Any, said: str) -> None:
    payload = whole if isinstance(whole, bytes) else msgspec.msgpack.encode(whole)
    with pytest.raises(EngineFailure, match=said):
        decode_batch(payload)


INTEGERS = st.integers(-(2**63), 2**64 - 1)
NAMES = st.sampled_from(["BlockStored", "BlockRemoved", "AllBlocksCleared"])
VALUES: Any = st.recursive(
    st.none() | st.booleans() | INTEGERS | st.floats() | st.text(max_size=4) | st.binary(max_size=4) | NAMES,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.sampled_from(["type", *STORED, "medium"]) | INTEGERS, inner, max_size=8)
    ),
    max_leaves=20,
)


def read_or_refused(payload: bytes) -> bool:
    """Any error but the one that is meant is let through."""
    with contextlib.suppress(EngineFailure):
        return isinstance(decode_batch(payload), Batch)
    return True


@given(st.binary(max_size=80) | VALUES.map(lambda value: msgspec.msgpack.encode([1.0, [value]])))
def test_whatever_comes_is_read_or_refused(payload: bytes) -> None:
    assert read_or_refused(payload)


@given(st.integers(0, len(OF_VLLM_0_32) - 1), st.integers(0, 255))
def test_a_damaged_batch_is_read_or_refused(place: int, byte: int) -> None:
    assert read_or_refused(OF_VLLM_0_32[:place] + bytes([byte]) + OF_VLLM_0_32[place + 1 :])
