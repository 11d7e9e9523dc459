"""Laws of the readers: requests come in order and are keyed by chain, whatever the packing. Facts of the real trace."""

import gzip
import io
import itertools
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from replay.traces import FORMATS, ReadOptions, ReadReport, read_trace, trace_facts, write
from replay.traces.chain import Chain, interned
from scheduler.errors import BadInput
from scheduler.state import Request, checked_request

Row = dict[str, Any]


def mooncake_row(timestamp: float, tokens: int, ids: Iterable[int], output: int = 5) -> Row:
    return {"timestamp": timestamp, "input_length": tokens, "output_length": output, "hash_ids": list(ids)}


def bailian_row(chat: int, parent: int, timestamp: float, ids: Iterable[int], **more: Any) -> Row:
    ids = list(ids)
    row = {"chat_id": chat, "parent_chat_id": parent, "timestamp": timestamp, "input_length": 16 * len(ids)}
    return row | {"output_length": 3, "type": "text", "turn": 1, "hash_ids": ids} | more


def saved(path: Path, rows: Iterable[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


SMALL = [
    mooncake_row(1000, 1024, [0, 1]),
    mooncake_row(1000, 1500, [0, 1, 2]),
    mooncake_row(4500, 513, [0, 3], output=0),
]


def test_a_mooncake_trace_reads_in_seconds_from_its_first_request(tmp_path: Path) -> None:
    report = ReadReport()
    requests = list(read_trace(saved(tmp_path / "t", SMALL), report=report))
    assert [request.arrival_s for request in requests] == [0.0, 0.0, 3.5]
    assert [request.id for request in requests] == [0, 1, 2]
    assert [request.prompt_tokens for request in requests] == [1024, 1500, 513]
    assert [request.block_keys for request in requests] == [(0, 1), (0, 1, 2), (0, 3)]
    assert {request.block_tokens for request in requests} == {512}
    assert (report.lines, report.requests, report.skipped, report.first_bad) == (3, 3, 0, None)


def test_an_empty_reply_is_read_as_one_token_and_counted(tmp_path: Path) -> None:
    report = ReadReport()
    requests = list(read_trace(saved(tmp_path / "t", SMALL), report=report))
    assert [request.output_tokens for request in requests] == [5, 5, 1]
    assert report.empty_outputs == 1


def test_packing_and_name_do_not_matter(tmp_path: Path) -> None:
    plain = saved(tmp_path / "plain.zst", SMALL).read_bytes()
    half = plain.index(b"\n") + 1
    packed = {
        "a.txt": gzip.compress(plain),
        "b.jsonl": zstandard.compress(plain),
        "two-members": gzip.compress(plain[:half]) + gzip.compress(plain[half:]),
        "two-frames.gz": zstandard.compress(plain[:half]) + zstandard.compress(plain[half:]),
        "bom": b"\xef\xbb\xbf" + plain,
        "windows": plain.replace(b"\n", b"\r\n"),
        "blank-lines": b"\n" + plain.replace(b"\n", b"\n\n"),
        "no-newline-at-the-end": plain.rstrip(),
    }
    expected = list(read_trace(tmp_path / "plain.zst"))
    assert len(expected) == 3
    for name, content in packed.items():
        (tmp_path / name).write_bytes(content)
        assert list(read_trace(tmp_path / name)) == expected, name


def test_a_large_zstd_file_streams_across_chunks(tmp_path: Path) -> None:
    rows = [mooncake_row(time, 512 * 40, range(time * 40, time * 40 + 40)) for time in range(6000)]
    plain = saved(tmp_path / "plain", rows)
    packed = tmp_path / "packed"
    packed.write_bytes(zstandard.ZstdCompressor(level=1).compress(plain.read_bytes()))
    assert packed.stat().st_size > 1 << 17
    assert list(read_trace(packed)) == list(read_trace(plain))


def test_unknown_fields_are_ignored_and_do_not_hide_the_format(tmp_path: Path) -> None:
    path = saved(tmp_path / "t", [{"note": "ü", "x": {"y": [1]}} | row for row in SMALL])
    assert list(read_trace(path)) == list(read_trace(saved(tmp_path / "u", SMALL)))


def test_the_format_can_be_named(tmp_path: Path) -> None:
    path = saved(tmp_path / "t", [bailian_row(0, -1, 1.0, [5])])
    assert next(read_trace(path)).block_tokens == 16
    assert next(read_trace(path, format_name="mooncake", options=ReadOptions(block_tokens=16))).session is None


BAILIAN = [
    bailian_row(10, -1, 2.0, [7, 8]),
    bailian_row(11, -1, 2.5, [9, 8], type="search"),
    bailian_row(12, 10, 9.0, [7, 8, 8]),
    bailian_row(13, 99, 9.0, [7]),
    bailian_row(14, 12, 30.0, [7, 8, 8, 1]),
]


def test_bailian_ids_are_chained_and_sessions_follow_parents(tmp_path: Path) -> None:
    report = ReadReport()
    requests = list(read_trace(saved(tmp_path / "t", BAILIAN), report=report))
    assert [request.block_keys for request in requests] == [(0, 1), (2, 3), (0, 1, 4), (0,), (0, 1, 4, 5)]
    assert [request.session for request in requests] == [0, 1, 0, 2, 0]
    assert [request.group for request in requests] == ["text", "search", "text", "text", "text"]
    assert [request.after for request in requests] == [None] * 5
    assert report.links_cut == 1


def test_a_closed_bailian_loop_waits_for_the_parent_and_thinks_for_the_gap(tmp_path: Path) -> None:
    options = ReadOptions(closed_loop=True)
    requests = list(read_trace(saved(tmp_path / "t", BAILIAN), options=options))
    assert [request.after for request in requests] == [None, None, 0, None, 2]
    assert [request.think_s for request in requests] == [0.0, 0.0, 7.0, 0.0, 21.0]


BLOCK = 16


@st.composite
def request_lists(draw: st.DrawFn) -> list[Request]:
    """Requests of one block size, in order, with rising ids and links that lead backwards."""
    times = sorted(draw(st.lists(st.floats(0, 1e6), min_size=1, max_size=12)))
    requests: list[Request] = []
    next_id = 0
    for time in times:
        next_id += draw(st.integers(0, 3))
        prompt = draw(st.integers(1, 100))
        blocks = st.lists(st.integers(0, 3) | st.integers(0, 2**64 - 1), max_size=math.ceil(prompt / BLOCK))
        after = draw(st.none() | st.sampled_from([other.id for other in requests])) if requests else None
        requests.append(
            Request(
                id=next_id,
                arrival_s=time,
                prompt_tokens=prompt,
                output_tokens=draw(st.integers(1, 2**31)),
                block_keys=tuple(draw(blocks)),
                block_tokens=BLOCK,
                expected_output_tokens=draw(st.none() | st.floats(0, 2**31)),
                session=draw(st.none() | st.integers(-(2**63), 2**63)),
                after=after,
                think_s=draw(st.floats(0, 100)) if after is not None else 0.0,
                group=draw(st.text(st.characters(exclude_categories=["Cs"]))),
            )
        )
        next_id += 1
    return requests


@given(request_lists())
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, requests: list[Request]) -> None:
    buffer = io.BytesIO()
    assert write(requests, buffer) == len(requests)
    path = tmp_path_factory.mktemp("own") / "t"
    path.write_bytes(buffer.getvalue())
    start_s = requests[0].arrival_s
    assert list(read_trace(path)) == [
        msgspec.structs.replace(request, arrival_s=request.arrival_s - start_s) for request in interned(requests)
    ]


def test_own_links_can_be_left_out(tmp_path: Path) -> None:
    rows: list[Row] = [{"arrival_s": 0, "prompt_tokens": 1, "output_tokens": 1}]
    rows.append({"arrival_s": 1, "prompt_tokens": 1, "output_tokens": 1, "after": 0, "think_s": 2})
    path = saved(tmp_path / "t", rows)
    assert [(each.id, each.after, each.think_s) for each in read_trace(path)] == [(0, None, 0), (1, 0, 2)]
    options = ReadOptions(closed_loop=False)
    assert [(each.after, each.think_s) for each in read_trace(path, options=options)] == [(None, 0), (None, 0)]


@given(st.lists(st.lists(st.integers(0, 3), max_size=5), max_size=8))
def test_equal_keys_mean_equal_prefixes(prompts: list[list[int]]) -> None:
    chain = Chain()
    keys = [chain.keys(prompt) for prompt in prompts]
    prefix_of: dict[int, list[int]] = {}
    for prompt, key in zip(prompts, keys, strict=True):
        assert len(key) == len(prompt)
        for size in range(1, len(prompt) + 1):
            assert prefix_of.setdefault(key[size - 1], prompt[:size]) == prompt[:size]
    distinct = {tuple(prompt[:size]) for prompt in prompts for size in range(1, len(prompt) + 1)}
    assert sorted(prefix_of) == list(range(len(distinct))) == list(range(len(chain)))


def test_each_format_is_listed_under_its_name_with_a_summary() -> None:
    assert {name: entry.name for name, entry in FORMATS.items()} == {name: name for name in FORMATS}
    assert all(entry.summary for entry in FORMATS.values())


def test_the_conversation_trace_has_its_published_facts(traces_dir: Path) -> None:
    report = ReadReport()
    requests = list(read_trace(traces_dir / "mooncake_conversation.jsonl", report=report))
    facts = trace_facts(requests)
    assert (facts.requests, report.lines, report.skipped, report.empty_outputs) == (12_031, 12_031, 0, 0)
    assert round(facts.prompt_tokens_mean) == 12_035
    assert facts.prompt_tokens_p50 == 6_909
    # 85,399 is the lower of the two values around the 99th percentile; ours lies between them.
    assert 85_399 <= facts.prompt_tokens_p99 <= 85_401
    assert round(facts.output_tokens_mean) == 343
    assert facts.distinct_blocks == 182_790
    assert round(facts.hit_ceiling, 3) == 0.366
    assert all(request.block_keys[0] == 0 for request in requests)
    assert all(before.arrival_s <= after.arrival_s for before, after in itertools.pairwise(requests))
    assert requests[-1].arrival_s == pytest.approx(59 * 60, rel=0.002)
    # Mooncake's ids name chains already and are numbered by first appearance, so chaining them changes nothing.
    lines = (traces_dir / "mooncake_conversation.jsonl").read_bytes().splitlines()
    assert all(
        list(each.block_keys) == json.loads(line)["hash_ids"] for each, line in zip(requests, lines, strict=True)
    )
    for request in requests[::100]:
        checked_request(request)


@given(st.integers(1, 200), st.integers(1, 16), st.integers(0, 30))
def test_what_is_written_can_be_read_back_and_nothing_else_is_written(tokens: int, block: int, keys: int) -> None:
    request = Request(
        id=0,
        arrival_s=0.0,
        prompt_tokens=tokens,
        output_tokens=1,
        block_tokens=block,
        block_keys=tuple(range(keys)),
    )
    buffer = io.BytesIO()
    if keys <= -(-tokens // block):
        assert write([request], buffer) == 1
    else:
        with pytest.raises(BadInput, match=r"requests\[0\]\.block_keys: expected at most"):
            write([request], buffer)
        assert not buffer.getvalue()
