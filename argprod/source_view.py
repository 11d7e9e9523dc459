"""What commands say about where their requests came from: on the terminal, and in result files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from replay.sources import SourceInfo
from replay.traces import ReadReport
from scheduler.state import Request

#: Said of a source in which no request has block keys.
NOTHING_SHARED = (
    "No request says which blocks of its prompt others share: no prefix is shared, no cache hits, "
    "and rules that follow the cache see load alone."
)


def source_lines(info: SourceInfo, requests: Sequence[Request]) -> list[str]:
    """What was read, left out and changed; a second line where no prompt shares anything, because nobody says so."""
    span_s = requests[-1].arrival_s - requests[0].arrival_s
    parts = [f"{info.name}: {len(requests)} requests over {span_s:.0f} s"]
    if info.report is not None:
        parts += [f"{what}: {count}" for what, count in remarkable(info.report).items()]
    return ["; ".join(parts), *([] if any(request.block_keys for request in requests) else [NOTHING_SHARED])]


def remarkable(report: ReadReport) -> dict[str, int]:
    """What reading left out or changed, by what it is called, where it happened at all."""
    counts = {
        "bad lines skipped": report.skipped,
        "requests that had failed left out": report.failed_left_out,
        "empty replies read as one token": report.empty_outputs,
    }
    return {what: count for what, count in counts.items() if count}


def trace_facts_of(info: SourceInfo, requests: Sequence[Request]) -> dict[str, Any]:
    """What a result file says about where its requests came from."""
    facts: dict[str, Any] = {
        "name": info.name,
        "kind": info.kind,
        "block_tokens": info.block_tokens,
        "requests": len(requests),
        "keyed_requests": sum(bool(request.block_keys) for request in requests),
        "sha256": info.sha256,
        "params": dict(info.params),
    }
    if info.report is not None:
        facts["lines"] = info.report.lines
        facts["skipped"] = info.report.skipped
        facts["failed_left_out"] = info.report.failed_left_out
        facts["empty_outputs"] = info.report.empty_outputs
    return facts
