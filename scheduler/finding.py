"""What the detector says: findings with their evidence, the choice they are about, and whether all is safe."""

from __future__ import annotations

from enum import Enum
from typing import Any

import msgspec


class Severity(Enum):
    """How much a finding matters. A state is safe if it has nothing above ``INFO``."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class Kind(Enum):
    """What can be found in a state; each kind is explained where it is found, in ``scheduler/findings/``."""

    ZERO_COLLAPSE = "zero_collapse"
    IDLE_COLLAPSE = "idle_collapse"
    HOT_SPOT = "hot_spot"
    SILENT_BAND = "silent_band"
    LEVERAGE = "leverage"
    COLD_INSTANCE_STARVATION = "cold_instance_starvation"
    QUEUE_CROSS_TERM = "queue_cross_term"
    CONTESTED = "contested"
    STALE = "stale"
    SATURATED = "saturated"
    UNEQUAL_SPEEDS = "unequal_speeds"
    PROGRESS_STALLED = "progress_stalled"
    INCONSISTENT_INPUT = "inconsistent_input"


class Finding(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing that is, or may be, wrong with a decision.

    Args:
        kind: what.
        severity: how much it matters.
        instances: ids of the instances it is about.
        evidence: the numbers it rests on, by name with the unit last.
        explanation: one sentence for a human.
        claim: id of the claim it follows from.
        advice: what to do about it.
    """

    kind: Kind
    severity: Severity
    instances: tuple[str, ...]
    evidence: dict[str, Any]
    explanation: str
    claim: str
    advice: str


class Choice(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the rule takes in the state that was looked at.

    Args:
        instance: id of the instance; of several with the same key the first, whatever the tie rule will draw.
        score: its key: one number, or a tuple compared in order.
        margin: best other score over this one, less 1; None where there is no such number (see
            :class:`scheduler.state.Decision`).
    """

    instance: str
    score: Any
    margin: float | None


class Detection(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The answer of :func:`scheduler.detect`.

    Args:
        safe: True if no finding is above ``INFO``.
        findings: what was found, the gravest first.
        choice: what the rule takes; None without a request, or if the input does not allow a decision.
    """

    safe: bool
    findings: tuple[Finding, ...]
    choice: Choice | None = None

    def found(self, kind: Kind) -> Finding | None:
        """The finding of a kind, or None."""
        return next((finding for finding in self.findings if finding.kind is kind), None)


#: The answer for a state in which nothing was looked at or found.
NOTHING_FOUND = Detection(safe=True, findings=())
