"""Where requests come from: a trace file or a generated workload, behind one text."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from replay.traces import ReadOptions, ReadReport, ShapeReport, limited, read_trace, scaled, windowed
from replay.workloads import parse_workload
from replay.workloads.catalogue import PREFIX, WORKLOADS
from replay.workloads.knobs import SEED_DOMAIN
from scheduler.errors import BadInput
from scheduler.state import Request


@dataclass(frozen=True)
class SourceInfo:
    """What a run has to say about where its requests came from.

    Args:
        name: the file, or the workload with its parameters, as given.
        kind: ``trace`` or ``workload``.
        block_tokens: tokens in a block [token].
        sha256: digest of the file as it lies on the disk; None for a workload or a pipe.
        seed: of the workload; None for a trace.
        params: all parameters of the workload, defaults too; empty for a trace.
        report: counts of reading, complete once the last request is drawn; None for a workload.
        shape: counts of the window, complete with the last request.
    """

    name: str
    kind: str
    block_tokens: int
    sha256: str | None = None
    seed: int | None = None
    params: Mapping[str, object] = field(default_factory=dict)
    report: ReadReport | None = None
    shape: ShapeReport = field(default_factory=ShapeReport)


def open_source(
    text: str,
    *,
    seed: int = 0,
    format_name: str | None = None,
    on_bad_line: str = "fail",
    closed_loop: bool | None = None,
    block_tokens: int | None = None,
    rate_scale: float = 1.0,
    from_s: float = 0.0,
    to_s: float | None = None,
    limit: int | None = None,
) -> tuple[Iterator[Request], SourceInfo]:
    """Open a source of requests.

    The window is cut in the source's own time, then the rate is scaled, then the limit counts.

    Args:
        text: the path of a trace, or ``workload:NAME[:param=value,...]``.
        seed: of a workload; a trace is the same for every seed.
        format_name: the format of a trace, or None to detect it.
        on_bad_line: ``fail`` or ``skip``, for a trace.
        closed_loop: whether later turns wait for replies. None: yes for workloads of sessions, no for Bailian traces,
            and as the file says for argprod's own; see :class:`replay.traces.ReadOptions`.
        block_tokens: overrides the format's or the workload's block size [token].
        rate_scale, from_s, to_s, limit: see :mod:`replay.traces.shaping`.

    Returns:
        The requests in order of arrival, drawn lazily, and what is known of them; the first request has been read.

    Raises:
        BadInput: a bad option, workload or window without a request; BadTrace for a file, also while requests are
        drawn.
    """
    options = ReadOptions(on_bad_line, None if text.startswith(PREFIX) else closed_loop, block_tokens)
    if text.startswith(PREFIX):
        if format_name is not None:
            raise BadInput("format", format_name, f"none: {text} is generated, not read")
        requests, info = _workload(text, seed, closed_loop, block_tokens)
    else:
        if text in WORKLOADS and not Path(text).exists():
            raise BadInput("source", text, "a trace file or workload:NAME", f"did you mean {PREFIX}{text}?")
        report = ReadReport()
        requests = read_trace(text, format_name=format_name, options=options, report=report)
        info = SourceInfo(text, "trace", 0, report=report)
    shaped = limited(scaled(windowed(requests, from_s, to_s, info.shape), rate_scale), limit)
    first = next(shaped, None)
    if first is None:
        raise BadInput("window", f"{from_s:g} s to {'the end' if to_s is None else f'{to_s:g} s'}", "one with requests")
    if info.kind == "trace":
        info = SourceInfo(text, "trace", first.block_tokens, _sha256(Path(text)), report=info.report, shape=info.shape)
    return itertools.chain((first,), shaped), info


def _workload(
    text: str, seed: int, closed_loop: bool | None, block_tokens: int | None
) -> tuple[Iterator[Request], SourceInfo]:
    """A workload's requests; options given beside the text must not contradict it."""
    workload, params = parse_workload(text)
    given = dict(params)
    names = {parameter.name for parameter in workload.parameters}
    for name, option in (("closed_loop", closed_loop), ("block_tokens", block_tokens)):
        if option is None or (name not in names and option is False):
            continue
        if name not in names:
            raise BadInput(name, option, f"false: every request of workload:{workload.name} stands alone")
        if given.setdefault(name, option) != option:
            raise BadInput(name, option, f"{given[name]}, as in {text}")
    SEED_DOMAIN.check("seed", seed)
    values = workload.values(given)
    info = SourceInfo(text, "workload", values["block_tokens"], seed=seed, params=values)
    return workload.generate(seed, **given), info


def _sha256(path: Path) -> str | None:
    """Digest of a regular file; a pipe can be read only once."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
