"""The formats of traces, and reading one whatever its format.

A new format is one file with ``recognises`` and ``reader``, and one entry in FORMATS.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from replay.traces import azure, bailian, burstgpt, mooncake, own
from replay.traces.columns import values
from replay.traces.fields import loosely
from replay.traces.options import ReadOptions
from replay.traces.reading import ReadReport, read_lines
from scheduler.errors import BadInput, BadTrace, unknown_name
from scheduler.state import Request


@dataclass(frozen=True)
class Format:
    """One format of trace files.

    Args:
        name: as given on the command line.
        summary: its fields and units in one line.
        recognises: True for the field names of a line of this format, or for the columns of its header.
        reader: makes the function from lines to requests, which remembers what a trace needs (clock, chains, sessions);
            the function gives None for a line that holds no request to replay (a header, a request that failed).
        has_header: True for CSV, whose first line names the columns; False for JSON lines.
    """

    name: str
    summary: str
    recognises: Callable[[frozenset[str]], bool]
    reader: Callable[[ReadOptions, ReadReport], Callable[[bytes], Request | None]]
    has_header: bool = False


#: In the order in which a line is tried: Bailian's lines have all of Mooncake's fields and more.
FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            Format("argprod", "arrival_s, prompt_tokens, output_tokens, block_keys, ...", own.recognises, own.reader),
            Format("bailian", "chat_id, timestamp (s), 16-token hash_ids, ...", bailian.recognises, bailian.reader),
            Format("mooncake", "timestamp (ms), 512-token hash_ids, ...", mooncake.recognises, mooncake.reader),
            Format("azure", "CSV: TIMESTAMP,ContextTokens,GeneratedTokens", azure.recognises, azure.reader, True),
            Format("burstgpt", "CSV: Timestamp,Model,Request tokens,...", burstgpt.recognises, burstgpt.reader, True),
        )
    }
)


def read_trace(
    path: Path | str,
    *,
    format_name: str | None = None,
    options: ReadOptions = ReadOptions(),  # noqa: B008 (frozen)
    report: ReadReport | None = None,
) -> Iterator[Request]:
    """Read a trace file, one request after the other, in order of arrival.

    Args:
        path: the file; plain, gzip or zstd.
        format_name: one of FORMATS, or None to tell it from the first line that can be read. A CSV file begins with its
            header in any case.
        options: what to do with bad lines and links between turns.
        report: counts what was met; it is complete once the last request is drawn.

    Raises:
        BadInput: an unknown format.
        BadTrace: while requests are drawn: a file that cannot be read; a bad line, unless such lines are skipped; no
            request in the whole file.
    """
    if format_name is not None and format_name not in FORMATS:
        raise unknown_name("format", format_name, FORMATS)
    return _requests(Path(path), format_name, options, ReadReport() if report is None else report)


def detected(line: bytes) -> Format:
    """The format that a line begins: one of JSON lines if it starts with a brace, and else one of CSV by its header.

    Raises:
        BadInput: naming the fields of the line and the known formats.
    """
    is_json = line.lstrip().startswith(b"{")
    try:
        row = list(loosely(line)) if is_json else values(line)
    except BadInput:
        if is_json:
            raise
        row = []
    names = frozenset(row)
    for entry in FORMATS.values():
        if entry.has_header is not is_json and entry.recognises(names):
            return entry
    if not is_json:
        raise _no_first_line(line)
    known = "; ".join(f"{entry.name}: {entry.summary}" for entry in FORMATS.values())
    raise BadInput("line", ", ".join(row) or "{}", f"the fields of a known format ({known})")


def _no_first_line(line: bytes) -> BadInput:
    """The error for a line that is neither JSON nor the header of a known CSV file."""
    try:
        loosely(line)
    except BadInput as error:
        if error.expected.startswith("one JSON object"):
            headers = "; ".join(f"{entry.name}: {entry.summary}" for entry in FORMATS.values() if entry.has_header)
            return BadInput(error.field, error.value, f"{error.expected}, or a header ({headers})", error.hint)
        return error
    raise AssertionError("a JSON object begins with a brace")


def _requests(path: Path, format_name: str | None, options: ReadOptions, report: ReadReport) -> Iterator[Request]:
    lines = read_lines(path)
    entry = FORMATS[format_name] if format_name else None
    while entry is None and (numbered := next(lines, None)):
        try:
            entry = detected(numbered[1])
        except BadInput as error:
            report.lines += 1
            _note_bad_line(path, numbered[0], error, options, report)
        else:
            lines = itertools.chain((numbered,), lines)
    # Made outside of any line: an option that the format does not know is no fault of a line.
    read = entry.reader(options, report) if entry else None
    for number, line in lines:
        assert read is not None
        report.lines += 1
        try:
            request = read(line)
        except BadInput as error:
            _note_bad_line(path, number, error, options, report)
            continue
        if request is None:
            continue
        report.requests += 1
        yield request
    if not report.requests:
        counts = ((report.skipped, "bad lines"), (report.failed_left_out, "requests that had failed"))
        found = " and ".join(f"{count} {what}" for count, what in counts if count)
        found = found or ("a header alone" if report.lines else "an empty file")
        first = f"the first: {report.first_bad}" if report.first_bad else ""
        raise BadTrace(str(path), 0, "", found, "at least one request", first)


def _note_bad_line(path: Path, number: int, error: BadInput, options: ReadOptions, report: ReadReport) -> None:
    """Count a bad line, or raise at once if such lines are not to be skipped."""
    bad = BadTrace(str(path), number, error.field, error.value, error.expected, error.hint)
    report.first_bad = report.first_bad or str(bad)
    if options.on_bad_line == "fail":
        raise bad from None
    report.skipped += 1
