"""Keys from tokens: equal as far as the tokens are equal, block by block, and in whatever pieces they were told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler import BadInput, token_keys

TOKENS = st.lists(st.integers(0, 2**32 - 1), max_size=60)


@given(TOKENS, TOKENS, TOKENS, st.integers(1, 9))
def test_keys_are_equal_as_far_as_whole_blocks_of_tokens_are(
    shared: list[int], one: list[int], two: list[int], block_tokens: int
) -> None:
    first, second = shared + one, shared + two
    keys = token_keys(first, block_tokens), token_keys(second, block_tokens)
    assert [len(each) for each in keys] == [len(first) // block_tokens, len(second) // block_tokens]
    for block in range(min(map(len, keys))):
        end = (block + 1) * block_tokens
        assert (keys[0][block] == keys[1][block]) == (first[:end] == second[:end])


@given(TOKENS, st.integers(1, 9), st.data())
def test_a_prompt_told_in_pieces_has_the_same_keys(ids: list[int], block_tokens: int, data: st.DataObject) -> None:
    cut = block_tokens * data.draw(st.integers(0, len(ids) // block_tokens))
    head = token_keys(ids[:cut], block_tokens)
    assert head + token_keys(ids[cut:], block_tokens, head[-1] if head else None) == token_keys(ids, block_tokens)


@given(st.binary(max_size=60), st.integers(1, 9))
def test_a_text_is_keyed_by_its_bytes(text: bytes, block_tokens: int) -> None:
    assert token_keys(text, block_tokens) == token_keys(list(text), block_tokens)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("block_tokens", {"block_tokens": 0}),
        ("block_tokens", {"block_tokens": 1.5}),
        ("after", {"after": -1}),
        ("after", {"after": 2**64}),
        ("ids", {"ids": [1, 2**32]}),
        ("ids", {"ids": [-1, 2]}),
        ("ids", {"ids": [0.5, 1.0]}),
        ("ids", {"ids": [1, 10**30]}),
        ("ids", {"ids": "text"}),
        ("ids", {"ids": ["x"], "block_tokens": 16}),
        ("ids", {"ids": [0.5, 1.0, 2.0], "block_tokens": 16}),
        ("ids", {"ids": [1, 2, -5], "block_tokens": 2}),
        ("ids", {"ids": [[1, 2], [3, 4]], "block_tokens": 2}),
    ],
)
def test_what_is_no_token_or_no_block_is_named(field: str, wrong: dict[str, object]) -> None:
    with pytest.raises(BadInput, match=field):
        token_keys(**{"ids": [1, 2], "block_tokens": 1, **wrong})  # type: ignore[arg-type]
