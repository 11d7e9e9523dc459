"""Server-sent events and the replies in them: however the bytes are cut, the same is heard."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.engines.openai_stream import EVENT_BYTES_MAX, EventStream, Reply, said
from replay.engines.protocol import Event, Finished, Tokens
from scheduler.errors import EngineFailure

#: What cuts lines elsewhere in Python, and what a stream of events is made of.
TRICKY = st.text(st.sampled_from("ab :\u2028\u2029\x85\x0b\x0c\x1cé\ufeff") | st.characters(exclude_characters="\r\n"))
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


def cut(draw: st.DrawFn, data: bytes) -> list[bytes]:
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    return [data[start:stop] for start, stop in zip([0, *places], [*places, len(data)], strict=True)]


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[bytes], list[bytes]]:
    """The data of events, and a stream that says them, in pieces."""
    end, wanted = draw(ENDS), []
    written = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    for _ in range(draw(st.integers(0, 6))):
        lines = [text.encode() for text in draw(st.lists(TRICKY, min_size=1, max_size=3))]
        wanted.append(b"\n".join(lines))
        for line in lines:
            written += draw(
                st.sampled_from([b"", b": a comment" + end, b":" + end, b"id: 7" + end, b"database: 7" + end])
            )
            space = b" " if line.startswith(b" ") else draw(st.sampled_from([b"", b" "]))
            written += b"data:" + space + line + end
        written += end * draw(st.integers(1, 3))
    written += draw(st.sampled_from([b"", b"data: without an end", b"data: without an end" + end]))
    return wanted, cut(draw, written)


@given(streams())
def test_what_was_said_is_heard_however_it_is_cut(stream: tuple[list[bytes], list[bytes]]) -> None:
    wanted, pieces = stream
    events = EventStream()
    assert [data for piece in pieces for data in events.feed(piece)] == wanted


def heard_at_once(data: bytes) -> list[bytes]:
    """The rules read one by one, on the whole stream."""
    found: list[bytes] = []
    lines: list[bytes] = []
    data = data.removeprefix(b"\xef\xbb\xbf")
    for line in re.findall(rb"([^\r\n]*)(?:\r\n|\r|\n)", data):
        if line == b"" and lines:
            found.append(b"\n".join(lines))
            lines = []
        name, colon, value = line.partition(b":")
        if name == b"data" and (colon or not value):
            lines.append(value[1:] if value[:1] == b" " else value)
    return found


@st.composite
def noise(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    bits = st.sampled_from([b"data", b":", b" ", b"\r", b"\n", b"\r\n", b"x", b"\xef\xbb\xbf", b"data: y\n\n"])
    data = b"".join(draw(st.lists(bits, max_size=30)))
    return data, cut(draw, data)


@given(noise())
def test_any_bytes_are_read_by_the_rules_however_they_are_cut(case: tuple[bytes, list[bytes]]) -> None:
    data, pieces = case
    events = EventStream()
    assert [found for piece in pieces for found in events.feed(piece)] == heard_at_once(data)


def chunk(text: str = "x", made: int | None = None, reason: str | None = None, **more: Any) -> dict[str, Any]:
    usage = None if made is None else {"prompt_tokens": 20, "completion_tokens": made}
    return {"choices": [{"index": 0, "text": text, "finish_reason": reason}], "usage": usage, **more}


def last(made: int, **more: Any) -> dict[str, Any]:
    return {"choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": made, **more}}


def written(*chunks: dict[str, Any] | str) -> bytes:
    texts = [one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in chunks]
    return "".join(f"data: {text}\n\n" for text in texts).encode()


def reply_to(pieces: list[bytes], wanted: int) -> list[Event]:
    """What a reply tells whose pieces come a second apart."""
    reply, told = Reply("a", 20, wanted), []
    for second, piece in enumerate(pieces):
        told += list(reply.hear(piece, float(second)))
    return told + list(reply.end())


@st.composite
def replies(draw: st.DrawFn) -> tuple[list[bytes], int]:
    """A reply of a server that counts well, in one of the ways in which servers count."""
    wanted, made, chunks = draw(st.integers(1, 12)), 0, []
    way = draw(st.sampled_from(["continuous", "at the end", "never", "with the last"]))
    while made < wanted:
        more = draw(st.integers(1, 1 if way == "never" else min(3, wanted - made)))
        made += more
        reason = "length" if made == wanted else None
        counts = way == "continuous" or (way == "with the last" and reason)
        text = draw(TRICKY) if counts or way == "at the end" else "x" + draw(TRICKY)
        chunks.append(chunk(text, made if counts else None, reason))
    if way == "at the end" or (way == "continuous" and draw(st.booleans())):
        chunks.append(last(made))
    return cut(draw, written(*chunks, "[DONE]")), wanted


@given(replies())
def test_every_token_is_told_once_and_in_order_however_the_reply_is_cut(case: tuple[list[bytes], int]) -> None:
    pieces, wanted = case
    *tokens, end = reply_to(pieces, wanted)
    counts = [one.count for one in tokens if isinstance(one, Tokens)]
    assert len(counts) == len(tokens)
    assert sum(counts) == wanted
    assert isinstance(end, Finished)
    assert end.output_tokens == wanted
    times = [one.at_s for one in (*tokens, end)]
    assert times == sorted(times)


def test_the_end_is_when_the_last_token_came_not_when_its_count_came() -> None:
    pieces = [written(chunk("x")), written(chunk("", reason="length")), written(last(3)), written("[DONE]")]
    assert reply_to(pieces, 3) == [
        Tokens(at_s=0.0, count=1), Tokens(at_s=1.0, count=2), Finished(at_s=1.0, output_tokens=3),
    ]  # fmt: skip


def test_a_chunk_more_than_tokens_is_no_token() -> None:
    pieces = [written(chunk("x"), chunk("y"), chunk("the rest of a letter", reason="length"), "[DONE]")]
    assert reply_to(pieces, 2) == [Tokens(at_s=0.0, count=2), Finished(at_s=0.0, output_tokens=2)]


def test_token_ids_count_where_there_are_no_other_counts() -> None:
    choices = [{"text": "x", "token_ids": [5, 6, 7], "finish_reason": "length"}]
    assert reply_to([written({"choices": choices}, "[DONE]")], 3)[0] == Tokens(at_s=0.0, count=3)


def test_cached_tokens_are_taken_from_the_last_usage() -> None:
    pieces = [written(chunk(made=1, reason="length"), last(1, prompt_tokens_details={"cached_tokens": 16}), "[DONE]")]
    assert reply_to(pieces, 1)[-1] == Finished(at_s=0.0, output_tokens=1, cached_tokens=16)
    for none in (None, {}, {"cached_tokens": None}):
        pieces = [written(chunk(made=1, reason="length"), last(1, prompt_tokens_details=none), "[DONE]")]
        assert reply_to(pieces, 1)[-1] == Finished(at_s=0.0, output_tokens=1)


def test_a_stream_may_end_without_done_if_it_has_said_why_it_ended() -> None:
    assert reply_to([written(chunk("x", 1, "length"))], 1)[-1] == Finished(at_s=0.0, output_tokens=1)


def test_after_done_nothing_is_heard() -> None:
    pieces = [written(chunk("x", 1, "length"), "[DONE]", chunk("y", 2), "no JSON")]
    assert reply_to([*pieces, written(chunk("z", 3))], 1) == [
        Tokens(at_s=0.0, count=1), Finished(at_s=0.0, output_tokens=1),
    ]  # fmt: skip


GOOD = chunk("x", 1)


@pytest.mark.parametrize(
    ("chunks", "reason"),
    [
        ([GOOD], "a broke off after 1 of 2 tokens: its stream ended without a finish_reason"),
        ([], "a broke off after 0 of 2 tokens: its stream ended without a finish_reason"),
        ([GOOD, "[DONE]"], "a ended after 1 of 2 tokens (without a finish_reason)"),
        ([GOOD, chunk("", 1, "abort"), "[DONE]"], "a ended after 1 of 2 tokens (finish_reason 'abort')"),
        ([GOOD, chunk("", 3, "length"), "[DONE]"], "a ended after 3 of 2 tokens (finish_reason 'length')"),
        ([chunk("x", 3), chunk("", 2, "length"), "[DONE]"], "a counted 3 tokens while they came and 2 at the end"),
        ([GOOD, "no JSON"], "a sent no chunk of a completion after 1 of 2 tokens: no JSON"),
        ([GOOD, "[1]"], "a sent no chunk of a completion after 1 of 2 tokens: [1]"),
        ([GOOD, '{"choices": 7}'], 'a sent no chunk of a completion after 1 of 2 tokens: {"choices": 7}'),
        ([GOOD, {"error": {"message": "out\n of  memory"}}], "a failed after 1 of 2 tokens: out of memory"),
        ([GOOD, {"error": "full"}], "a failed after 1 of 2 tokens: full"),
        ([GOOD, {"object": "error", "message": "full"}], "a failed after 1 of 2 tokens: full"),
    ],
)
def test_a_reply_that_does_not_end_as_asked_says_why(chunks: list[Any], reason: str) -> None:
    told: list[Event] = []
    reply = Reply("a", 20, 2)
    with pytest.raises(EngineFailure) as caught:  # noqa: PT012 - where it is raised is not the point
        told.extend(reply.hear(written(*chunks), 0.0))
        told.extend(reply.end())
    assert str(caught.value) == reason
    assert sum(one.count for one in told if isinstance(one, Tokens)) == reply.told_tokens


def test_a_prompt_that_the_server_counts_otherwise_is_noticed_at_once() -> None:
    one = chunk("x", 1)
    one["usage"]["prompt_tokens"] = 21
    with pytest.raises(EngineFailure, match=r"a counted 21 prompt tokens where 20 were sent: .* \(BOS\)"):
        reply_to([written(one)], 2)


def test_an_event_without_end_is_given_up() -> None:
    reply, size = Reply("a", 20, 2), 2**16
    for _ in range(EVENT_BYTES_MAX // size):
        assert list(reply.hear(b"data: " + b"x" * (size - 6), 0.0)) == []
    with pytest.raises(EngineFailure, match="a sent an event of more than 4194304 bytes after 0 of 2 tokens"):
        next(reply.hear(b"x", 0.0))


def test_comments_without_end_are_no_long_event() -> None:
    events = EventStream()
    for _ in range(100):
        assert events.feed(b": still at it\n\ndata: so\n: far") == []
        events.feed(b"\n\n")
        assert events.pending_bytes == 0


@settings(max_examples=30)
@given(st.binary(max_size=300) | st.text().map(lambda text: json.dumps({"detail": [{"msg": text}]}).encode()))
def test_what_a_server_says_is_one_short_line(body: bytes) -> None:
    text = said(body)
    assert 0 < len(text) <= 200
    assert len(text.splitlines()) == 1
