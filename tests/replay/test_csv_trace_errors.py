"""Every way in which a CSV trace can be bad ends in one line: file, line, column, value and what was expected."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.traces import ReadOptions, ReadReport, read_trace
from scheduler.errors import BadInput, BadTrace
from tests.replay.test_trace_errors import message_of

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens"
A_ROW = "2023-11-16 18:15:46.6805900,374,44"
BURST = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type"
B_ROW = "45,ChatGPT,472,18,490,Conversation log"
FILES = {AZURE: A_ROW, BURST: B_ROW}


def azure(time: str = "2023-11-16 18:15:50", prompt: object = 10, output: object = 1) -> tuple[str, str]:
    return AZURE, f"{time},{prompt},{output}"


def burst(time: object = 50, prompt: object = 10, output: object = 1) -> tuple[str, str]:
    return BURST, f"{time},GPT-4,{prompt},{output},11,API log"


# The third line of a file, and what the message must hold.
BAD_ROWS: dict[str, tuple[tuple[str, str], tuple[str, ...]]] = {
    "no date": (azure("18:15:50"), ("TIMESTAMP", "a date and a time", "'18:15:50'")),
    "no time of day": (azure("2023-11-16"), ("TIMESTAMP", "a date and a time", "'2023-11-16'")),
    "American date": (azure("11/16/2023 18:15:50"), ("TIMESTAMP", "as 2023-11-16", "'11/16/2023")),
    "no such day": (azure("2023-02-29 00:00:00"), ("TIMESTAMP", "a date", "'2023-02-29")),
    "no such hour": (azure("2023-11-16 24:00:00"), ("TIMESTAMP", "a date", "24:00:00")),
    "no such second": (azure("2023-11-16 18:15:60"), ("TIMESTAMP", "a date", "18:15:60")),
    "year 0": (azure("0000-11-16 18:15:50"), ("TIMESTAMP", "a date", "0000")),
    "odd offset": (azure("2023-11-16 18:15:50 UTC"), ("TIMESTAMP", "a date", "UTC")),
    "cut time": (azure("2023-11-16 18:15:50."), ("TIMESTAMP", "a date", "18:15:50.")),
    "digits of another script": (azure("\u0662\u0660\u0662\u0663-11-16 18:15:50"), ("TIMESTAMP", "a date")),
    "no stamp": (azure(""), ("TIMESTAMP", "a date", "got ''")),
    "going back": (azure("2023-11-16 18:15:46.680589"), ("TIMESTAMP", "589'", "from 2023-11-16 18:15:46.6805900")),
    "going back by the offset": (azure("2023-11-16 18:15:50+00:01"), ("TIMESTAMP", "+00:01'", "go back from 2023-")),
    "another century": (azure("2123-11-16 18:15:50"), ("TIMESTAMP", "1e+09 s after the first", "'2123-")),
    "no prompt": (azure(prompt=0), ("ContextTokens", ">= 1", "got 0")),
    "negative prompt": (azure(prompt=-3), ("ContextTokens", ">= 1", "got -3")),
    "huge prompt": (azure(prompt=10**30), ("ContextTokens", "2147483648", "1000000")),
    "absurd prompt": (azure(prompt="9" * 5000), ("ContextTokens", "an integer", "'999")),
    "float prompt": (azure(prompt=374.0), ("ContextTokens", "an integer", "'374.0'")),
    "prompt in words": (azure(prompt="many"), ("ContextTokens", "an integer", "'many'")),
    "grouped digits": (azure(prompt="1_000"), ("ContextTokens", "an integer", "'1_000'")),
    "empty prompt": (azure(prompt=""), ("ContextTokens", "an integer", "got ''")),
    "negative reply": (azure(output=-1), ("GeneratedTokens", ">= 0", "got -1")),
    "cut row": ((AZURE, "2023-11-16 18:15:50.9"), ("line", "3 values", "it has 1", "'2023-11-16 18:15:50.9'")),
    "long row": ((AZURE, A_ROW + ",1"), ("line", "3 values", "it has 4")),
    "header again": ((AZURE, AZURE), ("ContextTokens", "an integer", "'ContextTokens'")),
    "JSON": ((AZURE, '{"timestamp": 1}'), ("line", "3 values", "it has 1")),
    "open quote": ((AZURE, '"2023-11-16 18:15:50,10,1'), ("line", "comma-separated", "unexpected end of data")),
    "newline in a value": ((AZURE, "2023-11-16 18:15:50,1\r0,1"), ("line", "comma-separated")),
    "time is NaN": (burst("nan"), ("Timestamp", "a finite number", "'nan'")),
    "time is infinite": (burst("inf"), ("Timestamp", "a finite number", "'inf'")),
    "time out of range": (burst("1e999"), ("Timestamp", "a finite number", "inf")),
    "time in words": (burst("2023-11-16 18:15:46"), ("Timestamp", "a finite number", "'2023-")),
    "negative time": (burst(-1), ("Timestamp", ">= 0", "got -1")),
    "time going back": (burst(44.9), ("Timestamp", "'44.9'", "go back from 45")),
    "far time": (burst("2e9"), ("Timestamp", "'2e9'", "1e+09 s after the first")),
    "no request": (burst(prompt=0), ("Request tokens", ">= 1", "got 0")),
    "float request": (burst(prompt="10.5"), ("Request tokens", "an integer", "'10.5'")),
    "negative response": (burst(output=-1), ("Response tokens", ">= 0", "got -1")),
    "empty response": (burst(output=""), ("Response tokens", "an integer", "got ''")),
    "failed at a time that goes back": (burst(1, output=0), ("Timestamp", "'1'", "go back from 45")),
    "failed with a negative prompt": (burst(prompt=-1, output=0), ("Request tokens", ">= 0", "got -1")),
    "short row": ((BURST, "50,GPT-4,10,1,11"), ("line", "6 values", "it has 5")),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_bad_row_is_named_with_its_number_column_and_value(tmp_path: Path, name: str) -> None:
    (header, bad), expected = BAD_ROWS[name]
    (tmp_path / "t").write_bytes(f"{header}\n{FILES[header]}\n\n{bad}\n".encode())
    message = message_of(tmp_path / "t")
    assert message.startswith(f"{tmp_path / 't'}:4: ")
    for part in expected:
        assert part in message
    assert len(message) < 500


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_bad_row_can_be_skipped_and_leaves_no_trace(tmp_path: Path, name: str) -> None:
    (header, bad), _ = BAD_ROWS[name]
    good = FILES[header]
    (tmp_path / "with").write_bytes(f"{header}\n{good}\n{bad}\n{good}\n".encode())
    (tmp_path / "without").write_bytes(f"{header}\n{good}\n{good}\n".encode())
    report = ReadReport()
    requests = list(read_trace(tmp_path / "with", options=ReadOptions(on_bad_line="skip"), report=report))
    assert requests == list(read_trace(tmp_path / "without"))
    assert (report.lines, report.requests, report.skipped, report.failed_left_out) == (4, 2, 1, 0)
    assert str(report.first_bad).startswith(f"{tmp_path / 'with'}:3: ")


BAD_FILES: dict[str, tuple[str, tuple[str, ...]]] = {
    "no header": (A_ROW, (":1: line", "one JSON object, or a header", "TIMESTAMP,ContextTokens", "burstgpt", "'2023-")),
    "another header": ("a,b,c\n1,2,3", (":1: line", "or a header", "azure", "'a,b,c'")),
    "no column of times": ("time,ContextTokens,GeneratedTokens", (":1: TIMESTAMP", "a column of this name", "'time, ")),
    "no column of replies": ("TIMESTAMP,ContextTokens", (":1: GeneratedTokens", "a column of this name")),
    "a column twice": (f"{AZURE},ContextTokens", (":1: ContextTokens", "expected one", "2 columns")),
    "no column of requests": ("Timestamp,Model,Response tokens", (":1: Request tokens", "a column of this name")),
    "a header alone": (AZURE, ("at least one request", "a header alone")),
    "nothing but failures": (f"{BURST}\n{B_ROW.replace('18', '0')}", ("at least one", "1 requests that had failed")),
    "a web page": ("<!DOCTYPE html>\n<html>", (":1: line", "or a header", "'<!DOCTYPE html>'")),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_FILES)
@pytest.mark.parametrize("on_bad_line", ["fail", "skip"])
def test_a_bad_file_is_named(tmp_path: Path, name: str, on_bad_line: str) -> None:
    content, expected = BAD_FILES[name]
    (tmp_path / "t.csv").write_text(content, encoding="utf-8")
    message = message_of(tmp_path / "t.csv", on_bad_line=on_bad_line)
    for part in expected:
        assert part in message


def test_lines_before_the_header_are_bad_lines(tmp_path: Path) -> None:
    (tmp_path / "t").write_text(f"# from the archive\n{AZURE}\n{A_ROW}\n", encoding="utf-8")
    for format_name in (None, "azure"):
        report = ReadReport()
        options = ReadOptions(on_bad_line="skip")
        assert len(list(read_trace(tmp_path / "t", format_name=format_name, options=options, report=report))) == 1
        assert (report.lines, report.skipped) == (3, 1)


def test_bytes_that_are_no_text_are_a_bad_line(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(f"{BURST}\n{B_ROW}\n46,Müller,1,1,2,x\n".encode("latin-1"))
    message = message_of(tmp_path / "t")
    assert ":3: line: expected UTF-8 text" in message


@pytest.mark.parametrize("header", FILES)
def test_a_closed_loop_is_refused(tmp_path: Path, header: str) -> None:
    (tmp_path / "t").write_text(f"{header}\n{FILES[header]}\n", encoding="utf-8")
    with pytest.raises(BadInput, match="closed_loop: expected false"):
        list(read_trace(tmp_path / "t", options=ReadOptions(closed_loop=True)))
    assert next(read_trace(tmp_path / "t", options=ReadOptions(block_tokens=64))).block_tokens == 64


SIGNS = st.sampled_from("0159.-+:, \"eE_TZ'\x00\u00e9\u0663\r") | st.characters()


@st.composite
def damaged(draw: st.DrawFn, line: str) -> str:
    """A line in which a few signs were replaced, left out or put in."""
    start = draw(st.integers(0, len(line)))
    end = draw(st.integers(start, min(len(line), start + 3)))
    return line[:start] + draw(st.text(SIGNS, max_size=4)) + line[end:]


@given(st.sampled_from(sorted(FILES)), st.integers(0, 2), st.data())
def test_whatever_is_damaged_only_our_own_error_comes_out(
    tmp_path_factory: pytest.TempPathFactory, header: str, place: int, data: st.DataObject
) -> None:
    lines = [header, FILES[header], FILES[header]]
    lines[place] = data.draw(damaged(lines[place]))
    path = tmp_path_factory.mktemp("fuzz") / "t"
    path.write_bytes("\n".join(lines).encode(errors="surrogatepass"))
    try:
        requests = list(read_trace(path))
    except BadTrace as error:
        message = str(error)
        assert message.startswith(f"{path}:")
        assert "expected" in message
        assert "\n" not in message
    else:
        assert 0 < len(requests) <= 2 + lines[place].count("\n")
        assert all(request.arrival_s >= 0 and request.block_keys == () for request in requests)
