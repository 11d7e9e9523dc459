"""What ``argprod search`` shows: an answer as JSON, and in words and tables for the terminal."""

from __future__ import annotations

from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape

from argprod.search_table import rule_label, show_state
from proofs.search import Answer, Found, Question, SequenceQuestion
from proofs.search.telling import plain, short
from scheduler.state_json import write_state


def answer_facts(question: Question | SequenceQuestion, answer: Answer) -> dict[str, Any]:
    """The answer as JSON: question, verdict, how, states."""
    return {
        "question": question_facts(question),
        "verdict": answer.verdict.value,
        "how": answer.how,
        "bound": None if answer.bound is None else plain(answer.bound),
        "interrupted": answer.interrupted,
        "seconds": round(answer.seconds, 3),
        "solver": answer.solver,
        "states": [_state_facts(found) for found in answer.states],
    }


def question_facts(question: Question | SequenceQuestion) -> dict[str, Any]:
    """The question as JSON, rules by their labels."""
    names = [name for name in question.__dataclass_fields__ if name not in ("rule", "against", "cost")]
    facts = {name: getattr(question, name) for name in names}
    facts["rule"] = question.rule.label
    if isinstance(question, SequenceQuestion):
        return {"kind": "sequence", **facts}
    facts["against"] = None if question.against is None else question.against.label
    facts["cost"] = question.cost.label
    return facts


def _state_facts(found: Found) -> dict[str, Any]:
    ids = found.file.state.ids
    return {
        "policy": found.policy,
        "chosen": ids[found.chosen],
        "against": found.against,
        "other": ids[found.other],
        "size": found.size,
        "regret": None if found.regret is None else plain(found.regret),
        "costs": [plain(cost) for cost in found.costs],
        "regions": dict(found.regions),
        "knobs": {name: list(ends) for name, ends in found.knobs.items()},
        "arrivals": [{"caught_up": c, "hot": h, "instance": ids[index]} for c, h, index in found.steps],
        "truth": None if found.truth is None else msgspec.json.decode(write_state(found.truth)),
        "state": msgspec.json.decode(write_state(found.file)),
    }


def show(console: Console, question: Question | SequenceQuestion, answer: Answer) -> None:
    """Verdict, evidence, and a table a state; nothing is wider than the console."""
    asked = "" if answer.states else f"{_subject(question)}: "
    console.print(f"[bold]{answer.verdict.value}[/bold] in {answer.seconds:.1f} s; {escape(asked + answer.how)}")
    for found in answer.states:
        console.print(_headline(question, found))
        show_state(console, question, found)
        if found.steps:
            words = [
                f"{'(caught up) ' if c else ''}{'hot' if h else 'cold'} to {found.file.state.ids[i]}"
                for c, h, i in found.steps
            ]
            console.print("arrivals: " + ", ".join(words))


def _subject(question: Question | SequenceQuestion) -> str:
    """What was asked: rules, kind and limits."""
    if isinstance(question, SequenceQuestion):
        goal = f"gap {question.gap}, imbalance {question.imbalance:g}"
        return f"{rule_label(question.rule)}, kind sequence, {question.instances} instances, {goal}"
    words = [rule_label(question.rule)]
    if question.against is not None:
        words[0] += f" against {rule_label(question.against)}"
    words += [f"kind {question.kind}", f"{question.instances} instances"]
    words += [f"{k.name} {'every' if k.every else 'some'} value from {k.low:g} to {k.high:g}" for k in question.free]
    if question.max_size is not None:
        words.append(f"size at most {question.max_size}")
    if question.min_regret is not None:
        words.append(f"regret at least {question.min_regret:g} ({question.regret} of {rule_label(question.cost)})")
    return ", ".join(words)


def _headline(question: Question | SequenceQuestion, found: Found) -> str:
    ids = found.file.state.ids
    rule = rule_label(found.rule)
    if isinstance(question, SequenceQuestion):
        return escape(f"{rule}: {found.size} arrivals leave {ids[found.chosen]} with most residents")
    words = [f"{rule} takes {ids[found.chosen]}"]
    if question.against is not None:
        words.append(f"{rule_label(question.against)} takes {ids[found.other]}")
    elif question.kind == "noise":
        words.append(f"with the truth it would take {ids[found.other]}")
    else:
        words.append(f"{ids[found.other]} was to be had")
    words.append(_regret(question, found))
    words += [f"{name} from {low} to {high}" for name, (low, high) in found.knobs.items()]
    words.append(f"size {found.size}, prompt {found.file.request.prompt_tokens}")
    return escape("; ".join(words))


def _regret(question: Question, found: Found) -> str:
    """What the choice costs more than the cheapest instance, in words."""
    cost = rule_label(question.cost)
    if found.regret is None:
        return f"no ratio of costs under {cost}, one is not > 0"
    if found.regret == (1 if question.regret == "ratio" else 0):
        return f"at no extra cost under {cost}"
    if question.regret == "ratio":
        return f"regret {short(found.regret, 4)} times the least cost under {cost}"
    return f"regret {short(found.regret, 4)} above the least cost under {cost}"
