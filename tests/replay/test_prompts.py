"""Prompts from keys of blocks: they share exactly what the keys share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.engines.prompts import Prompts
from scheduler import BadInput, Request

KEYS = st.lists(st.integers(0, 3), max_size=6).map(tuple)
PROMPTS = Prompts(50_000)


def request(number: int, keys: tuple[int, ...], rest: int, block: int) -> Request:
    length = max(1, len(keys) * block - block + rest) if keys else rest
    return Request(id=number, arrival_s=0.0, prompt_tokens=length, block_tokens=block, block_keys=keys)


@given(KEYS, KEYS, st.integers(1, 40), st.integers(1, 40), st.sampled_from([8, 16]))
def test_two_prompts_begin_alike_as_far_as_their_keys_do(
    one: tuple[int, ...], two: tuple[int, ...], rest: int, other_rest: int, block: int
) -> None:
    first, second = request(1, one, rest, block), request(2, two, other_rest, block)
    a, b = PROMPTS.ids(first), PROMPTS.ids(second)
    assert (len(a), len(b)) == (first.prompt_tokens, second.prompt_tokens)
    shared = 0
    while shared < min(len(one), len(two)) and one[shared] == two[shared]:
        shared += 1
    alike = min(shared * block, len(a), len(b))
    assert a[:alike] == b[:alike]
    behind = min(len(a), len(b), alike + block)
    assert a[alike:behind] != b[alike:behind] or behind - alike < 4  # a few tokens can be alike by chance


@given(KEYS, st.integers(1, 40))
def test_a_prompt_is_the_same_each_time_and_another_with_another_seed(keys: tuple[int, ...], rest: int) -> None:
    asked = request(1, keys, rest, 16)
    assert Prompts(50_000).ids(asked) == PROMPTS.ids(asked)
    assert Prompts(50_000, seed=1).ids(asked) != PROMPTS.ids(asked) or asked.prompt_tokens < 4


@given(st.integers(256, 4096), st.integers(0, 100))
def test_ids_are_of_the_vocabulary_and_none_is_special(size: int, first: int) -> None:
    ids = Prompts(size, first_id=first).ids(request(1, (1, 2), 5, 16))
    assert all(first <= one < size for one in ids)


@pytest.mark.parametrize("wrong", [{"vocabulary_size": 10}, {"vocabulary_size": 1000, "first_id": 900}])
def test_a_vocabulary_that_is_too_small_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(BadInput):
        Prompts(**wrong)
