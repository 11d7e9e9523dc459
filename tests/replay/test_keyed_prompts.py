"""Prompts made up for real engines are keyed by their tokens, in the blocks of the engine."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.engines.prompts import Prompts
from scheduler import BadInput, Request
from scheduler.block_keys import keyed_by_tokens


@given(st.lists(st.integers(0, 50), max_size=8, unique=True), st.integers(0, 40), st.sampled_from([4, 16, 24]))
def test_a_request_keyed_by_tokens_is_one_that_the_router_takes(keys: list[int], rest: int, block_tokens: int) -> None:
    asked = Request(
        id=1, arrival_s=2.0, prompt_tokens=len(keys) * 16 + rest + 1, block_tokens=16, block_keys=tuple(keys)
    )
    prompts = Prompts(1000, block_tokens=block_tokens)
    ids = prompts.ids(asked)
    seen = prompts.keyed(asked, ids)
    assert seen == keyed_by_tokens(asked, ids, block_tokens)
    assert (seen.id, seen.arrival_s, seen.prompt_tokens) == (1, 2.0, asked.prompt_tokens)
    assert (seen.block_tokens, len(seen.block_keys)) == (block_tokens, asked.prompt_tokens // block_tokens)
    assert Prompts(1000).keyed(asked, ids) is asked


@given(st.integers(0, 2**32), st.integers(0, 2**32))
def test_salted_prompts_share_with_each_other_and_with_no_others(one: int, two: int) -> None:
    a, b = (Request(id=i, arrival_s=0.0, prompt_tokens=64, block_tokens=16, block_keys=(1, 2, i)) for i in (7, 8))
    prompts = Prompts(1000, block_tokens=16)
    first, second = prompts.salted(one), prompts.salted(two)
    assert first.ids(a)[:32] == first.ids(b)[:32]
    assert (first.ids(a)[:16] == second.ids(a)[:16]) == (one == two)
    assert len(first.keyed(a, first.ids(a)).block_keys) == 4


@pytest.mark.parametrize("wrong", [{"block_tokens": 0}, {"block_tokens": 2.5}])
def test_a_block_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="block_tokens"):
        Prompts(1000, **wrong)
