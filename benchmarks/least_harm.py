"""Least harm or product: ``marginal_delay`` and its offset against ``lmetric``, on a trace and six workloads.

Every number is simulated, none is measured on an engine. Loads are set by the product's own limit, so that no rule
is asked at a load chosen for another: with ``maximum`` the highest rate at which ``lmetric`` keeps 0.9 of the goodput
that it has with next to no load (median over the seeds, by bisection), ``half``, ``near`` and ``over`` are 0.5, 0.95
and 1.2 times that. (A limit of 0.9 on goodput itself would not exist everywhere: a long prompt that nobody holds
misses its TTFT limit on an idle H20 too.) Arrivals are replayed as they stand, so all rules face the same ones.

A seed draws the workload and the ties. The trace is the same for every seed, so its spread is that of ties alone and
says nothing of other hours of traffic. Rules are compared seed by seed: the ratio of a rule's value over the product's.
"""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import statistics
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

from benchmarks.measure import machine, save, shown, spread
from benchmarks.simulator import conversation_trace
from replay.experiment import Plan, run_all, run_one
from replay.metrics import latencies
from replay.objectives import OBJECTIVES, Objective
from replay.sim.cluster import roofline_cluster
from replay.sim.parts import prepare
from replay.sim.run import simulate
from replay.sim.sequence import Sim
from replay.sim.view import RouterView
from replay.sources import open_source
from scheduler import Level, Request, formulas, policy
from scheduler.indicators import new_prefill_tokens
from scheduler.ops import SCALAR

PRODUCT = "lmetric"
LEAST_HARM = ("marginal_delay", "marginal_delay_offset")
#: The last one is a reference; it keeps so few hits that on some sources no rate is within the limit.
RIVALS = (*LEAST_HARM, "join_shortest_queue")
RULES = (PRODUCT, *RIVALS)
SEEDS = range(5)
REQUESTS = 4_000
LOADS = {"half": 0.5, "near": 0.95, "over": 1.2}
KEPT_GOODPUT = 0.9  # share of the unloaded goodput that a rate must keep to count as carried
LIGHT = 1 / 32  # the unloaded rate, as a part of the guess
#: The rates searched first are the guess times and over this; so many halvings find a limit to 1.1%.
BRACKET, HALVINGS = 2, 7
MATERIAL = 0.01  # smaller differences are none, however regular
PROCESSES = 2

#: Where the search for the limit begins: times the trace's own rate, or requests per second of a workload.
GUESSES: Mapping[str, float] = {
    "conversation": 1.5, "chat": 4.0, "api": 50.0, "coder": 2.5, "tool_agent": 12.0, "hot_spot_ramp": 36.0,
    "thinking_burst": 80.0,
}  # fmt: skip
#: What is compared, then what explains it.
METRICS: Mapping[str, Objective] = {
    **{name: OBJECTIVES[name] for name in ("ttft_mean", "ttft_p99", "tpot_mean", "tpot_p99", "e2e_mean", "goodput")},
    "hit_fraction": Objective("hit_fraction", "hits", "%", 100, lambda s: s.hit_fraction, more=True),
    "imbalance_p50": Objective("imbalance_p50", "imbalance p50", "1", 1, lambda s: s.batch_imbalance.p50),
}


@dataclass(frozen=True, order=True)
class Cell:
    """One source at one load, seen at one information level."""

    source: str
    load: str
    level: str

    @property
    def name(self) -> str:
        """As in the saved file."""
        return f"{self.source} {self.load} {self.level}"


def cells() -> list[Cell]:
    """What a proxy sees at every load, and near the limit also what KV events and a patched engine tell."""
    seen = [*((load, Level.PROXY) for load in LOADS), ("near", Level.EVENTS), ("near", Level.PER_STEP)]
    return [Cell(source, load, level.value) for source in GUESSES for load, level in seen]


