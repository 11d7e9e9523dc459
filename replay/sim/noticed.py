"""What detector and mitigation did in one run, decision by decision."""

from __future__ import annotations

from dataclasses import dataclass, field

from scheduler.finding import Severity
from scheduler.routed import Routed


@dataclass(slots=True)
class Noticed:
    """What detector and mitigation did in one run.

    Args:
        decisions: how many were made.
        unsafe: how many had a finding above ``info``.
        counts: decisions with a finding, by kind and severity.
        acted: decisions that a mitigation changed, by its kind.
        price_tokens: prefill tokens that mitigation cost beyond the rule's choices, by its kind [token].
        events: of each unsafe or changed decision: tick, kinds of its findings above info, kind of the mitigation or
            empty, price [token].
        faults: events that were lost, duplicated, reordered on their way.
        ignored: events that the routers counted and ignored, all together.
        given_up: requests of which a router heard nothing for too long; with several routers, by any of them.
        open_at_end: requests that the routers still had open when the run was over: their ends were lost.
        booked_at_end: what their counters held after these were given up, all added up; 0, or something leaked.
    """

    decisions: int = 0
    unsafe: int = 0
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    acted: dict[str, int] = field(default_factory=dict)
    price_tokens: dict[str, int] = field(default_factory=dict)
    events: list[tuple[int, tuple[str, ...], str, int]] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)
    ignored: int = 0
    given_up: int = 0
    open_at_end: int = 0
    booked_at_end: int = 0

    def note(self, at: int, routed: Routed) -> None:
        """Count one decision."""
        self.decisions += 1
        found, done = routed.detection.findings, routed.mitigation
        changed = done is not None and done.kind != "none" and routed.instance != routed.rule_instance
        for finding in found:
            key = (finding.kind.value, finding.severity.value)
            self.counts[key] = self.counts.get(key, 0) + 1
        if routed.detection.safe and not changed:
            return
        self.unsafe += not routed.detection.safe
        kind, price = "", 0
        if changed:
            assert done is not None
            kind, price = done.kind, done.price_tokens
            self.acted[kind] = self.acted.get(kind, 0) + 1
            self.price_tokens[kind] = self.price_tokens.get(kind, 0) + price
        grave = tuple(finding.kind.value for finding in found if finding.severity is not Severity.INFO)
        self.events.append((at, grave, kind, price))
