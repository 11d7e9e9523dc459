"""What the evaluation asks, each question as the list of runs that answer it. Questions share runs.

The paper's questions on this test bed, and what those who run routers ask before they change one: defaults and tuned
settings, three loads, tails, cache hits, how even instances are, stale and partial state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

from benchmarks.evaluation.rows import Case
from benchmarks.evaluation.scene import (
    LOADS,
    MORE_SEEDS,
    REQUESTS,
    SEEDS,
    TRACE,
    WORKLOADS,
    rate_of,
)
from benchmarks.evaluation.tuning import LINE, SINGLE, best_of
from benchmarks.mitigation import hot_sources
from replay.tune import axes_of, tunable
from scheduler.policies.catalogue import CATALOGUE

PRODUCT = "lmetric"
LEAST_HARM = "marginal_delay"
#: The rules of the paper's headline.
HEADLINE = (PRODUCT, "vllm_v1", "bailian")
#: Named deviations of the product, which are no rivals; they stand in the question on indicators.
VARIANTS = ("lmetric_paper", "lmetric_no_queue", "lmetric_no_self", "lmetric_tokens")
#: The product's factors one by one, as the question on indicators compares them.
INDICATORS = (PRODUCT, *VARIANTS, "least_p_token", "join_shortest_queue")
MITIGATIONS = ("none", "filter", "replicate", "offset", "probe_cold", "auto")
#: Rules whose answer to partial and stale state is compared.
STALE_RULES = (PRODUCT, LEAST_HARM, "dynamo", "join_shortest_queue", "power_of_two")
STALE_WORKLOADS = ("chat", "tool_agent", TRACE)
#: How wrong the cost model of a rule that asks one is: factors on prefill and on decode.
WRONG = ((1.0, 1.0), (0.25, 1.0), (0.5, 1.0), (2.0, 1.0), (4.0, 1.0), (1.0, 0.25), (1.0, 0.5), (1.0, 2.0), (1.0, 4.0))
#: The threshold of each rule that filters, which is swept with the rest at its defaults.
FILTERS = MappingProxyType(
    {
        "aibrix_prefix_cache": "imbalance",
        "sglang_cache_aware": "abs_threshold",
        "dynamo_two_tier": "abs_threshold",
        "llm_d_affinity": "affinity",
    }
)


def runs(workload: str, load: str, policies: Sequence[str], seeds: Sequence[int], **more: object) -> Iterator[Case]:
    """Every policy with every seed on a workload of the scene."""
    for policy in policies:
        for seed in seeds:
            case = {"workload": workload, "rate": rate_of(workload, load), "requests": REQUESTS, **more}
            yield Case(policy=policy, seed=seed, **case)  # type: ignore[arg-type]


def rivals() -> tuple[str, ...]:
    """Every rule of the catalogue but the product's variants, the product first."""
    others = (name for name in CATALOGUE if name not in {PRODUCT, *VARIANTS})
    return (PRODUCT, *others)


def settings(workload: str, load: str, rule: str) -> dict[str, str]:
    """The settings that a rule is tested at: ``default``, ``tuned``, and for the line the best by single metrics."""
    found = {"default": rule}
    if rule in tunable():
        found["tuned"] = best_of(workload, load, rule)
        if rule == LINE:
            found |= {f"tuned for {name}": best_of(workload, load, rule, name) for name in SINGLE}
    return found


def everyone() -> Iterator[Case]:
    """End to end: every rule, default and tuned, everywhere; ten seeds for what the headline compares."""
    for workload in WORKLOADS:
        for load in LOADS:
            for rule in rivals():
                seeds = MORE_SEEDS if rule in {PRODUCT, LEAST_HARM, LINE} and workload != TRACE else SEEDS
                yield from runs(workload, load, tuple(set(settings(workload, load, rule).values())), seeds)


