"""The log of a run says all: the record comes back from it, and what is damaged is named."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.live_record import Line, LiveRecord
from replay.metrics import summarise
from replay.run import Pace
from replay.run_log import Header, Log, LogWriter, read_log, record_of, summary_of
from replay.sim.record import RunRecord
from replay.sim.ticks import to_ticks
from scheduler.errors import BadTrace
from scheduler.state import Request
from tests.replay.test_run import Fake, replayed, request, told_of, traces

HEADER = Header(policy="lmetric", instances=("0", "1"), mitigation="auto")


def logged(lines: list[Line], live: LiveRecord | None) -> bytes:
    """A log; without a record it has no end."""
    file = io.BytesIO()
    writer = LogWriter(file, HEADER)
    for line in lines:
        writer.line(line)
    if live is not None:
        writer.end(live)
    return file.getvalue()


def live_record(not_arrived: int) -> LiveRecord:
    return LiveRecord(RunRecord("lmetric", 0, [], not_arrived=not_arrived), [LINE], 2.0, {"1": "it broke"})


def saved(folder: Path, data: bytes) -> Path:
    path = folder / "run.jsonl"
    path.write_bytes(data)
    return path


@settings(max_examples=25)
@given(requests=traces(), cut_off=st.booleans(), broken=st.booleans())
def test_the_record_of_a_run_comes_back_from_its_log(
    requests: list[Request], cut_off: bool, broken: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lines: list[Line] = []
    pace = Pace(closed_loop=True, until_s=3.0 if cut_off else None, patience_s=30.0)
    engines = [Fake("0", "works", "breaks", "slow"), Fake("1", "works", "truncates")] if broken else None
    live, _ = replayed(requests, engines, lines=lines, pace=pace)
    path = saved(tmp_path_factory.mktemp("log"), logged(lines, live))
    log = read_log(path)
    again = record_of(log, {one.id: one for one in requests})
    assert told_of(again) == told_of(live.run)
    assert sorted(again.imbalance) == sorted(live.run.imbalance)
    assert again.noticed is not None
    assert live.run.noticed is not None
    assert again.noticed.events == live.run.noticed.events
    one, two = summary_of(log, again), summarise(live.run, "lmetric", {}, 2, live.wall_s, "auto")
    told = [line for line in lines if line.cached_tokens is not None]
    hits = None
    if told:
        hits = sum(line.cached_tokens or 0 for line in told) / sum(line.prompt_tokens for line in told)
    assert one == msgspec.structs.replace(two, knobs=one.knobs, preemptions=one.preemptions, hit_fraction=hits)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.sampled_from("01")), max_size=12))
def test_the_load_over_time_comes_from_the_log(spans: list[tuple[int, int, str]]) -> None:
    """At every arrival: who was sent by then and has not ended, itself counted."""
    spans.sort()
    lines = [
        Line(id=number, instance=name, sent_s=1.0 * sent, end="failed", end_s=1.0 * (sent + took))
        for number, (sent, took, name) in enumerate(spans)
    ]
    asked = {line.id: request(line.id, prompt_tokens=0, output_tokens=0) for line in lines}
    again = record_of(Log(header=HEADER, lines=lines, footer=None), asked)
    assert again.load_at == [to_ticks(1.0 * sent) for sent, _, _ in spans]
    assert again.load == [
        [
            sum(
                name == other and (at + took > now or place == k)
                for place, (at, took, other) in enumerate(spans[: k + 1])
            )
            for name in HEADER.instances
        ]
        for k, (now, _, _) in enumerate(spans)
    ]


LINE = Line(id=1, instance="0", sent_s=0.0, prompt_tokens=20, wanted_tokens=8, end="finished", end_s=1.0)


def test_an_interrupted_log_holds_what_had_ended(tmp_path: Path) -> None:
    data = logged([LINE], None)
    for rest in (b"", b'{"id":2,"inst'):
        log = read_log(saved(tmp_path, data + rest))
        assert (log.header, log.lines, log.footer) == (HEADER, [LINE], None)
    log = read_log(saved(tmp_path, logged([LINE], live_record(3))))
    assert log.footer is not None
    assert (log.footer.requests, log.footer.not_arrived, log.footer.gone) == (1, 3, {"1": "it broke"})


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"", "run.jsonl: expected a log of argprod replay, got 'nothing'"),
        (b"hello\n", "run.jsonl:1"),
        (b'{"id":1}\n', "run.jsonl:1"),
        (logged([LINE], None) + b'{"id":"x"}\n', "run.jsonl:3"),
        (logged([LINE], None) + b'{"id":2\n' + b'{"id":3}\n', "run.jsonl:3"),
    ],
)
def test_what_is_no_log_is_named_with_its_line(data: bytes, place: str, tmp_path: Path) -> None:
    with pytest.raises(BadTrace) as caught:
        read_log(saved(tmp_path, data))
    assert place in str(caught.value)


@pytest.mark.parametrize("trace", [{}, {1: request(1, prompt_tokens=21)}, {1: request(1, output_tokens=9)}])
def test_a_log_of_another_trace_is_refused(trace: dict[int, Request], tmp_path: Path) -> None:
    with pytest.raises(BadTrace, match="a request of this trace"):
        record_of(read_log(saved(tmp_path, logged([LINE], live_record(0)))), trace)
