"""Readers of trace files, and what can be done to a trace: windows, rates, facts."""

from replay.traces.catalogue import FORMATS, Format, read_trace
from replay.traces.facts import TraceFacts, trace_facts
from replay.traces.options import ReadOptions
from replay.traces.own import write
from replay.traces.reading import ReadReport
from replay.traces.shaping import ShapeReport, limited, scaled, windowed

__all__ = [
    "FORMATS",
    "Format",
    "ReadOptions",
    "ReadReport",
    "ShapeReport",
    "TraceFacts",
    "limited",
    "read_trace",
    "scaled",
    "trace_facts",
    "windowed",
    "write",
]