def fixes() -> Iterator[Case]:
    """What may help where the product loses: the offset of decode, and the detector with its mitigations."""
    for workload in WORKLOADS:
        seeds = SEEDS if workload == TRACE else MORE_SEEDS
        for load in LOADS:
            yield from runs(workload, load, ("marginal_delay_offset",), seeds)
            yield from runs(workload, load, (PRODUCT,), seeds, mitigation="auto")


def headline() -> Iterator[Case]:
    """The paper's headline: the product, vLLM v1's balancing and the production rule at half load."""
    for workload in WORKLOADS:
        yield from runs(workload, "half", HEADLINE, SEEDS)


def line_settings() -> list[str]:
    """Every weight of the line, in both forms."""
    axes = axes_of(LINE)
    return [f"{LINE}:weight={weight},form={form}" for form in axes["form"] for weight in axes["weight"]]


def weights() -> Iterator[Case]:
    """The weight of the line, swept at half load and near saturation; of the trace every seed is another window."""
    for workload in WORKLOADS:
        for load in ("half", "near"):
            yield from runs(workload, load, (PRODUCT, *line_settings()), SEEDS)


def threshold_settings(rule: str) -> list[str]:
    """Every threshold of a rule that filters."""
    knob = FILTERS[rule]
    return [f"{rule}:{knob}={value}" for value in axes_of(rule, [knob])[knob]]


def thresholds() -> Iterator[Case]:
    """The thresholds of rules that filter, near saturation."""
    for workload in WORKLOADS:
        settings_of_all = [text for rule in FILTERS for text in threshold_settings(rule)]
        yield from runs(workload, "near", (PRODUCT, *settings_of_all), SEEDS)


def cost_models() -> Iterator[Case]:
    """A rule that simulates, with its cost model right and wrong."""
    policies = [f"simulated_ttft:prefill_scale={prefill},decode_scale={decode}" for prefill, decode in WRONG]
    for workload in WORKLOADS:
        yield from runs(workload, "near", (PRODUCT, *policies), SEEDS)


def indicators() -> Iterator[Case]:
    """Which indicators to multiply: with and without queue, itself, floor; batch size or tokens; one factor alone."""
    for workload in WORKLOADS:
        for load in ("half", "near"):
            yield from runs(workload, load, INDICATORS, SEEDS)


def hot_cases(seed_from: int = 20) -> Iterator[Case]:
    """Hot spots and bursts of long replies, with each mitigation; seeds are those of ``benchmarks/mitigation.py``."""
    for text, instances in hot_sources().values():
        for seed in range(seed_from, seed_from + 5):
            shared = {"workload": text, "rate": 0.0, "seed": seed, "requests": 12_000, "instances": instances}
            for mitigation in MITIGATIONS:
                yield Case(policy=PRODUCT, mitigation=mitigation, **shared)  # type: ignore[arg-type]
            for rule in ("join_shortest_queue", "dynamo", LEAST_HARM, "marginal_delay_offset"):
                yield Case(policy=rule, **shared)  # type: ignore[arg-type]


def partial_state() -> Iterator[Case]:
    """What the router sees, how late, and how many routers share the cluster."""
    for workload in STALE_WORKLOADS:
        for level in ("proxy", "events", "per_step"):
            yield from runs(workload, "near", STALE_RULES, SEEDS, level=level)
        for delay_s in (0.05, 0.2, 1.0):
            yield from runs(workload, "near", STALE_RULES, SEEDS, level="per_step", delay_s=delay_s)
        for routers in (2, 4, 8):
            yield from runs(workload, "near", STALE_RULES, SEEDS, routers=routers, sync_s=0.5)


#: Every question by name.
QUESTIONS: Mapping[str, Callable[[], Iterator[Case]]] = MappingProxyType(
    {
        "headline": headline,
        "weights": weights,
        "thresholds": thresholds,
        "cost_models": cost_models,
        "indicators": indicators,
        "everyone": everyone,
        "fixes": fixes,
        "hot_spots": hot_cases,
        "partial_state": partial_state,
    }
)
