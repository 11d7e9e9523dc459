"""What was predicted of caches against what engines say: whole blocks count, and a difference has a cause or none."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from replay.live_record import Line
from replay.prediction import ON_ITS_WAY, UNKNOWN, prediction
from scheduler import Request


def request(number: int, *keys: int) -> Request:
    return Request(id=number, arrival_s=0.0, prompt_tokens=64, block_tokens=16, block_keys=keys)


#: Of the first three requests two blocks are alike; of the fourth and second one.
ASKED = {1: request(1, 7, 8), 2: request(2, 7, 8, 9), 3: request(3, 7, 8), 4: request(4, 7)}


def line(number: int, predicted: int, cached: int | None, **more: object) -> Line:
    given = {"instance": "a", "prompt_tokens": 64, "end": "finished", "sent_s": 1.0 * number, "token_s": [number + 0.5]}
    return Line(id=number, predicted_tokens=predicted, cached_tokens=cached, **(given | more))  # type: ignore[arg-type]


@given(st.integers(0, 4), st.integers(0, 15), st.integers(1, 200))
def test_what_lies_within_the_same_whole_blocks_is_equal(blocks: int, over: int, prompt_tokens: int) -> None:
    most = (prompt_tokens - 1) // 16
    cached = min(blocks * 16 + over, prompt_tokens - 1)
    found = prediction([line(1, min(blocks, most) * 16, cached, prompt_tokens=prompt_tokens)], 16, {})
    assert (found.told, found.equal, found.share) == (1, 1, 1.0)


@given(st.integers(0, 3), st.integers(0, 3))
def test_another_block_is_not_equal(predicted: int, cached: int) -> None:
    found = prediction([line(1, predicted * 16, cached * 16)], 16, ASKED)
    assert found.equal == (predicted == cached)


def test_a_difference_is_on_its_way_only_if_somebody_in_prefill_at_once_shares_what_was_missed() -> None:
    off = line(2, 32, 16)
    for before, cause in (
        (line(1, 0, 0, token_s=[2.5]), ON_ITS_WAY),
        (line(1, 0, 0, token_s=[]), ON_ITS_WAY),
        (line(1, 0, 0, token_s=[], end="failed", end_s=2.5), ON_ITS_WAY),
        (line(1, 0, 0, token_s=[], end="failed", end_s=1.5), UNKNOWN),
        (line(1, 0, 0, token_s=[1.9]), UNKNOWN),
        (line(1, 0, 0, token_s=[2.5], instance="b"), UNKNOWN),
        (line(3, 0, 0, token_s=[3.5]), UNKNOWN),
        (line(3, 0, 0, sent_s=2.4, token_s=[2.6]), ON_ITS_WAY),  # sent later, it may have been taken in first
        (line(1, 0, 0, token_s=[], sent_s=None), UNKNOWN),
        (line(4, 0, 0, token_s=[], sent_s=1.0), UNKNOWN),  # it shares what was found, not what was missed
    ):
        found = prediction([before, off], 16, ASKED)
        assert [(one.id, one.cause) for one in found.off] == [(2, cause)]


def test_who_did_not_finish_or_was_not_told_of_does_not_count() -> None:
    found = prediction([line(1, 32, None), line(2, 32, 0, end="failed")], 16, ASKED)
    assert (found.told, found.share, found.off) == (0, None, [])
