"""Blocks by the hashes of an engine: a router that is told of them sees what the engine holds, no more and no less."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.engines.kv_blocks import KnownBlocks
from replay.engines.kv_events import decode_batch
from scheduler import BadInput, Request, Router, RouterConfig
from scheduler.block_keys import token_keys
from tests.replay.kv_publisher import SIZE, cleared, ids_of, removed, stored

Path = tuple[int, ...]
#: Every chain of up to four blocks of three kinds.
PATHS = [path for length in range(1, 5) for path in itertools.product(range(3), repeat=length)]


class View:
    """A router that is fed by an engine's events."""

    def __init__(self, **more: Any) -> None:
        self.router = Router(["a", "b"], config=RouterConfig(source="events"))
        self.blocks = KnownBlocks(
            "a",
            SIZE,
            sink=lambda name, keys, after, gone: self.router.kv_event(name, stored=keys, after=after, removed=gone),
            cleared=lambda name: self.router.kv_event(name, cleared=True),
            **more,
        )

    def hear(self, *events: Any) -> None:
        for event in decode_batch(msgspec.msgpack.encode([1.0, list(events)])).events:
            self.blocks.hear(event)

    def sees(self, path: Path) -> int:
        """Blocks of a chain, from its beginning, that the router believes to be cached."""
        keys = token_keys(ids_of(path), SIZE)
        request = Request(id=1, arrival_s=0.0, prompt_tokens=99, block_tokens=SIZE, block_keys=keys)
        found, other = self.router.state(request).hit_tokens
        assert other == 0
        return found // SIZE


class Cache:
    """The plain model: how many copies of each block there are."""

    def __init__(self) -> None:
        self.copies: Counter[Path] = Counter()

    def holds(self, path: Path) -> int:
        places = range(1, len(path) + 1)
        return next((end - 1 for end in places if not self.copies[path[:end]]), len(path))


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[Any, dict[Path, int]]]:
    """What an engine does, event by event, in both encodings, and what it holds after each."""
    cache, told = Cache(), []
    for _ in range(draw(st.integers(1, 40))):
        kind, as_map = draw(st.sampled_from("ssssrrrc" if draw(st.booleans()) else "ssr")), draw(st.booleans())
        here = sorted(+cache.copies)
        if kind == "s":
            path = draw(st.sampled_from(PATHS))
            start = draw(st.integers(0, cache.holds(path[:-1])))  # all before it are held, copies may come again
            cache.copies.update(path[: end + 1] for end in range(start, len(path)))
            event = stored(path, start, as_map=as_map)
        elif kind == "r" and here:
            gone = draw(st.lists(st.sampled_from(here), min_size=1, max_size=3, unique=True))
            cache.copies.subtract(gone)
            event = removed(*gone, as_map=as_map)
        else:
            cache.copies.clear()
            event = cleared(as_map=as_map)
        told.append((event, {path: cache.holds(path) for path in PATHS[-20:]}))
    return told


@settings(max_examples=60)
@given(histories())
def test_the_router_sees_what_the_engine_holds(history: list[tuple[Any, dict[Path, int]]]) -> None:
    view = View()
    for event, holds in history:
        view.hear(event)
        assert {path: view.sees(path) for path in holds} == holds
    assert (view.blocks.counts.orphans, view.blocks.counts.unknown, view.blocks.counts.others) == (0, 0, 0)


@settings(max_examples=60)
@given(histories(), st.data())
def test_blocks_of_which_nothing_was_heard_are_never_believed(
    history: list[tuple[Any, dict[Path, int]]], data: st.DataObject
) -> None:
    """Some stores are lost: then the router sees less, never more."""
    view, holds = View(), dict[Path, int]()
    for event, holds in history:
        is_store = "BlockStored" in (event if isinstance(event, list) else event.values())
        if not (is_store and data.draw(st.booleans())):
            view.hear(event)
        assert all(view.sees(path) <= count for path, count in holds.items())


@settings(max_examples=60)
@given(histories())
def test_what_is_gone_takes_no_memory(history: list[tuple[Any, dict[Path, int]]]) -> None:
    view = View()
    for event, _ in history:
        view.hear(event)
    # The engine gives up block by block, each as often as there are copies of it.
    for path in PATHS:
        while stored_hash(path) in view.blocks._keys:
            view.hear(removed(path))
    assert len(view.blocks) == 0
    assert view.blocks._copies == {}
    assert all(view.sees(path) == 0 for path in PATHS)


