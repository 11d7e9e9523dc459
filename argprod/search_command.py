"""``argprod search``: states in which a rule goes wrong, as small, as bad or as different as they come.

Exit codes: 0 if the question was answered (states found, or proved that there are none), 3 if it is undecided, 130 if
interrupted (what was found so far is shown).
"""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from argprod.search_flags import options_named, refuse_without_effect, rule_of
from argprod.search_saving import path_of, save_state
from argprod.search_view import answer_facts, show
from proofs.search import (
    TIME_LIMIT_S,
    Answer,
    FreeKnob,
    Question,
    Ranges,
    SequenceQuestion,
    Verdict,
    search,
)
from proofs.search.question import KINDS, OBJECTIVES
from scheduler.errors import BadInput, unknown_name

#: The rule that each kind is about, where none is named.
DEFAULT_RULES = {"zero_collapse": "lmetric_paper", "idle_collapse": "lmetric_no_self", "disagree": "linear"}
_UNDECIDED = 3
_EPS, _COUNT = Question.eps, Question.count
_ARRIVALS, _GAP, _IMBALANCE = SequenceQuestion.arrivals, SequenceQuestion.gap, SequenceQuestion.imbalance

RuleText = Annotated[
    str | None,
    typer.Option(
        "--rule",
        help="NAME[:knob=value,...], or MODULE:FUNCTION of your own: f(ops, x) or f(ops, x, aggregates, knobs) -> key, "
        "the least key wins; default: by kind.",
        show_default=False,
    ),
]
Against = Annotated[
    str | None,
    typer.Option(help="The rule it is compared with; default: lmetric where the kind compares.", show_default=False),
]
Kind = Annotated[str, typer.Option(help=f"{', '.join(KINDS)} or sequence.")]
Objective = Annotated[str, typer.Option(help=", ".join(OBJECTIVES))]
Cost = Annotated[
    str | None, typer.Option(help="The rule whose score is the cost; default: by kind.", show_default=False)
]
Regret = Annotated[str, typer.Option(help="ratio or difference of cost of the choice and least cost.")]
Instances = Annotated[int, typer.Option(help="Number of instances.")]
PromptMax = Annotated[int, typer.Option(help="Longest prompt [token].")]
BatchMax = Annotated[int, typer.Option(help="Largest batch, the request counted.")]
QueueMax = Annotated[int, typer.Option(help="Most queued prefill tokens on an instance.")]
BlockTokens = Annotated[int, typer.Option(help="Tokens in a KV block.")]
AnyHits = Annotated[bool, typer.Option("--any-hits", help="Hits need not be whole blocks.")]
Free = Annotated[
    list[str] | None,
    typer.Option(help="KNOB=LOW..HIGH: a knob of the rule that the search may set.", show_default=False),
]
Every = Annotated[
    list[str] | None,
    typer.Option(help="KNOB=LOW..HIGH: it must go wrong at every value (rule linear).", show_default=False),
]
Eps = Annotated[float, typer.Option(help="For noise: how far off an indicator may be.")]
Count = Annotated[int, typer.Option(help="For diverse: how many states.")]
MaxSize = Annotated[int | None, typer.Option(help="Only states of this size or less.", show_default=False)]
MinRegret = Annotated[float | None, typer.Option(help="Only states with at least this regret.", show_default=False)]
Arrivals = Annotated[int, typer.Option(help="For sequence: at most so many arrivals.")]
Gap = Annotated[int, typer.Option(help="For sequence: greatest less least residents to reach.")]
Imbalance = Annotated[float, typer.Option(help="For sequence: greatest over mean residents to reach too.")]
TimeLimit = Annotated[float, typer.Option("--time-limit-s", help="Time for the search [s].")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Save = Annotated[
    str | None,
    typer.Option(
        help="Save the first state with its safe twin: a path ending in .json, or in a checkout of argprod a NAME for "
        "its collection.",
        show_default=False,
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Let --save overwrite a file.")]


def search_command(
    rule: RuleText = None,
    against: Against = None,
    kind: Kind = "disagree",
    objective: Objective = "smallest",
    cost: Cost = None,
    regret: Regret = "ratio",
    instances: Instances = 2,
    prompt_max: PromptMax = Ranges.prompt_tokens_max,
    batch_max: BatchMax = Ranges.batch_size_max,
    queue_max: QueueMax = Ranges.queued_prefill_tokens_max,
    block_tokens: BlockTokens = Ranges.block_tokens,
    any_hits: AnyHits = False,
    free: Free = None,
    every: Every = None,
    eps: Eps = _EPS,
    count: Count = _COUNT,
    max_size: MaxSize = None,
    min_regret: MinRegret = None,
    arrivals: Arrivals = _ARRIVALS,
    gap: Gap = _GAP,
    imbalance: Imbalance = _IMBALANCE,
    time_limit_s: TimeLimit = TIME_LIMIT_S,
    as_json: AsJson = False,
    save: Save = None,
    force: Force = False,
) -> None:
    """Find states in which a rule goes wrong.

    Smallest, worst, or several different ones; in each, every rule's choice is strictly its best.
    """
    if kind not in (*KINDS, "sequence"):
        raise unknown_name("--kind", kind, (*KINDS, "sequence"))
    chosen = rule_of("--rule", rule or DEFAULT_RULES.get(kind, "lmetric"))
    knobs = tuple(
        _free_knob(text, is_every) for texts, is_every in ((free, False), (every, True)) for text in texts or ()
    )
    other = None if against is None else rule_of("--against", against)
    priced = rule_of("--cost", cost or _default_cost(kind, chosen.rule.name))
    question: Question | SequenceQuestion
    with options_named(knobs):
        if kind == "sequence":
            question = SequenceQuestion(
                chosen, instances=instances, arrivals=arrivals, gap=gap, imbalance=imbalance, block_tokens=block_tokens
            )
        else:
            question = Question(
                rule=chosen,
                against=other,
                kind=kind,
                objective=objective,
                cost=priced,
                regret=regret,
                instances=instances,
                ranges=Ranges(prompt_max, batch_max, queue_max, block_tokens, not any_hits),
                free=knobs,
                eps=eps,
                count=count,
                max_size=max_size,
                min_regret=min_regret,
            )
    refuse_without_effect(
        kind,
        objective,
        {
            "--against": against is not None,
            "--objective": objective != "smallest",
            "--cost": cost is not None,
            "--regret": regret != "ratio",
            "--prompt-max": prompt_max != Ranges.prompt_tokens_max,
            "--batch-max": batch_max != Ranges.batch_size_max,
            "--queue-max": queue_max != Ranges.queued_prefill_tokens_max,
            "--any-hits": any_hits,
            "--free": bool(free),
            "--every": bool(every),
            "--eps": eps != _EPS,
            "--count": count != _COUNT,
            "--max-size": max_size is not None,
            "--min-regret": min_regret is not None,
            "--arrivals": arrivals != _ARRIVALS,
            "--gap": gap != _GAP,
            "--imbalance": imbalance != _IMBALANCE,
        },
    )
    _answer(question, knobs, time_limit_s, as_json=as_json, save=save, force=force)


def _answer(
    question: Question | SequenceQuestion,
    knobs: tuple[FreeKnob, ...],
    time_limit_s: float,
    *,
    as_json: bool,
    save: str | None,
    force: bool,
) -> None:
    """Search, show, save, and exit by what came of it."""
    path = None if save is None else path_of(save, question, force=force)
    with options_named(knobs):
        answer = _searched(question, time_limit_s)
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(answer_facts(question, answer))).decode())
    else:
        show(Console(highlight=False), question, answer)
    if answer.interrupted:
        raise typer.Exit(130)
    if path is not None:
        save_state(path, question, answer, force=force)
    if answer.verdict is Verdict.UNDECIDED:
        raise typer.Exit(_UNDECIDED)


def _default_cost(kind: str, rule: str) -> str:
    if kind == "starvation":
        return "join_shortest_queue"
    return "lmetric" if rule == "marginal_delay" else "marginal_delay"


def _free_knob(text: str, every: bool) -> FreeKnob:
    name, equals, interval = text.partition("=")
    low, dots, high = interval.partition("..")
    try:
        if not (equals and dots):
            raise ValueError
        return FreeKnob(name, _number(low), _number(high), every)
    except ValueError:
        option = "--every" if every else "--free"
        raise BadInput(option, text, "KNOB=LOW..HIGH", "for example weight=0.3..0.9") from None


def _number(text: str) -> float:
    return int(text) if text.strip().isdigit() else float(text)


def _searched(question: Question | SequenceQuestion, time_limit_s: float) -> Answer:
    """Run the search with a line of progress on the error stream."""
    console = Console(highlight=False, stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task("searching", total=None)

        def tell(what: str) -> None:
            bars.update(task, description=escape(what))

        return search(question, time_limit_s=time_limit_s, on_progress=tell)
