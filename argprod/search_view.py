"""What ``argprod search`` shows: an answer as JSON, and as a table for the terminal."""

from __future__ import annotations

from typing import Any

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from proofs.search import Answer, Found, Question, SequenceQuestion
from scheduler.state_json import write_state


def answer_facts(question: Question | SequenceQuestion, answer: Answer) -> dict[str, Any]:
    """The answer as JSON: question, verdict, how, states."""
    return {
        "question": question_facts(question),
        "verdict": answer.verdict.value,
        "how": answer.how,
        "bound": None if answer.bound is None else float(answer.bound),
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
        "regret": None if found.regret is None else float(found.regret),
        "costs": [float(cost) for cost in found.costs],
        "regions": dict(found.regions),
        "knobs": {name: list(ends) for name, ends in found.knobs.items()},
        "arrivals": [{"caught_up": c, "hot": h, "instance": ids[index]} for c, h, index in found.steps],
        "truth": None if found.truth is None else msgspec.json.decode(write_state(found.truth)),
        "state": msgspec.json.decode(write_state(found.file)),
    }


def show(console: Console, question: Question | SequenceQuestion, answer: Answer) -> None:
    """Verdict, evidence, and a table a state."""
    console.print(
        f"[bold]{answer.verdict.value}[/bold] in {answer.seconds:.1f} s; {escape(answer.how)}", soft_wrap=True
    )
    for found in answer.states:
        console.print(_headline(question, found), soft_wrap=True)
        console.print(_table(found))
        if found.steps:
            words = [
                f"{'(caught up) ' if c else ''}{'hot' if h else 'cold'} to {found.file.state.ids[i]}"
                for c, h, i in found.steps
            ]
            console.print("arrivals: " + ", ".join(words), soft_wrap=True)


def _headline(question: Question | SequenceQuestion, found: Found) -> str:
    ids = found.file.state.ids
    if isinstance(question, SequenceQuestion):
        return escape(f"{found.policy}: {found.size} arrivals leave {ids[found.chosen]} with most residents")
    words = [f"{found.policy} takes {ids[found.chosen]}"]
    if found.against is not None:
        words.append(f"{found.against} takes {ids[found.other]}")
    elif question.kind == "noise":
        words.append(f"with the truth it would take {ids[found.other]}")
    else:
        words.append(f"{ids[found.other]} was to be had")
    if found.regret is not None:
        words.append(f"regret {float(found.regret):.4g} ({question.regret} of {question.cost.label})")
    words += [f"{name} from {low} to {high}" for name, (low, high) in found.knobs.items()]
    words.append(f"size {found.size}, prompt {found.file.request.prompt_tokens}")
    return escape("; ".join(words))


def _table(found: Found) -> Table:
    state = found.file.state
    names = [name for name in type(state).__struct_fields__ if name not in ("ids", "now_s")]
    shown = [name for name in names if getattr(state, name) is not None]
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("\nid", no_wrap=True)
    for name in shown:
        table.add_column(name.replace("_", "\n", 1).replace("_", " "), justify="right")
    table.add_column("\ncost", justify="right")
    for index, name in enumerate(state.ids):
        cells = [
            f"{getattr(state, column)[index]:g}"
            if isinstance(getattr(state, column)[index], float)
            else str(getattr(state, column)[index])
            for column in shown
        ]
        mark = f"[bold]{name}[/bold]" if index == found.chosen else name
        table.add_row(mark, *cells, f"{float(found.costs[index]):.6g}")
    return table
