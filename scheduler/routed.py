"""One decision of a router, as it is handed out, logged and explained."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import msgspec

from scheduler.errors import BadInput
from scheduler.explaining import as_text, findings_text, instance_rows, margin_text, number_text
from scheduler.finding import Detection
from scheduler.guard import Guard
from scheduler.indicators import new_prefill_tokens
from scheduler.ledger import Ledger
from scheduler.ops import SCALAR
from scheduler.policies.choosing import Chooser
from scheduler.remedies import Mitigation
from scheduler.state import ClusterState, Request


class Routed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a router decided on one request.

    Args:
        request: the request.
        request_id: by what name events speak of it.
        at_s: time of the decision [s].
        policy: label of the rule.
        index: position of the chosen instance among the routable ones.
        instance: its id.
        rule_instance: id of the instance that the rule took before mitigation.
        scores: the rule's key of every routable instance; if the rule has a filter, its first part is 1 for those
            filtered out.
        hit_tokens: what is believed cached on the chosen instance [token].
        new_tokens: what is believed to be computed there, as it was booked [token].
        detection: what was found.
        mitigation: what was done about it, or None.
        state: what the router knew of the routable instances.
    """

    request: Request
    request_id: Any
    at_s: float
    policy: str
    index: int
    instance: str
    rule_instance: str
    scores: tuple[Any, ...]
    hit_tokens: int
    new_tokens: int
    detection: Detection
    mitigation: Mitigation | None
    state: ClusterState

    @property
    def margin(self) -> float | None:
        """Margin of the rule's choice, see :class:`scheduler.state.Decision`."""
        return None if self.detection.choice is None else self.detection.choice.margin

    def explain(self) -> str:
        """Why: all indicators and scores, what was found and done, what other rules would have taken."""
        rows = instance_rows(self.state, self.request, [number_text(score) for score in self.scores])
        lead = "" if self.margin is None else f", the next score is {margin_text(self.margin)}"
        lines = [as_text(rows), f"{self.policy} takes {self.rule_instance}{lead}", findings_text(self.detection)]
        if self.mitigation is not None:
            done = self.mitigation
            lines.append(f"mitigation {done.kind}: to {self.instance}, price {done.price_tokens} tokens: {done.reason}")
        return "\n".join(lines)

    def as_line(self) -> bytes:
        """One line of JSON for a log, newline and all, without the prompt's keys and the columns of the cluster."""
        mitigation = self.mitigation
        line = msgspec.json.encode(
            {
                "request": self.request_id,
                "at_s": self.at_s,
                "policy": self.policy,
                "instance": self.instance,
                "rule_instance": self.rule_instance,
                "prompt_tokens": self.request.prompt_tokens,
                "hit_tokens": self.hit_tokens,
                "new_tokens": self.new_tokens,
                "instances": self.state.ids,
                "scores": self.scores,
                "margin": self.margin,
                "safe": self.detection.safe,
                "findings": [[finding.kind, finding.severity] for finding in self.detection.findings],
                "mitigation": None if mitigation is None else mitigation.kind,
                "price_tokens": 0 if mitigation is None else mitigation.price_tokens,
            }
        )
        return line + b"\n"


def routed_by(ledger: Ledger, guard: Guard, chooser: Chooser, request: Request, name: Hashable, now_s: float) -> Routed:
    """Decide where a request goes, and book it there: look up, choose, detect, mitigate, in this order.

    Args:
        ledger: what is known.
        guard: detector and mitigation.
        chooser: the rule.
        request: the request, checked.
        name: what events will call it.
        now_s: time of the decision [s].

    Raises:
        BadInput: if no instance is routable.
    """
    if not ledger.slots.ids:
        raise BadInput("instances", 0, "at least one instance that is not draining", "join one")
    expected = ledger.observe(request, now_s)
    view, slots = ledger.view, ledger.slots.routable
    columns = guard.columns(view, request)
    keys = chooser.keys(view, request, expected) if columns is None else columns.keys
    chosen = chooser.take(keys)
    path = guard.monitor.arrived(request.block_keys, request.block_tokens, request.prompt_tokens)
    detection, done = guard.look(view, request, path, keys, chosen, slots, ledger.index.holders, expected, columns)
    taken = chosen if done is None else done.instance
    chooser.remember(view, request, taken)
    hit = view.hit_tokens[taken]
    new = new_prefill_tokens(SCALAR, request.prompt_tokens, hit)
    routed = Routed(
        request=request,
        request_id=name,
        at_s=now_s,
        policy=chooser.label,
        index=taken,
        instance=view.ids[taken],
        rule_instance=view.ids[chosen],
        scores=tuple(keys),
        hit_tokens=hit,
        new_tokens=new,
        detection=detection,
        mitigation=done,
        state=view.state(),
    )
    ledger.book(name, request, slots[taken], new, now_s)
    guard.dispatched(name, path, slots[taken])
    return routed