def compared(rival: Sequence[float], product: Sequence[float], more: bool) -> dict[str, Any]:
    """A rule against the product, seed by seed: spread of the ratios and a verdict.

    Args:
        rival, product: one value a seed, >= 0, paired.
        more: whether more is better.

    Returns:
        ``ratio``: None where the product has a 0. ``verdict``: ``win`` or ``loss`` if the rule is better or worse with
        every seed and the median ratio is at least 1% from 1; else ``tie``.

    Example:
        >>> compared([1.0, 2.0], [2.0, 3.0], more=False)["verdict"], compared([1.0, 3.0], [2.0, 2.0], True)["verdict"]
        ('win', 'tie')
    """
    pairs = list(zip(rival, product, strict=True))
    ratio = spread([a / b for a, b in pairs]) if all(b > 0 for _, b in pairs) else None
    signs = {(a > b) - (a < b) for a, b in pairs}
    small = ratio is not None and abs(ratio["median"] - 1) < MATERIAL
    if len(signs) > 1 or signs == {0} or small:
        return {"ratio": ratio, "verdict": "tie"}
    return {"ratio": ratio, "verdict": "win" if (signs == {1}) == more else "loss"}


def verdicts_of(
    values: Mapping[str, Mapping[str, Sequence[float]]], rivals: Sequence[str] = RIVALS, base: str = PRODUCT
) -> dict[str, dict[str, Any]]:
    """The verdict column of one cell: rule -> metric -> comparison with the base."""
    return {
        rule: {name: compared(values[rule][name], values[base][name], METRICS[name].more) for name in METRICS}
        for rule in rivals
    }


def counts_of(verdicts: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, dict[str, int]]]:
    """Rule -> metric -> how many cells are won, tied and lost."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    for rule, row in itertools.chain.from_iterable(cell.items() for cell in verdicts.values()):
        counts = found.setdefault(rule, {name: {"win": 0, "tie": 0, "loss": 0} for name in METRICS})
        for name, comparison in row.items():
            counts[name][comparison["verdict"]] += 1
    return found


def offset_of(table: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The offset rule against the plain one: verdicts by cell, and their counts."""
    plain, offset = LEAST_HARM
    verdicts = {name: verdicts_of(row["values"], (offset,), plain) for name, row in table.items()}
    return {"verdicts": verdicts, "counts": counts_of(verdicts)}


def count_lines(counts: Mapping[str, Mapping[str, Mapping[str, int]]]) -> list[str]:
    """The counts as lines of a table: wins, ties and losses against the product."""
    lines = ["| rule | " + " | ".join(metric.title for metric in METRICS.values()) + " |"]
    lines.append("|" + " --- |" * (len(METRICS) + 1))
    for rule, row in counts.items():
        lines.append(f"| `{rule}` | " + " | ".join(" / ".join(map(str, row[name].values())) for name in METRICS) + " |")
    return lines


def requests_of(source: str, rate: float, seed: int) -> list[Request]:
    """The requests of a source at a rate; the trace has one set for all seeds."""
    if source == "conversation":
        return list(open_source(str(conversation_trace()), rate_scale=rate)[0])
    return list(open_source(f"workload:{source}:requests={REQUESTS},rate_per_s={rate}", seed=seed)[0])


def plan_of(level: str, seeds: Sequence[int] = SEEDS) -> Plan:
    """All rules with random ties, as a production router breaks them, on 16 instances of Qwen2-7B on H20."""
    policies = tuple(f"{rule}:ties=random" for rule in RULES)
    return Plan(policies, tuple(seeds), roofline_cluster(16, level=Level(level)), records=False)


def measured(cell: Cell, rate: float, seeds: Sequence[int] = SEEDS) -> dict[str, dict[str, list[float]]]:
    """Rule -> metric -> one value a seed, as saved."""
    found: dict[str, dict[str, list[float]]] = {rule: {name: [] for name in METRICS} for rule in RULES}
    for run in run_all(functools.partial(requests_of, cell.source, rate), plan_of(cell.level, seeds)):
        assert run.summary.finished == run.summary.requests
        for name, metric in METRICS.items():
            value = metric.value(run.summary)
            assert value is not None
            found[run.summary.name][name].append(rounded(value))
    return found


