"""What the evaluation found, in sentences that are computed from its rows: the statements of its claims.

``python -m benchmarks.evaluation.facts`` prints them; a test holds each against the registry of claims.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from benchmarks.evaluation import facts_of_situations, facts_of_sweeps, standing, sweeps
from benchmarks.evaluation.headline import LATENCIES, compare, in_both_loops, mean, rival
from benchmarks.evaluation.questions import HEADLINE, OWN, PRODUCT
from benchmarks.evaluation.scene import WORKLOADS
from benchmarks.evaluation.tables import (
    REMEDIES,
    against_line,
    against_line_everywhere,
    cells,
    losses,
    named,
    short,
)  # fmt: skip
from benchmarks.evaluation.tuning import SINGLE
from benchmarks.evaluation.words import between, counted, percent, told


def line() -> str:
    """The product against the line tuned for each metric."""
    return f"In simulation, against a line that is tuned for one metric at a time, the product has {_against('each')}"


def line_once() -> str:
    """The product against the line that was tuned for both latencies."""
    return (
        "In simulation, against a line that is tuned once for a workload and load, for the geometric mean of TTFT "
        f"and TPOT, the product has {_against('once')}"
    )


def _against(tuned: str) -> str:
    found = {(*cell, metric): against_line(*cell, metric, tuned=tuned) for cell in cells() for metric in SINGLE}
    worst, best = (choose(found, key=lambda key: found[key].ratio) for choose in (max, min))
    return (
        f"{told(found.values())} in mean and 99th percentile of TTFT and TPOT, on five workloads at three loads. Its "
        f"greatest loss is {percent(found[worst].ratio)} ({named(*worst)}), its greatest win "
        f"{percent(found[best].ratio)} ({named(*best)})."
    )


def remedies() -> str:
    """What helps where the product loses to the tuned line, and what that does elsewhere."""
    lost = list(losses())
    parts = []
    for (policy, mitigation), name in zip(REMEDIES, ("marginal_delay", "marginal_delay_offset", "auto"), strict=True):
        there = [against_line(*cell, policy, mitigation) for cell in lost]
        everywhere = told(against_line_everywhere(policy, mitigation))
        wins, ties, _ = counted(there)
        parts.append(f"{name} turns {wins} into wins and {ties} into ties, and has {everywhere} over all 60")
    return (
        f"In simulation, of the {len(lost)} losses of the product to the line tuned for a metric, {'; '.join(parts)}."
    )


def headline() -> str:
    """The product against the paper's two rivals."""
    parts = []
    for rule in HEADLINE[1:]:
        spans = {metric: between(compare(w, "half", rule, metric) for w in WORKLOADS) for metric in LATENCIES}
        good = [mean(rival(workload, "half", rule), "goodput") for workload in WORKLOADS]
        parts.append(
            f"with the product in place of {rule} mean TTFT changes by {spans['ttft_mean']} and mean TPOT by "
            f"{spans['tpot_mean']}, {rule} having a goodput of {min(good):.0f} to {max(good):.0f}%"
        )
    return f"In simulation, at half of the product's limit, on five workloads, {'; '.join(parts)}."


def loops() -> str:
    """What is left of the headline when turns wait for replies."""
    parts = []
    for rule in HEADLINE[1:]:
        for metric in LATENCIES:
            found = [(one, two) for name, _, what, one, two in in_both_loops() if (name, what) == (rule, metric)]
            one, two = (between(column) for column in zip(*found, strict=True))
            parts.append(f"{short(metric)} by {two} (not {one}) against {rule}")
    return (
        "In simulation, at half of the product's limit, on the three workloads with sessions, if a turn waits for "
        f"the reply before it instead of coming when it was recorded, the product changes {', '.join(parts)}."
    )


def everyone() -> str:
    """Where the product stands among published rules, and its own relatives beside it."""
    parts = []
    for kind in ("default", "tuned"):
        found = {rule: standing.everywhere(rule, kind) for rule in standing.published()}
        better = [rule for rule, each in found.items() if standing.overall(each) < 1 - standing.EQUAL]
        beaten = sum(any(each[place].verdict == "win" for each in found.values()) for place in range(15))
        named_rules = f" ({', '.join(sorted(better))})" if better else ""
        parts.append(
            f"{kind} {len(better)} of {len(found)}{named_rules}, and in {beaten} cells some published rule wins"
        )
    own = [f"{rule} by {percent(standing.overall(standing.everywhere(rule, 'default')))}" for rule in OWN]
    return (
        "In simulation, over five workloads at three loads, by the geometric mean of TTFT and TPOT, published rules "
        f"that are better than the product: by {'; '.join(parts)}. Of this project's rules, by default, "
        f"{' and '.join(own)}."
    )


def answer() -> str:
    """The page in a few sentences."""
    each, once = (counted(against_line_everywhere(PRODUCT, tuned=tuned)) for tuned in ("each", "once"))
    harm = counted(against_line_everywhere("marginal_delay", tuned="once"))
    published = {rule: standing.everywhere(rule, "tuned") for rule in standing.published()}
    better = sorted(rule for rule, found in published.items() if standing.overall(found) < 1 - standing.EQUAL)
    own = [rule for rule in OWN if standing.overall(standing.everywhere(rule, "default")) < 1 - standing.EQUAL]
    table = sweeps.one_weight()
    fixed, worst = next((text, ratio) for text, ratio, _ in table if text != PRODUCT)
    product = next(ratio for text, ratio, _ in table if text == PRODUCT)
    return (
        "The product has nothing to tune. Against a weighted sum that was tuned for the "
        f"workload and the load it wins {once[0]} of 60 comparisons of TTFT and TPOT, mean and tail, ties {once[1]} "
        f"and loses {once[2]}; if the sum is tuned for the very metric that is compared, {each[0]}, {each[1]} and "
        f"{each[2]}. Of {len(published)} published rules, tuned for each workload and load, {len(better)} are better "
        f"over all cells together ({', '.join(better)}). One fixed sum ({fixed.partition(':')[2]}) is nowhere more "
        f"than {percent(worst)} off the best one, the product up to {percent(product)}. Better than the product, "
        f"untuned, {'are' if len(own) > 1 else 'is'} {' and '.join(own) or 'none'} of this project's rules; "
        f"marginal_delay has {harm[0]} wins, {harm[1]} ties and {harm[2]} losses against the sum tuned for workload "
        "and load."
    )


#: The statement of every claim, by the claim's name.
STATEMENTS: Mapping[str, Callable[[], str]] = MappingProxyType(
    {
        "product_against_tuned_line": line,
        "product_against_line_tuned_once": line_once,
        "remedies_against_tuned_line": remedies,
        "headline_on_this_test_bed": headline,
        "headline_in_closed_loop": loops,
        "best_weight_moves": facts_of_sweeps.best_weight,
        "static_weights_lose": facts_of_sweeps.static_weights,
        "best_weight_moves_over_time": facts_of_sweeps.over_time,
        "thresholds_move": facts_of_sweeps.thresholds,
        "wrong_cost_models": facts_of_sweeps.cost_models,
        "other_indicators": facts_of_sweeps.indicators,
        "product_among_all_rules": everyone,
        "mitigation_on_hot_workloads": facts_of_situations.hot_spots,
        "partial_state_and_routers": facts_of_situations.partial_state,
        "rules_told_of_every_step": facts_of_situations.told_more,
    }
)


if __name__ == "__main__":
    for name, statement in STATEMENTS.items():
        print(f"{name}: {statement()}")
