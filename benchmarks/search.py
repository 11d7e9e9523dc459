"""The counterexample search over linear, threshold and load rules: answer or ``undecided``, and its time."""

from __future__ import annotations

import datetime as dt
from typing import Any

from benchmarks.measure import machine, save
from proofs.search import Question, rule_named, search
from proofs.search.solver import solver_name

RULES = (
    "linear",
    "linear:weight=0.55",
    "linear:form=p_token",
    "dynamo",
    "bailian_argmax",
    "llm_d_default",
    "load_aware",
    "vllm_v1",
    "join_shortest_queue",
    "marginal_delay",
    "dynamo_two_tier",
    "sglang_cache_aware",
    "aibrix_prefix_cache",
    "llm_d_affinity",
    "preble",
)
OBJECTIVES = ("smallest", "worst")
TIME_LIMIT_S = 40.0


def answer_of(rule: str, objective: str) -> dict[str, Any]:
    """One search, two instances, against lmetric, as a row."""
    cost = rule_named("lmetric" if rule == "marginal_delay" else "marginal_delay")
    answer = search(Question(rule_named(rule), objective=objective, cost=cost), time_limit_s=TIME_LIMIT_S)
    row: dict[str, Any] = {"rule": rule, "objective": objective, "cost": cost.label, "verdict": answer.verdict.value}
    row |= {"how": answer.how, "seconds": answer.seconds}
    if answer.states:
        row |= {"size": answer.best.size, "regret": None if answer.best.regret is None else float(answer.best.regret)}
    return row


def line(row: dict[str, Any]) -> str:
    """A row of the table, at most 80 columns."""
    value = "-"
    if "size" in row:
        value = str(row["size"]) if row["objective"] == "smallest" else f"{row['regret'] or 0:.5g}x"
    how = row["how"].split(";")[0].removeprefix("solver: ").replace("found, optimality not shown", "not shown optimal")
    known = f"{row['rule']:<20.20} {row['objective']:<9} {row['verdict']:<9}"
    return f"{known} {value:>11} {row['seconds']:5.1f} s  {how:.18}"


def run() -> None:
    """Search, print, save."""
    print(f"{'rule':<20} {'objective':<9} {'answer':<9} {'size/regret':>11} {'time':>7}  how")
    rows = []
    for rule in RULES:
        for objective in OBJECTIVES:
            rows.append(answer_of(rule, objective))
            print(line(rows[-1]), flush=True)
    result = {
        "question": "two instances, against lmetric, default ranges; smallest by size, worst by ratio of cost",
        "time_limit_s": TIME_LIMIT_S,
        "rows": rows,
        "solver": solver_name(),
        "machine": machine(),
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "command": "make bench BENCH_ARGS=search",
    }
    print(f"saved {save('search', result).name}")
