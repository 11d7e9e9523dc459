"""The log of measured steps: one JSON line a step, from which a calibration can be fitted again, elsewhere or later.

The first line says which engine was measured, on what. A line with ``"what":"round"`` begins a round (see
:mod:`replay.calibration.rounds`); every other one is a :class:`replay.engines.steps.StepRecord`. Each round is written
when it is over, so that a measurement that is interrupted leaves all that it learned.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import msgspec

from replay.calibration.rounds import Round
from replay.engines.steps import StepRecord
from replay.json_lines import read_lines, write_lines
from scheduler.errors import BadTrace

_EXPECTED = "a log of steps"
_COUNTS = ("prefill_tokens", "decode_requests", "kv_tokens", "pairs")


class EngineFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The engine that was measured, as far as a simulation of it needs to know.

    Args:
        name: of the kind of engine.
        settings: its parameters.
        block_tokens: tokens in a KV block [token].
        kv_blocks: KV blocks, or None if not known [block].
        batch_tokens: tokens that one step may process [token].
        max_batch: requests that one step may hold [request].
    """

    name: str
    settings: dict[str, Any] = msgspec.field(default_factory=dict)
    block_tokens: int
    kv_blocks: int | None = None
    batch_tokens: int
    max_batch: int


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Where measurements come from.

    Args:
        machine: processor, accelerator and so on, in words.
        versions: of what took part.
        date: of the measurement, ISO 8601.
        command: that measured.
    """

    machine: dict[str, Any] = msgspec.field(default_factory=dict)
    versions: dict[str, str] = msgspec.field(default_factory=dict)
    date: str = ""
    command: str = ""


class Header(msgspec.Struct, frozen=True, kw_only=True, tag="steps", tag_field="what"):
    """What was measured.

    Args:
        engine: the engine.
        provenance: where and when.
    """

    engine: EngineFacts
    provenance: Provenance = msgspec.field(default_factory=Provenance)


class _Begin(msgspec.Struct, frozen=True, kw_only=True, tag="round", tag_field="what"):
    """A round begins."""

    kind: str = ""


class StepLogWriter:
    """Writes a log, round by round.

    Args:
        file: open for writing bytes.
        header: what is measured.
    """

    def __init__(self, file: IO[bytes], header: Header) -> None:
        self._file = file
        self._write([header])

    def round(self, one: Round) -> None:
        """A round is over."""
        self._write([_Begin(kind=one.kind), *one.steps])

    def _write(self, entries: Iterable[Any]) -> None:
        write_lines(self._file, entries)


class StepLog(msgspec.Struct, frozen=True, kw_only=True):
    """A log that was read.

    Args:
        header: what was measured.
        rounds: in their order; steps before the first that has a name belong to one without.
    """

    header: Header
    rounds: list[Round]


def read_step_log(path: Path) -> StepLog:
    """Read a log; a last line that was cut short is left out.

    Raises:
        BadTrace: if this is no such log, naming the line.
        OSError: if the file cannot be read.
    """
    header: Header | None = None
    rounds: list[tuple[str, list[StepRecord]]] = []

    def heard(number: int, row: bytes) -> None:
        nonlocal header
        if header is None:
            header = msgspec.json.decode(row, type=Header)
        elif row.startswith(b'{"what":'):
            rounds.append((msgspec.json.decode(row, type=_Begin).kind, []))
        else:
            step = msgspec.json.decode(row, type=StepRecord)
            _check(step, str(path), number)
            if not rounds:
                rounds.append(("", []))
            rounds[-1][1].append(step)

    read_lines(path, _EXPECTED, heard)
    assert header is not None  # or the first line could not be read
    return StepLog(header=header, rounds=[Round(kind=kind, steps=tuple(steps)) for kind, steps in rounds])


def _check(step: StepRecord, source: str, number: int) -> None:
    """What types do not say."""
    if not (math.isfinite(step.step_s) and step.step_s > 0):
        raise BadTrace(source, number, "step_s", step.step_s, "a finite number > 0 [s]")
    for name in _COUNTS:
        if getattr(step, name) < 0:
            raise BadTrace(source, number, name, getattr(step, name), "an integer >= 0")