def rounded(value: float, digits: int = 6) -> float:
    """To so many significant digits."""
    return float(f"{value:.{digits}g}")


def limits(source: str, seed: int) -> dict[str, float]:
    """Highest rate at which product and least harm keep 0.9 of the product's unloaded goodput, by bisection.

    Goodput falls with the rate up to noise; where it wavers about the limit, one of the crossings is found.
    """
    plan, guess = plan_of(Level.PROXY.value), GUESSES[source]

    def goodput(text: str, rate: float) -> float:
        run = run_one(text, prepare(requests_of(source, rate, seed)), plan, seed)
        assert run.summary.goodput_fraction is not None
        return run.summary.goodput_fraction

    unloaded = goodput(plan.policies[0], rounded(guess * LIGHT))
    found = {"unloaded_goodput": rounded(unloaded)}
    for rule, text in zip((PRODUCT, *LEAST_HARM), plan.policies, strict=False):
        low, high = guess / BRACKET, guess * BRACKET
        while goodput(text, low) < KEPT_GOODPUT * unloaded:
            low, high = low / BRACKET, low
        while goodput(text, high) >= KEPT_GOODPUT * unloaded:
            low, high = high, high * BRACKET
        for _ in range(HALVINGS):
            middle = (low * high) ** 0.5
            low, high = (middle, high) if goodput(text, middle) >= KEPT_GOODPUT * unloaded else (low, middle)
        found[rule] = rounded(low, 4)
    return found


def explained(cell: Cell, rate: float, rule: str, seed: int = 0) -> dict[str, Any]:
    """What a rule's choices look like, what they trade for what, and which group gains.

    Returns:
        Means over all decisions at the chosen instance: ``queued_tokens``, ``new_tokens``, ``batch``.
        ``harm_over_least``: sum of the marginal delay of the choices over the sum of the least. ``not_least_share`` of
        the decisions take more than the least; in these, against the least-harm choice, means of ``tokens_recomputed``
        more, of ``batch_saved`` and of ``queue_saved`` [token]. ``groups``: means of each group of requests.
    """
    rows_taken: list[tuple[float, ...]] = []
    trades: list[tuple[float, ...]] = []
    harm_taken = harm_least = 0.0

    def watch(sim: Sim, view: RouterView, chosen: int, _at: int) -> None:
        nonlocal harm_taken, harm_least
        batches = [r + w + 1 for r, w in zip(view.running, view.waiting, strict=True)]
        new = [new_prefill_tokens(SCALAR, sim.prompt, hit, 1) for hit in view.hit_tokens]
        rows = list(zip(view.queued_prefill_tokens, new, batches, strict=True))
        harms = [formulas.marginal_delay(*row) for row in rows]
        taken, best = rows[chosen], rows[harms.index(min(harms))]
        rows_taken.append(taken)
        harm_taken, harm_least = harm_taken + harms[chosen], harm_least + min(harms)
        if harms[chosen] > min(harms):
            trades.append((taken[1] - best[1], best[2] - taken[2], best[0] - taken[0]))

    requests = prepare(requests_of(cell.source, rate, seed))
    record = simulate(requests, policy(f"{rule}:ties=random"), plan_of(cell.level).cluster, seed=seed, observer=watch)
    names = ("queued_tokens", "new_tokens", "batch", "tokens_recomputed", "batch_saved", "queue_saved")
    columns = [*zip(*rows_taken, strict=True), *zip(*(trades or [(0.0,) * 3]), strict=True)]
    facts = dict(zip(names, map(statistics.fmean, columns), strict=True))
    facts |= {"harm_over_least": harm_taken / harm_least, "not_least_share": len(trades) / len(rows_taken)}
    return {**{name: rounded(value, 4) for name, value in facts.items()}, "groups": groups_of(record.sims)}


