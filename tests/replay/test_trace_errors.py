"""Every way in which a trace can be bad ends in one line that names file, line, field and value."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from replay.sources import open_source
from replay.traces import ReadOptions, ReadReport, read_trace
from replay.traces import reading as reading_module
from scheduler.errors import BadInput, BadTrace

GOOD: dict[str, Any] = {"timestamp": 1000, "input_length": 1024, "output_length": 5, "hash_ids": [0, 1]}
GOOD_BAILIAN: dict[str, Any] = {
    "chat_id": 1,
    "parent_chat_id": -1,
    "timestamp": 1.5,
    "input_length": 20,
    "output_length": 5,
}
GOOD_BAILIAN |= {"type": "text", "turn": 1, "hash_ids": [1, 2]}
GOOD_OWN = {"id": 5, "arrival_s": 1.5, "prompt_tokens": 20, "output_tokens": 5, "block_tokens": 16}


def text(row: dict[str, Any], **changes: Any) -> str:
    return json.dumps(row | changes)


def without(row: dict[str, Any], name: str) -> str:
    return json.dumps({key: value for key, value in row.items() if key != name})


def message_of(path: Path, **options: Any) -> str:
    """The message of the error that reading ends in; it must be one line and of our own kind."""
    with pytest.raises(BadTrace) as caught:
        list(read_trace(path, options=ReadOptions(**options)))
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return message


# The second line of a trace, and what the message must hold.
BAD_LINES: dict[str, tuple[dict[str, Any], str, tuple[str, ...]]] = {
    "negative length": (GOOD, text(GOOD, input_length=-3), ("input_length", ">= 1", "-3")),
    "zero length": (GOOD, text(GOOD, input_length=0, hash_ids=[]), ("input_length", ">= 1", "got 0")),
    "negative output": (GOOD, text(GOOD, output_length=-1), ("output_length", ">= 0", "-1")),
    "huge length": (GOOD, text(GOOD, input_length=10**30), ("input_length", "2147483648", "10000000")),
    "time going back": (GOOD, text(GOOD, timestamp=999), ("timestamp", "999", "go back from 1000")),
    "negative time": (GOOD, text(GOOD, timestamp=-1), ("timestamp", ">= 0", "-1")),
    "time is NaN": (GOOD, text(GOOD, timestamp=float("nan")), ("timestamp", "a finite number", "nan")),
    "time is infinite": (GOOD, text(GOOD, timestamp=float("inf")), ("timestamp", "a finite number", "inf")),
    "time out of range": (GOOD, text(GOOD).replace("1000", "1e999"), ("timestamp", "a finite number", "inf")),
    "NaN elsewhere": (GOOD, text(GOOD, note=float("nan")), ("line", "without NaN")),
    "boolean": (GOOD, text(GOOD, output_length=True), ("output_length", "an integer", "True")),
    "boolean time": (GOOD, text(GOOD, timestamp=False), ("timestamp", "a finite number", "False")),
    "float": (GOOD, text(GOOD, input_length=1024.5), ("input_length", "an integer", "1024.5")),
    "whole float": (GOOD, text(GOOD, input_length=1024.0), ("input_length", "an integer", "1024.0")),
    "text": (GOOD, text(GOOD, input_length="1024"), ("input_length", "an integer", "'1024'")),
    "null": (GOOD, text(GOOD, hash_ids=None), ("hash_ids", "a list of integers", "None")),
    "too many ids": (GOOD, text(GOOD, hash_ids=[0, 1, 2]), ("hash_ids", "3 ids", "2 ids", "1024 tokens", "512")),
    "too few ids": (GOOD, text(GOOD, hash_ids=[0]), ("hash_ids", "1 ids", "2 ids")),
    "id is a float": (GOOD, text(GOOD, hash_ids=[0, 1.5]), ("hash_ids[1]", "an integer", "1.5")),
    "id is a boolean": (GOOD, text(GOOD, hash_ids=[True, 1]), ("hash_ids[0]", "an integer", "True")),
    "id is negative": (GOOD, text(GOOD, hash_ids=[0, -1]), ("hash_ids[1]", "2**64", "-1")),
    "id is too large": (GOOD, text(GOOD, hash_ids=[2**64, 1]), ("hash_ids[0]", "2**64", str(2**64))),
    "missing field": (GOOD, without(GOOD, "hash_ids"), ("hash_ids", "missing")),
    "missing time": (GOOD, without(GOOD, "timestamp"), ("timestamp", "missing")),
    "no object": (GOOD, "[1, 2]", ("line", "one JSON object", "[1, 2]")),
    "no JSON": (GOOD, "{'timestamp': 1}", ("line", "one JSON object", "{'timestamp")),
    "cut line": (GOOD, text(GOOD)[:-5], ("line", "one JSON object")),
    "deep nesting": (GOOD, '{"x":' + "[" * 100_000, ("line", "one JSON object")),
    "Bailian ids": (GOOD_BAILIAN, text(GOOD_BAILIAN, hash_ids=[1, 2, 3]), ("hash_ids", "3 ids", "20 tokens", "16")),
    "Bailian time": (GOOD_BAILIAN, text(GOOD_BAILIAN, timestamp=1.25), ("timestamp", "1.25", "go back from 1.5")),
    "Bailian chat": (GOOD_BAILIAN, without(GOOD_BAILIAN, "chat_id"), ("chat_id", "missing")),
    "own length": (GOOD_OWN, text(GOOD_OWN, id=6, prompt_tokens=0), ("prompt_tokens", ">= 1", "got 0")),
    "own output": (GOOD_OWN, text(GOOD_OWN, id=6, output_tokens=0), ("output_tokens", ">= 1", "got 0")),
    "own id": (GOOD_OWN, text(GOOD_OWN), ("id", "> 5", "got 5")),
    "own link": (GOOD_OWN, text(GOOD_OWN, id=6, after=6), ("after", "a line before", "got 6")),
    "own pause": (GOOD_OWN, text(GOOD_OWN, id=6, after=5, think_s=-1), ("think_s", ">= 0", "-1")),
    "own block": (GOOD_OWN, text(GOOD_OWN, id=6, block_tokens=0), ("block_tokens", "16", "got 0")),
    "own blocks": (GOOD_OWN, text(GOOD_OWN, id=6, block_keys=[1, 2, 3]), ("block_keys", "3 ids", "0 to 2 ids")),
    "own belief": (GOOD_OWN, text(GOOD_OWN, id=6, expected_output_tokens=-1), ("expected_output_tokens", "-1")),
    "far time": (GOOD, text(GOOD, timestamp=2e12), ("timestamp", "2000000000000.0", "1e+09 s after the first", "1000")),
    "own time": (GOOD_OWN, text(GOOD_OWN, id=6, arrival_s=1), ("arrival_s", "got 1", "go back from 1.5")),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_is_named_with_its_number_field_and_value(tmp_path: Path, name: str) -> None:
    good, bad, expected = BAD_LINES[name]
    path = tmp_path / "t.jsonl"
    path.write_text(f"{json.dumps(good)}\n\n{bad}\n", encoding="utf-8")
    message = message_of(path)
    assert message.startswith(f"{path}:3: ")
    for part in expected:
        # Where a field is missing the message says which fields the line has instead of a value.
        assert part in message.replace("the line has", "missing")
    assert len(message) < 500


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_can_be_skipped_and_leaves_no_trace(tmp_path: Path, name: str) -> None:
    good, bad, _ = BAD_LINES[name]
    last = json.dumps(good | ({"id": 9} if good is GOOD_OWN else {}))
    (tmp_path / "with").write_text(f"{json.dumps(good)}\n{bad}\n{last}\n", encoding="utf-8")
    (tmp_path / "without").write_text(f"{json.dumps(good)}\n{last}\n", encoding="utf-8")
    report = ReadReport()
    requests = list(read_trace(tmp_path / "with", options=ReadOptions(on_bad_line="skip"), report=report))
    assert requests == list(read_trace(tmp_path / "without"))
    assert (report.lines, report.requests, report.skipped) == (3, 2, 1)
    assert str(report.first_bad).startswith(f"{tmp_path / 'with'}:2: ")


def test_a_link_to_a_skipped_line_is_cut_and_counted(tmp_path: Path) -> None:
    rows = [text(GOOD_OWN), text(GOOD_OWN, id=6, prompt_tokens=-1), text(GOOD_OWN, id=7, after=6, think_s=3)]
    (tmp_path / "t").write_text("\n".join(rows), encoding="utf-8")
    report = ReadReport()
    requests = list(read_trace(tmp_path / "t", options=ReadOptions(on_bad_line="skip"), report=report))
    assert [(each.id, each.after, each.think_s) for each in requests] == [(5, None, 0.0), (7, None, 0.0)]
    assert (report.skipped, report.links_cut) == (1, 1)


PLAIN = (json.dumps(GOOD) + "\n").encode() * 200
BAD_FILES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "empty": (b"", ("at least one request", "an empty file")),
    "blank": (b"\n \n", ("at least one request", "an empty file")),
    "truncated gzip": (gzip.compress(PLAIN)[:-9], ("whole compressed file", "cut short")),
    "gzip with a broken sum": (gzip.compress(PLAIN)[:-8] + b"\0" * 8, ("whole compressed file",)),
    "gzip with broken data": (gzip.compress(PLAIN)[:20] + b"\xff" * 40, ("whole compressed file",)),
    "gzip and junk": (gzip.compress(PLAIN) + b"junk", ("whole compressed file",)),
    "truncated zstd": (zstandard.compress(PLAIN)[:-3], ("whole compressed file", "cut short")),
    "zstd with broken data": (zstandard.compress(PLAIN)[:12] + b"\xff" * 40, ("whole compressed file",)),
    "zstd and junk": (zstandard.compress(PLAIN) + b"junk", ("whole compressed file",)),
    "head of zstd alone": (b"\x28\xb5\x2f\xfd", ("whole compressed file",)),
    "binary junk": (bytes(range(128, 256)) * 20, (":1:", "line", "UTF-8 text")),
    "NUL bytes": (b"\0" * 100, (":1:", "one JSON object")),
    "Latin-1": (PLAIN + '{"timestamp": 2000, "né": 1}\n'.encode("latin-1"), (":201:", "line", "UTF-8 text")),
    "bzip2": (b"BZh91AY", ("bzip2", "gzip or zstd")),
    "zip": (b"PK\x03\x04zzz", ("zip", "gzip or zstd")),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", ("git lfs pull",)),
    "an array": (b"[" + PLAIN[:80].strip() + b"]", (":1:", "one JSON object")),
    "unknown format": (b'{"a": 1, "b": 2}\n', (":1:", "'a, b'", "mooncake", "bailian", "argprod")),
}


@pytest.mark.parametrize("name", BAD_FILES)
@pytest.mark.parametrize("on_bad_line", ["fail", "skip"])
def test_a_bad_file_is_named(tmp_path: Path, name: str, on_bad_line: str) -> None:
    content, expected = BAD_FILES[name]
    path = tmp_path / "t.jsonl"
    path.write_bytes(content)
    if on_bad_line == "skip" and name == "Latin-1":
        assert len(list(read_trace(path, options=ReadOptions(on_bad_line="skip")))) == 200
        return
    message = message_of(path, on_bad_line=on_bad_line)
    for part in expected:
        assert part in message


def test_a_line_without_end_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading_module, "LINE_BYTES_MAX", 1000)
    path = tmp_path / "t.jsonl"
    path.write_bytes(PLAIN[:80] + b"\n" + b"x" * 2000)
    (tmp_path / "z").write_bytes(gzip.compress(PLAIN + b" " * 5000))
    assert "at most 1000 bytes" in message_of(path, on_bad_line="skip")
    assert ":201: line" in message_of(tmp_path / "z")


def test_a_missing_file_is_named_with_the_nearest_names(tmp_path: Path) -> None:
    (tmp_path / "conversation.jsonl").write_bytes(PLAIN)
    message = message_of(tmp_path / "conversations.jsonl")
    assert "no such file" in message
    assert "nearest: conversation.jsonl" in message
    assert "nor is there a folder" in message_of(tmp_path / "nowhere" / "t.jsonl")


def test_a_folder_is_no_trace(tmp_path: Path) -> None:
    assert "a folder" in message_of(tmp_path)


def test_a_file_without_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(PLAIN)
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads everything, so the refusal is staged

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
    assert "permission" in message_of(path)


def test_a_name_that_cannot_be_a_file_is_refused() -> None:
    for name in ("a\0b", "x" * 5000):
        with pytest.raises(BadTrace):
            list(read_trace(name))


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda path: read_trace(path, format_name="moonkake"), ("format", "'moonkake'", "nearest: mooncake")),
        (lambda path: ReadOptions(on_bad_line="ignore"), ("on_bad_line", "'ignore'", "skip")),
        (lambda path: ReadOptions(block_tokens=0), ("block_tokens", ">= 1", "0")),
        (lambda path: list(read_trace(path, options=ReadOptions(closed_loop=True))), ("closed_loop", "no turns")),
        (lambda path: open_source(str(path), from_s=50), ("window", "50 s")),
        (lambda path: open_source(str(path), rate_scale=float("nan")), ("rate_scale", "nan")),
        (lambda path: open_source(str(path), rate_scale=0), ("rate_scale", "> 0")),
        (lambda path: open_source(str(path), limit=0), ("limit", ">= 1")),
        (lambda path: open_source(str(path), from_s=3, to_s=2), ("to_s", "> 3", "2")),
    ],
)
def test_a_bad_option_is_named(tmp_path: Path, call: Callable[[Path], object], expected: tuple[str, ...]) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(PLAIN)
    with pytest.raises(BadInput) as caught:
        call(path)
    for part in expected:
        assert part in str(caught.value)


json_like = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=5,
)


@given(
    st.sampled_from([GOOD, GOOD_BAILIAN, GOOD_OWN]),
    st.dictionaries(st.sampled_from([*GOOD, *GOOD_BAILIAN, *GOOD_OWN, "after", "block_keys", "session"]), json_like),
    st.binary(max_size=3),
)
def test_whatever_a_line_holds_only_our_own_error_comes_out(
    tmp_path_factory: pytest.TempPathFactory, good: dict[str, Any], changes: dict[str, Any], junk: bytes
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "t"
    path.write_bytes(
        json.dumps(good).encode() + b"\n" + junk.replace(b"\n", b"") + json.dumps(good | changes).encode() + b"\n"
    )
    ended_well, message = False, str(path)
    try:
        ended_well = len(list(read_trace(path))) == 2
    except BadTrace as error:
        message = str(error)
    assert ended_well or message.startswith(f"{path}:2: ")