def stored_hash(path: Path) -> bytes:
    name: bytes = stored(path)["block_hashes"][-1]
    return name


def test_a_block_stored_twice_is_gone_with_its_last_copy() -> None:
    view = View()
    view.hear(stored((1, 2)), stored((1, 2), 1))
    view.hear(removed((1, 2)))
    assert view.sees((1, 2)) == 2
    view.hear(removed((1, 2)))
    assert view.sees((1, 2)) == 1
    assert view.blocks.counts.unknown == 0


def test_what_follows_an_unknown_block_is_counted_and_left_out() -> None:
    view = View()
    view.hear(stored((1, 2, 0), 2), stored((1, 2, 0, 1), 3), stored((2,)))
    assert (view.sees((1, 2, 0, 1)), view.sees((2,))) == (0, 1)
    view.hear(stored((1, 2)), removed((1, 2, 0)))
    assert view.sees((1, 2, 0)) == 2
    counts = view.blocks.counts
    assert (counts.stored, counts.orphans, counts.unknown, counts.removed) == (3, 2, 1, 0)


@pytest.mark.parametrize(
    "more",
    [
        {"medium": "CPU"},
        {"medium": "CPU_PINNED"},
        {"locality": "REMOTE"},
        {"kv_cache_spec_kind": "sliding_window"},
        {"kv_cache_spec_kind": "mamba"},
        {"group_idx": 1},
        {"lora_id": 3},
        {"cache_salt": "x"},
        {"extra_keys": [["x"], None]},
        {"block_size": 1},
        {"block_size": 4},
        {"token_ids": [[1, 2], [2, 3]]},
        {"token_ids": [1, 2, 3, 4, 5, 6]},
    ],
)
def test_blocks_that_a_plain_prompt_does_not_find_are_counted_and_left_out(more: dict[str, Any]) -> None:
    view = View()
    view.hear(stored((0,)), stored((1, 2), **more), stored((1, 2, 0), 2))
    assert (view.sees((0,)), view.sees((1, 2, 0))) == (1, 0)
    assert (view.blocks.counts.others, view.blocks.counts.orphans, len(view.blocks)) == (2, 1, 1)


def test_a_copy_elsewhere_does_not_keep_a_block_nor_does_it_take_it_away() -> None:
    view = View()
    view.hear(stored((1,)), stored((1,), medium="CPU"))
    view.hear({**removed((1,)), "medium": "CPU"}, {**removed((1,)), "group_idx": 1})
    assert (view.sees((1,)), view.blocks.counts.others) == (1, 3)
    view.hear(removed((1,)))
    assert view.sees((1,)) == 0


def test_of_a_prompt_with_an_image_the_blocks_before_it_are_known() -> None:
    view = View()
    view.hear(stored((1, 2, 0), extra_keys=[None, None, [["image", 1]]]))
    assert (view.sees((1, 2, 0)), view.blocks.counts.others) == (2, 1)


def test_one_name_for_two_blocks_stands_for_the_first() -> None:
    """SGLang once named a block by its own tokens alone."""
    view = View()
    own: Any = {"block_hashes": [7]}
    view.hear(stored((1,)), stored((2,)))
    view.hear(stored((1, 0), 1, **own), stored((2, 0), 1, **own))
    assert (view.sees((1, 0)), view.sees((2, 0)), view.blocks.counts.others) == (2, 1, 1)


def test_more_blocks_than_an_engine_can_have_push_out_the_oldest() -> None:
    view = View(blocks_max=4)
    for first in range(3):
        view.hear(stored((first, 1)), stored((first,)))
    assert [view.sees((first, 1)) for first in range(3)] == [0, 2, 2]
    assert (len(view.blocks), view.blocks.counts.dropped, len(view.blocks._copies)) == (4, 2, 2)


def test_a_cache_emptied_from_here_is_empty_for_the_router() -> None:
    view = View()
    view.hear(stored((1, 2)))
    view.blocks.forget()
    assert (view.sees((1, 2)), len(view.blocks)) == (0, 0)


@pytest.mark.parametrize("wrong", [{"block_tokens": 0}, {"block_tokens": 2.5}, {"blocks_max": 0}])
def test_sizes_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=next(iter(wrong))):
        KnownBlocks("a", sink=lambda *event: None, cleared=lambda name: None, **{"block_tokens": 2, **wrong})
