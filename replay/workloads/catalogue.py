"""The workloads by name, and the text form ``workload:NAME[:param=value,...]``.

A new family is one file and one line in WORKLOADS.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from replay.workloads.api import API
from replay.workloads.chat import CHAT
from replay.workloads.coder import CODER
from replay.workloads.hot_spot_ramp import HOT_SPOT_RAMP
from replay.workloads.identical_burst import IDENTICAL_BURST
from replay.workloads.knobs import Values, Workload
from replay.workloads.thinking_burst import THINKING_BURST
from replay.workloads.tool_agent import TOOL_AGENT
from replay.workloads.uncacheable import UNCACHEABLE
from scheduler.errors import BadInput, unknown_name

#: The families of the source paper first, then the adversaries.
WORKLOADS: Mapping[str, Workload] = MappingProxyType(
    {
        workload.name: workload
        for workload in (
            CHAT,
            API,
            CODER,
            TOOL_AGENT,
            HOT_SPOT_RAMP,
            THINKING_BURST,
            IDENTICAL_BURST,
            UNCACHEABLE,
        )
    }
)

PREFIX = "workload:"


def parse_workload(text: str) -> tuple[Workload, Values]:
    """The workload that a text names, and the parameters it gives (defaults not among them).

    Args:
        text: ``workload:NAME`` or ``workload:NAME:param=value,param=value``.

    Raises:
        BadInput: an unknown workload or parameter, with the nearest names; a value outside its domain; a parameter
        twice.

    Example:
        >>> workload, params = parse_workload("workload:chat:requests=100,rate_per_s=2")
        >>> workload.name, params
        ('chat', {'requests': 100, 'rate_per_s': 2.0})
    """
    name, _, rest = text.removeprefix(PREFIX).partition(":")
    if name not in WORKLOADS:
        raise unknown_name("workload", name, WORKLOADS)
    texts: dict[str, str] = {}
    for part in filter(None, rest.split(",")):
        knob, equals, value = part.partition("=")
        if not equals:
            raise BadInput(f"workload:{name}: parameter", part, "param=value", "separate parameters by commas")
        if knob.strip() in texts:
            raise BadInput(f"workload:{name}: {knob.strip()}", part, "each parameter once")
        texts[knob.strip()] = value.strip()
    return WORKLOADS[name], WORKLOADS[name].parsed(texts)
