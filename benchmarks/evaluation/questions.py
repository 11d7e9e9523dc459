"""What the evaluation asks, each question as the list of runs that answer it. Questions share runs.

The paper's questions on this test bed, and what those who run routers ask before they change one: defaults and tuned
settings, three loads, tails, cache hits, how even instances are, stale and partial state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

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
from replay.sweep_axes import axes_of, tunable
from scheduler.policies.catalogue import CATALOGUE

PRODUCT = "lmetric"
LEAST_HARM = "marginal_delay"
#: The rules of the paper's headline.
HEADLINE = (PRODUCT, "vllm_v1", "bailian")
#: The product's own relatives, which no paper before this had, and rules that nobody would run but all are measured by.
OWN = (LEAST_HARM, "marginal_delay_offset")
REFERENCES = ("join_shortest_queue", "least_p_token", "most_hit", "power_of_two", "round_robin", "random")
#: Rules that read what a proxy does not know well: what replies hold in the cache, how full it is.
SEEING = ("bailian", "bailian_argmax", "llm_d_default", "simulated_ttft", "polyserve", "vllm_v1_2026", "lmetric_tokens")
#: Workloads with sessions, whose turns wait for the reply before them.
SESSIONS = ("chat", "coder", "tool_agent")
#: Named deviations of the product, which are no rivals; they stand in the question on indicators.
VARIANTS = ("lmetric_paper", "lmetric_no_queue", "lmetric_no_self", "lmetric_tokens")
#: The product's factors one by one, as the question on indicators compares them.
INDICATORS = (PRODUCT, *VARIANTS, "least_p_token", "join_shortest_queue")
MITIGATIONS = ("none", "filter", "replicate", "offset", "probe_cold", "auto")
#: Seeds and length of the hot workloads, which are those of ``benchmarks/mitigation.py``, and rules beside the product.
HOT_SEEDS = range(20, 25)
HOT_REQUESTS = 12_000
HOT_RULES = ("join_shortest_queue", "dynamo", LEAST_HARM, "marginal_delay_offset")
#: Rules whose answer to partial and stale state is compared.
STALE_RULES = (PRODUCT, LEAST_HARM, "dynamo", "join_shortest_queue", "power_of_two")
STALE_WORKLOADS = ("chat", "tool_agent", TRACE)
#: What routers see: of engines, of late engines, and of each other [s].
VIEWS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "proxy": {},
        "events": {"level": "events"},
        "every step": {"level": "per_step"},
        "50 ms late": {"level": "per_step", "delay_s": 0.05},
        "200 ms late": {"level": "per_step", "delay_s": 0.2},
        "1 s late": {"level": "per_step", "delay_s": 1.0},
        "2 routers": {"routers": 2, "sync_s": 0.5},
        "4 routers": {"routers": 4, "sync_s": 0.5},
        "8 routers": {"routers": 8, "sync_s": 0.5},
    }
)
#: How wrong the cost model of a rule that asks one is: factors on prefill and on decode.
WRONG = ((1.0, 1.0), (0.25, 1.0), (0.5, 1.0), (2.0, 1.0), (4.0, 1.0), (1.0, 0.25), (1.0, 0.5), (1.0, 2.0), (1.0, 4.0))
#: The threshold of each rule that filters, which is swept with the rest at its defaults.
FILTERS = MappingProxyType(
    {
        "aibrix_prefix_cache": "imbalance",
        "sglang_cache_aware": "abs_threshold",
        "dynamo_two_tier": "abs_threshold",
        "llm_d_affinity": "max_penalty_ms",
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


def hot_case(source: str, policy: str, seed: int, mitigation: str = "none") -> Case:
    """A run on one of the hot workloads of ``benchmarks/mitigation.py``."""
    text, instances = hot_sources()[source]
    return Case(text, 0.0, seed, policy, HOT_REQUESTS, mitigation=mitigation, instances=instances)


def hot_cases() -> Iterator[Case]:
    """Hot spots and bursts of long replies, with each mitigation."""
    for source in hot_sources():
        for seed in HOT_SEEDS:
            for mitigation in MITIGATIONS:
                yield hot_case(source, PRODUCT, seed, mitigation)
            for rule in HOT_RULES:
                yield hot_case(source, rule, seed)


def partial_state() -> Iterator[Case]:
    """What the router sees, how late, and how many routers share the cluster."""
    for workload in STALE_WORKLOADS:
        for view in VIEWS.values():
            yield from runs(workload, "near", STALE_RULES, SEEDS, **view)


def closed_loop() -> Iterator[Case]:
    """The headline with turns that wait for replies: then a slow router is sent less."""
    for workload in SESSIONS:
        policies = (*HEADLINE, best_of(workload, "half", LINE))
        yield from runs(workload, "half", policies, SEEDS)
        yield from runs(workload, "half", policies, SEEDS, closed_loop=True)


def better_views() -> Iterator[Case]:
    """Rules that read what a proxy does not know well, told of every step of the engines."""
    for workload in WORKLOADS:
        policies = (PRODUCT, *SEEING, best_of(workload, "near", LINE))
        yield from runs(workload, "near", policies, SEEDS, level="per_step")
        yield from runs(workload, "near", policies, SEEDS)


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
        "closed_loop": closed_loop,
        "better_views": better_views,
    }
)