def groups_of(sims: Sequence[Sim]) -> dict[str, dict[str, float]]:
    """Group of requests -> how many, on how many instances, and their mean latencies [s]."""
    groups: dict[str, list[Sim]] = {}
    for sim in sims:
        groups.setdefault(sim.request.group or "all", []).append(sim)
    found = {}
    for group, members in groups.items():
        times = latencies(members)
        means = {f"{name}_s": rounded(float(getattr(times, name).mean()), 4) for name in ("ttft", "tpot", "e2e")}
        found[group] = {"requests": len(members), "instances": len({sim.instance for sim in members}), **means}
    return found


def filled(cell: Cell, rate: float) -> dict[str, Any]:
    """All that is saved of one cell."""
    values = measured(cell, rate)
    why = {rule: explained(cell, rate, rule) for rule in (PRODUCT, *LEAST_HARM)}
    return {"rate": rate, "values": values, "verdicts": verdicts_of(values), "explained": why}


def capacity_of(rows: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Limits of one source by seed, and against the product."""
    found: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]}
    against = {rule: compared(found[rule], found[PRODUCT], more=True) for rule in LEAST_HARM}
    return {**found, "against_product": against}


def lines_of(name: str, row: Mapping[str, Any]) -> Iterator[str]:
    """The table rows of a cell: ratio over the product, its spread, and + = - for win, tie, loss."""
    marks = {"win": "+", "tie": "=", "loss": "-"}
    yield f"{name} (rate {row['rate']:g})"
    for rule, comparisons in row["verdicts"].items():
        ratios = [shown(found["ratio"], 2) if found["ratio"] else "no ratio" for found in comparisons.values()]
        signs = [marks[found["verdict"]] for found in comparisons.values()]
        yield f"  {rule:22}" + "".join(f"{ratio + sign:>21}" for ratio, sign in zip(ratios, signs, strict=True))


def run() -> None:
    """Simulate, print, save."""
    print("least harm against the product (simulated, not measured): ratio over lmetric, median [min, max] of 5 seeds")
    with ProcessPoolExecutor(PROCESSES) as pool:
        work = [(source, seed) for source in GUESSES for seed in SEEDS]
        rows = dict(zip(work, pool.map(limits, *zip(*work, strict=True)), strict=True))
        capacity = {source: capacity_of([rows[source, seed] for seed in SEEDS]) for source in GUESSES}
        for source, found in capacity.items():
            ratios = {rule: shown(row["ratio"], 2) for rule, row in found["against_product"].items()}
            print(f"  {source:16} limit {shown(spread(found[PRODUCT]), 2)}, over it {ratios}", flush=True)
        rates = [rounded(LOADS[c.load] * statistics.median(capacity[c.source][PRODUCT]), 4) for c in cells()]
        table = dict(zip((cell.name for cell in cells()), pool.map(filled, cells(), rates), strict=True))
    print(" " * 24 + "".join(f"{METRICS[name].title:>21}" for name in METRICS))
    for name, row in table.items():
        print("\n".join(lines_of(name, row)))
    counts = counts_of({name: row["verdicts"] for name, row in table.items()})
    print("\n".join(count_lines(counts)))
    print("the offset rule against the plain one:", count_lines(offset_of(table)["counts"])[-1])
    result = {
        "kind": "simulated; no number here is measured on an engine",
        "engine": "16 instances of Qwen2-7B on H20, roofline; open loop; ties=random",
        "requests": f"12,031 of the conversation trace, {REQUESTS:,} of each workload",
        "seeds": f"{len(SEEDS)}; they draw a workload and its ties, but only the ties of the trace",
        "loads": LOADS,
        "rate_unit": "times the trace's own rate for conversation, else requests per second",
        "verdict": "against lmetric: better or worse with every seed and by 1% at the median, else a tie",
        "capacity": capacity,
        "cells": table,
        "counts": counts,
        "offset_against_plain": offset_of(table),
        "machine": machine(),
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "command": "make bench BENCH_ARGS=least_harm",
    }
    print(f"saved {save('least_harm', result).name}")
