"""What the detector finds at the decisions of a census, and how often weighted lines differ there.

The shipped router decides once more, with its monitor and detector and without mitigation: it takes what the product
alone takes (a test), so its findings are those of the same decisions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from replay.census import RULE, Decisions
from replay.sim.cluster import Cluster
from replay.sim.parts import Prepared
from replay.sim.router_decider import Routing
from replay.sim.run import simulate
from scheduler.finding import Severity
from scheduler.policies.catalogue import policy
from scheduler.routed import Routed
from scheduler.state import Request

#: Request id -> kinds of what was found at its decision, each with whether it was above ``info``.
Found = dict[int, dict[str, bool]]


class FindingCount(msgspec.Struct, frozen=True, kw_only=True):
    """How often a kind of finding came up.

    Args:
        decisions: that had it.
        unsafe: those in which it was above ``info``.
        differing: share of them at which a line of that weight would have differed, by the weight as text ("256").
    """

    decisions: int
    unsafe: int
    differing: dict[str, float]


def found_at(requests: Sequence[Request] | Prepared, cluster: Cluster, **options: Any) -> Found:
    """Simulate the shipped router and note what it finds.

    Args:
        requests, cluster: see :func:`replay.sim.run.simulate`.
        options: further arguments of ``simulate``.
    """
    found: Found = {}

    def heed(routed: Routed) -> None:
        kinds: dict[str, bool] = {}
        for finding in routed.detection.findings:
            name = finding.kind.value
            kinds[name] = kinds.get(name, False) or finding.severity is not Severity.INFO
        if kinds:
            found[routed.request_id] = kinds

    simulate(requests, policy(RULE), cluster, routing=Routing("none", heed=heed), **options)
    return found


def count_findings(decisions: Decisions, found: Found, weights: Sequence[float]) -> Mapping[str, FindingCount]:
    """Add up what was found, the most frequent kind first.

    Args:
        decisions: of the run.
        found: at its decisions.
        weights: lines to ask [token/request].
    """
    differs = {weight: decisions.differs(weight) for weight in weights}
    rows: dict[str, list[int]] = {}
    unsafe: dict[str, int] = {}
    for place, request_id in enumerate(decisions.request_id.tolist()):
        for kind, grave in found.get(request_id, {}).items():
            rows.setdefault(kind, []).append(place)
            unsafe[kind] = unsafe.get(kind, 0) + grave
    return {
        kind: FindingCount(
            decisions=len(places),
            unsafe=unsafe[kind],
            differing={f"{weight:g}": float(np.mean(differs[weight][places])) for weight in weights},
        )
        for kind, places in sorted(rows.items(), key=lambda row: (-len(row[1]), row[0]))
    }
