"""Saved states: ``{"state", "policy", "expected_findings", "safe_twin", "provenance"}``, one JSON file each.

They are written by the search, never by hand, and every one is run again by a test. ``expected_findings`` names what a
detector should say of the state; of the safe twin it should say nothing of the kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

import proofs.counterexamples
from proofs.search.arrivals import SequenceQuestion
from proofs.search.question import Answer, Found, Question
from scheduler.errors import BadInput
from scheduler.state_json import StateFile, state_from, write_state

#: Where the saved states of this package lie.
FOLDER = Path(proofs.counterexamples.__file__).parent

_BY_KIND = {
    "zero_collapse": ("zero_collapse",),
    "idle_collapse": ("idle_collapse",),
    "starvation": ("cold_instance_starvation",),
    "noise": ("contested",),
}
_FIELDS = {"state", "policy", "expected_findings", "safe_twin", "provenance"}


@dataclass(frozen=True)
class Counterexample:
    """A saved state.

    Args:
        name: of the file.
        state: in which something is wrong.
        policy: the rule that it goes wrong with.
        expected_findings: names of the detector's findings.
        safe_twin: a state close to it in which nothing is wrong.
        provenance: query, solver, value, how, date, and what the rules chose.
    """

    name: str
    state: StateFile
    policy: str
    expected_findings: tuple[str, ...]
    safe_twin: StateFile
    provenance: Mapping[str, Any]


def expected_findings(question: Question | SequenceQuestion, found: Found) -> tuple[str, ...]:
    """What a detector should find in the state, under the names of its findings."""
    if isinstance(question, SequenceQuestion):
        return ("hot_spot",)
    names = list(_BY_KIND.get(question.kind, ()))
    rules = {question.rule.rule.name, question.against.rule.name if question.against is not None else ""}
    if question.kind == "disagree" and rules == {"lmetric", "marginal_delay"}:
        names.append("queue_cross_term")
    speeds = found.file.state.prefill_s_per_token
    if speeds is not None and len(set(speeds)) > 1:
        names.append("unequal_speeds")
    return tuple(names)


def counterexample_json(
    question: Question | SequenceQuestion, answer: Answer, twin: StateFile, *, query: str, date: str
) -> bytes:
    """The best state of an answer in its JSON form."""
    found = answer.states[0]
    provenance: dict[str, Any] = {
        "query": query,
        "kind": "sequence" if isinstance(question, SequenceQuestion) else question.kind,
        "how": answer.how,
        "solver": answer.solver,
        "size": found.size,
        "chosen": found.file.state.ids[found.chosen],
        "other": found.file.state.ids[found.other],
        "date": date,
    }
    if isinstance(question, SequenceQuestion):
        provenance["arrivals"] = [
            {"caught_up": caught, "hot": hot, "instance": found.file.state.ids[index]}
            for caught, hot, index in found.steps
        ]
        provenance["lengths"] = {
            name: getattr(question, name) for name in ("hot_tokens", "prefix_tokens", "cold_tokens", "block_tokens")
        }
        provenance["gap"] = question.gap
    else:
        regret = None if found.regret is None else str(found.regret)
        provenance |= {
            "objective": question.objective,
            "against": found.against,
            "cost": question.cost.label,
            "regret": {question.regret: regret},
            "eps": question.eps if question.kind == "noise" else None,
            "every": [{"knob": k.name, "low": k.low, "high": k.high} for k in question.free if k.every],
            "truth": None if found.truth is None else msgspec.json.decode(write_state(found.truth)),
        }
    value = {
        "state": msgspec.json.decode(write_state(found.file)),
        "policy": found.policy,
        "expected_findings": list(expected_findings(question, found)),
        "safe_twin": msgspec.json.decode(write_state(twin)),
        "provenance": {name: entry for name, entry in provenance.items() if entry not in (None, [])},
    }
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def read_counterexample(path: Path) -> Counterexample:
    """Read one file.

    Raises:
        BadInput: naming the file and the field.
    """
    try:
        value = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError) as fault:
        raise BadInput(path.name, None, "a JSON object in a readable file", str(fault)) from None
    if not isinstance(value, dict) or set(value) != _FIELDS:
        raise BadInput(path.name, sorted(value) if isinstance(value, dict) else value, f"the fields {sorted(_FIELDS)}")
    return Counterexample(
        name=path.stem,
        state=state_from(value["state"]),
        policy=value["policy"],
        expected_findings=tuple(value["expected_findings"]),
        safe_twin=state_from(value["safe_twin"]),
        provenance=value["provenance"],
    )


def counterexamples(folder: Path = FOLDER) -> Sequence[Counterexample]:
    """Every saved state, by name.

    Example:
        >>> "zero_collapse" in {saved.name for saved in counterexamples()}
        True
    """
    return [read_counterexample(path) for path in sorted(folder.glob("*.json"))]
