"""The log of a run: one JSON line a request, from which the record of the run, and so every table, is computed again.

The first line says what was run; each other one is a :class:`replay.run.Line`, written when its request has ended, so
that a run that is interrupted leaves all that it learned. A run that came to its end says so in its last line.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec

from replay.json_lines import read_lines, write_lines
from replay.live_record import Line, LiveRecord
from replay.metrics import Spread, Summary, Watch, summarise, watch_of
from replay.sim.noticed import Noticed
from replay.sim.record import RunRecord
from replay.sim.runs import full_blocks
from replay.sim.sequence import Sim
from replay.sim.ticks import to_ticks
from scheduler.errors import BadTrace
from scheduler.policies.catalogue import policy as read_policy
from scheduler.state import End, Request

_EXPECTED = "a log of argprod replay"
#: How its first line begins, and how long it is at most [byte].
_BEGINNING, _HEADER_BYTES = b'{"what":"run"', 2**24


class Header(msgspec.Struct, frozen=True, kw_only=True, tag="run", tag_field="what"):
    """What was run.

    Args:
        policy: the rule, as ``NAME[:knob=value,...]``.
        instances: names of the engines, in the order of the tables.
        mitigation: what the router might do about findings.
        repeat: which repetition it is, from 0.
        prompt_seed: from which the token ids of the prompts follow; None if there were none.
        settings: whatever else makes it another run, if it differs (:mod:`replay.log_folder` says what does).
        noted: what the run was told too, and makes no other one of it.
    """

    policy: str
    instances: tuple[str, ...]
    mitigation: str = "none"
    repeat: int = 0
    prompt_seed: int | None = None
    settings: dict[str, Any] = msgspec.field(default_factory=dict)
    noted: dict[str, Any] = msgspec.field(default_factory=dict)


class Footer(msgspec.Struct, frozen=True, kw_only=True, tag="end", tag_field="what"):
    """The run came to its end.

    Args:
        requests: how many had an end.
        not_arrived: how many had not come by the cut-off.
        wall_s: how long the run took [s].
        gone: instances that the runner gave up, and why.
        stall_s: how late the client was in listening to engines; None if nobody looked [s].
        watch: what detector and mitigation did.
        events: decisions that were unsafe or changed, as in :class:`replay.sim.noticed.Noticed`.
    """

    requests: int
    not_arrived: int
    wall_s: float = 0.0
    gone: dict[str, str] = msgspec.field(default_factory=dict)
    stall_s: Spread | None = None
    watch: Watch | None = None
    events: list[tuple[int, tuple[str, ...], str, int]] = msgspec.field(default_factory=list)


class LogWriter:
    """Writes a log, line by line.

    Args:
        file: open for writing bytes.
        header: what is run.
    """

    def __init__(self, file: IO[bytes], header: Header) -> None:
        self._file = file
        self._write(header)

    def line(self, line: Line) -> None:
        """A request has ended."""
        self._write(line)

    def end(self, record: LiveRecord) -> None:
        """The run came to its end."""
        run = record.run
        footer = Footer(
            requests=len(record.lines),
            not_arrived=run.not_arrived,
            wall_s=record.wall_s,
            gone=record.gone,
            stall_s=record.stall_s,
            watch=None if run.noticed is None else watch_of(run.noticed),
            events=[] if run.noticed is None else run.noticed.events,
        )
        self._write(footer)

    def _write(self, entry: Any) -> None:
        write_lines(self._file, (entry,))


class Log(msgspec.Struct, frozen=True, kw_only=True):
    """A log that was read.

    Args:
        header: what was run.
        lines: requests in the order of their ends.
        footer: None if the run was interrupted.
    """

    header: Header
    lines: list[Line]
    footer: Footer | None


def read_header(path: Path) -> Header | None:
    """What a log says first; None if its writer was cut short in saying that.

    Raises:
        BadTrace: if this is no such log.
        OSError: if the file cannot be read.
    """
    with path.open("rb") as file:
        row = file.readline(_HEADER_BYTES)
    try:
        return msgspec.json.decode(row, type=Header)
    except msgspec.MsgspecError as fault:
        if not row.endswith(b"\n") and _BEGINNING.startswith(row[: len(_BEGINNING)]):
            return None
        raise BadTrace(str(path), 1, "", row.decode("utf-8", "replace"), _EXPECTED, str(fault)) from None


def read_log(path: Path) -> Log:
    """Read a log; a last line that was cut short is left out.

    Raises:
        BadTrace: if this is no such log, naming the line.
    """
    header: Header | None = None
    lines: list[Line] = []
    footer: Footer | None = None

    def heard(_: int, row: bytes) -> None:
        nonlocal header, footer
        if header is None:
            header = msgspec.json.decode(row, type=Header)
        elif row.startswith(b'{"what":"end"'):
            footer = msgspec.json.decode(row, type=Footer)
        else:
            lines.append(msgspec.json.decode(row, type=Line))

    read_lines(path, _EXPECTED, heard)
    assert header is not None  # or the first line could not be read
    return Log(header=header, lines=lines, footer=footer)


def record_of(log: Log, requests: Mapping[int, Request]) -> RunRecord:
    """The record of the run again.

    Args:
        log: its log.
        requests: those of the trace, by id.

    Raises:
        BadTrace: if a line is about a request that the trace does not have, or of other lengths.
    """
    places = {name: place for place, name in enumerate(log.header.instances)}
    order = {name: place for place, name in enumerate(requests)}
    for number, line in enumerate(log.lines, 2):
        asked = requests.get(line.id)
        if asked is None or (asked.prompt_tokens, asked.output_tokens) != (line.prompt_tokens, line.wanted_tokens):
            raise BadTrace("log", number, "id", line.id, "a request of this trace, of the same lengths")
    lines = sorted(log.lines, key=lambda line: order[line.id])
    sims = [_sim(line, requests[line.id], places) for line in lines]
    sent = sorted((line for line in lines if line.sent_s is not None), key=lambda line: line.sent_s or 0.0)
    load_at, load = _load(sent, places)
    return RunRecord(
        read_policy(log.header.policy).label,
        log.header.repeat,
        sims,
        imbalance=[line.imbalance for line in sent if line.imbalance is not None],
        ended_at=max((to_ticks(line.end_s) for line in lines if line.end_s is not None), default=0),
        not_arrived=len(requests) - len(lines) if log.footer is None else log.footer.not_arrived,
        load_at=load_at,
        load=load,
        noticed=_noticed(log.footer),
    )


def _noticed(footer: Footer | None) -> Noticed | None:
    """What figures of findings over time are drawn from."""
    if footer is None or footer.watch is None:
        return None
    return Noticed(decisions=footer.watch.decisions, unsafe=footer.watch.unsafe, events=footer.events)


def _load(sent: Sequence[Line], places: Mapping[str, int]) -> tuple[list[int], list[list[int]]]:
    """Requests in flight on every instance, at every arrival that was sent, itself counted."""
    ends: list[tuple[float, int]] = []
    load, at, samples = [0] * len(places), [], []
    for line in sent:
        assert line.sent_s is not None
        assert line.instance is not None
        while ends and ends[0][0] <= line.sent_s:
            load[heapq.heappop(ends)[1]] -= 1
        load[places[line.instance]] += 1
        if line.end_s is not None:
            heapq.heappush(ends, (line.end_s, places[line.instance]))
        at.append(to_ticks(line.sent_s))
        samples.append(load.copy())
    return at, samples


def summary_of(log: Log, record: RunRecord) -> Summary:
    """All metrics of the run; the hit fraction is that of the requests of which engines told what was cached.

    Args:
        log: its log.
        record: what :func:`record_of` made of it.
    """
    header, footer = log.header, log.footer
    chosen = read_policy(header.policy)
    wall_s = max((line.end_s or 0.0 for line in log.lines), default=0.0) if footer is None else footer.wall_s
    summary = summarise(record, chosen.rule.name, dict(chosen.values), len(header.instances), wall_s, header.mitigation)
    told = [line for line in log.lines if line.cached_tokens is not None]
    asked_tokens = sum(line.prompt_tokens for line in told)
    return msgspec.structs.replace(
        summary,
        watch=None if footer is None else footer.watch,
        hit_fraction=sum(line.cached_tokens or 0 for line in told) / asked_tokens if asked_tokens else None,
    )


def _sim(line: Line, request: Request, places: Mapping[str, int]) -> Sim:
    blocks = full_blocks(request)
    sim = Sim(request, to_ticks(line.due_s), request.block_keys[:blocks], blocks)
    sim.instance = None if line.instance is None else places[line.instance]
    sim.first_at = to_ticks(line.token_s[0]) if line.token_s else None
    sim.end, sim.reason = End(line.end), line.reason
    if sim.end is End.FINISHED and line.end_s is not None:
        sim.last_at = to_ticks(line.end_s)
    sim.generated = sum(line.token_counts)
    sim.cached, sim.predicted_hit = line.cached_tokens or 0, line.predicted_tokens
    sim.preemptions = line.preemptions
    return sim
