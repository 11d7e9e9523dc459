"""Opens a trace file and gives its lines: plain, gzip or zstd, told apart by their first bytes and never by their name.

Everything that can be wrong with a file as a whole (it is missing, a folder, cut short, another kind of archive) ends
in one :class:`scheduler.errors.BadTrace` that names the file; no error of a third party comes out of here. What can
be wrong with one line is the business of :mod:`replay.traces.fields`.
"""

from __future__ import annotations

import difflib
import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from scheduler.errors import BadInput, BadTrace

#: The longest line that is read [byte]. A prompt of a million tokens in 16-token blocks takes half a megabyte; a longer
#: line than this is no trace, and reading it would fill the memory.
LINE_BYTES_MAX = 32 * 2**20

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_OTHER_KINDS = {
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"PK\x03\x04": "zip",
    b"PAR1": "Parquet",
    b"version https://git-lfs": "a Git LFS pointer; fetch the file itself with `git lfs pull`",
}
_ZSTD_CHUNK_BYTES = 1 << 17


@dataclass
class ReadReport:
    """What reading has met so far; the numbers grow while the requests are drawn.

    Args:
        lines: lines seen, blank ones not counted, the header of a CSV file counted.
        requests: requests given.
        skipped: bad lines left out (only with ``on_bad_line="skip"``).
        first_bad: the message of the first bad line, or None.
        empty_outputs: requests whose output length was 0 and which were given 1 output token.
        links_cut: requests whose parent is not in the file, and which therefore arrive on their own.
        failed_left_out: requests that failed when the trace was taken, and which are therefore not given.
    """

    lines: int = 0
    requests: int = 0
    skipped: int = 0
    first_bad: str | None = None
    empty_outputs: int = 0
    links_cut: int = 0
    failed_left_out: int = 0


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Give the lines of a file with their numbers from 1; blank lines are counted but not given.

    Args:
        path: a plain, gzip or zstd file; also a pipe, since it is read once and forwards only.

    Raises:
        BadTrace: if the file cannot be opened or read to its end, or a line is longer than LINE_BYTES_MAX.
    """
    number = 0
    try:
        with _opened(path) as raw, _decompressed(path, raw) as stream:
            while line := stream.readline(LINE_BYTES_MAX + 1):
                number += 1
                if len(line) > LINE_BYTES_MAX:
                    raise BadTrace(str(path), number, "line", line[:40], f"at most {LINE_BYTES_MAX} bytes")
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")  # the byte order mark that Windows tools write
                if not line.isspace() and line:
                    yield number, line
    except (EOFError, zlib.error, gzip.BadGzipFile, _BadFrame) as error:
        raise BadTrace(
            str(path), number + 1, "", str(error), "a whole compressed file", "cut short or damaged: fetch it again"
        ) from None
    except OSError as error:
        raise BadTrace(str(path), number, "", error.strerror or str(error), "a readable trace file") from None


def _opened(path: Path) -> BinaryIO:
    """The file, opened; the errors that a user meets every day say what to do."""
    try:
        if path.is_dir():
            raise BadTrace(str(path), 0, "", "a folder", "a trace file", "name one file in it")
        return path.open("rb")
    except FileNotFoundError:
        raise BadTrace(str(path), 0, "", "no such file", "a readable trace file", _nearby(path)) from None
    except PermissionError:
        raise BadTrace(str(path), 0, "", "no permission to read it", "a readable trace file") from None
    except ValueError as error:  # a NUL byte in the name
        raise BadTrace(repr(str(path)), 0, "", str(error), "the name of a trace file") from None


def _nearby(path: Path) -> str:
    """Files of the same folder with a similar name, as a hint."""
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return f"nor is there a folder {path.parent}"
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.75)
    return f"nearest: {', '.join(near)}" if near else ""


def _decompressed(path: Path, raw: BinaryIO) -> BinaryIO:
    """The stream of plain bytes, by what the file begins with."""
    assert isinstance(raw, io.BufferedReader)
    head = raw.peek(32)
    for magic, kind in _OTHER_KINDS.items():
        if head.startswith(magic):
            raise BadTrace(str(path), 0, "", kind, "JSON lines or CSV, plain or in gzip or zstd")
    if head.startswith(_GZIP):
        return io.BufferedReader(gzip.GzipFile(fileobj=raw))
    if head.startswith(_ZSTD):
        return io.BufferedReader(_ZstdReader(path, raw))
    return raw


class _BadFrame(Exception):
    """A zstd stream that is damaged or ends too early."""


class _ZstdReader(io.RawIOBase):
    """Plain bytes of a zstd file of one or more frames.

    Not ``ZstdDecompressor.stream_reader``: that one ends quietly where a file is cut short.
    """

    def __init__(self, path: Path, raw: BinaryIO) -> None:
        try:
            import zstandard
        except ImportError:
            raise BadInput(
                "trace", str(path), "a plain or gzip file", "zstd needs the package zstandard: install argprod[full]"
            ) from None
        self._library = zstandard
        self._raw = raw
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._fresh = True
        self._plain = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self._plain:
            packed = self._raw.read(_ZSTD_CHUNK_BYTES)
            if not packed:
                if not self._fresh and not self._frame.eof:
                    raise _BadFrame("zstd stream ended before its end marker")
                return 0
            self._plain = self._unpack(packed)
        count = min(len(buffer), len(self._plain))
        buffer[:count] = self._plain[:count]
        self._plain = self._plain[count:]
        return count

    def _unpack(self, packed: bytes) -> bytes:
        parts = []
        try:
            while packed:
                if self._frame.eof:
                    self._frame = self._library.ZstdDecompressor().decompressobj()
                parts.append(self._frame.decompress(packed))
                packed = self._frame.unused_data if self._frame.eof else b""
                self._fresh = False
        except self._library.ZstdError as error:
            raise _BadFrame(str(error)) from None
        return b"".join(parts)
