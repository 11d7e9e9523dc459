"""Seeded faults: each small slip in a rule is caught by a hand-computed case or by a law."""

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from scheduler.indicators import new_prefill_tokens, p_token
from scheduler.ops import Over
from scheduler.policies import (
    aibrix,
    bailian,
    common,
    dualmap,
    dynamo,
    llm_d,
    mooncake,
    polyserve,
    preble,
    product,
    ray_prefix,
    rotation,
    sglang,
    simulated_ttft,
    smetric,
)
from scheduler.policies.catalogue import CATALOGUE, policy
from scheduler.policies.rule import Pick, Policy, Rule
from scheduler.state import ClusterState, Request
from scheduler.testing import laws
from scheduler.testing.golden import check
from scheduler.testing.golden_cases import GOLDEN


def caught_by_cases(rule: Rule) -> list[str]:
    """Names of the cases of the rule that its altered form fails."""
    failed = []
    for case in GOLDEN:
        named = policy(case.policy)
        if named.rule.name != rule.name:
            continue
        values = dict(named.values)
        if rule.pick is not CATALOGUE[rule.name].pick:
            values["ties"] = rule.pick.value
        try:
            check(case, Policy(rule, values))
        except AssertionError:
            failed.append(case.name)
    return failed


def altered(name: str, **changes: Any) -> Rule:
    return dataclasses.replace(CATALOGUE[name], **changes)


def key_of(name: str, key: Callable[..., Any]) -> Rule:
    return altered(name, key=key)


def p0(ops: Any, x: Any) -> Any:
    return p_token(x.queued_prefill_tokens, new_prefill_tokens(ops, x.prompt_tokens, x.hit_tokens, 0))


def flipped(name: str) -> Rule:
    """The rule with the sign of its key turned round."""
    original = CATALOGUE[name].key

    def key(*arguments: Any) -> Any:
        value = original(*arguments)
        return tuple(-part for part in value) if isinstance(value, tuple) else -value

    return key_of(name, key)


def unfiltered(name: str) -> Rule:
    return altered(name, eligible=None)


def with_knobs(name: str, **settled: Any) -> Rule:
    """The rule blind to some of its knobs."""
    original = CATALOGUE[name]

    def blind(part: Callable[..., Any] | None) -> Any:
        return part and (lambda *given: part(*given[:-1], SimpleNamespace(**(vars(given[-1]) | settled))))

    return altered(
        name, key=blind(original.key), aggregates=blind(original.aggregates), eligible=blind(original.eligible)
    )


def dynamo_with_credit(decayed: Callable[[Any, Any], Any], floor: bool = True) -> Rule:
    """Dynamo's cost with another credit: ``decayed(credit, share)``, share = decay (q - min q)/L."""

    def key(_o: Any, x: Any, least: Any, k: Any) -> Any:
        share = k.overlap_credit_decay * (x.queued_prefill_tokens - (least or 0)) / x.prompt_tokens
        prefill = x.queued_prefill_tokens + x.prompt_tokens - decayed(k.overlap_credit * x.hit_tokens, share)
        blocks = (max(0, prefill) if floor else prefill) / x.block_tokens * k.prefill_load_scale
        return blocks + x.active_blocks + x.added_blocks + k.decode_request_weight * (x.running + x.waiting)

    return key_of("dynamo", key)


def aibrix_with(qualifies: Callable[[Any, Any, Any, Any], Any], sign: int = 1) -> Rule:
    """AIBrix' key with another condition ``qualifies(x, distance, k^2 sum d^2, size)`` and sign of the count."""

    def key(_o: Any, x: Any, a: Any, k: Any) -> Any:
        _, _, size, total, squares = a
        count = x.running + x.waiting
        good = qualifies(x, size * count - total, k.sigmas**2 * squares, size)
        return int(not good), -x.hit_tokens if good else 0, sign * count

    return key_of("aibrix_prefix_cache", key)


def no_attention(x: Any) -> Any:
    return dataclasses.replace(x, attention_s_per_pair=0)


def preble_with_missed(missed: Callable[[Any, Any], float]) -> Rule:
    return key_of("preble", lambda o, x, a, k: preble.cost(o, x, a, k) - x.recalled["missed_s"] + missed(x, k))


FAULTS: dict[str, Rule] = {
    "product: floor 0": key_of("lmetric", product.product_without_floor),
    "product: queue dropped": key_of("lmetric", product.product_without_queue),
    "product: +1 dropped": key_of("lmetric", product.product_without_self),
    "product: batch one too many": key_of("lmetric", lambda _o, x, _a, _k: x.p_token * (x.running + 2)),
    "product: sum for product": key_of("lmetric", lambda _o, x, _a, _k: x.p_token + x.batch_size),
    "paper: floor kept": key_of("lmetric_paper", product.product),
    "port: queue kept": key_of("lmetric_no_queue", product.product),
    "port: +1 kept": key_of("lmetric_no_self", product.product),
    "shortest queue: waiting dropped": key_of("join_shortest_queue", lambda _o, x, _a, _k: x.running + 1),
    "least harm: queue times batch": key_of("marginal_delay", product.product),
    "offset: not times batch": key_of(
        "marginal_delay_offset",
        lambda _o, x, _a, k: x.queued_prefill_tokens + x.new_prefill_tokens * x.batch_size + (k.kappa or 10),
    ),
    "line: weights swapped": key_of(
        "linear", lambda o, x, a, k: CATALOGUE["linear"].key(o, x, a, type(k)(weight=0.9 - k.weight, form=k.form))
    ),
    "vllm: batch for running": key_of("vllm_v1", lambda _o, x, _a, _k: 4 * x.waiting + x.running + x.waiting),
    "blitz: running for batch": key_of("blitz_jsq_weight", lambda _o, x, _a, _k: 4 * x.waiting + x.running),
    "vllm 2026: pressure below half": key_of(
        "vllm_v1_2026",
        lambda _o, x, _a, _k: (
            x.waiting + x.running + 6 * x.waiting * (x.kv_used_fraction - 0.5),
            x.recalled["turn"],
        ),
    ),
    "dynamo: pending prefill dropped": key_of(
        "dynamo", lambda o, x, _a, _k: p0(o, x) / x.block_tokens - x.queued_prefill_tokens / 16 + x.active_blocks
    ),
    "dynamo: added blocks dropped": key_of("dynamo", lambda o, x, a, k: dynamo.cost(o, x, a, k) - x.added_blocks),
    "two tier: no load tier": altered(
        "dynamo_two_tier", aggregates=lambda _o, v, _k: (0, 0, v.most(lambda x: x.hit_tokens))
    ),
    "two tier: no cache tier": unfiltered("dynamo_two_tier"),
    "two tier: half suffices": altered(
        "dynamo_two_tier",
        eligible=lambda o, x, a, k: o.or_(
            o.not_(a[2] >= k.cache_threshold * x.prompt_tokens),
            dynamo.holds_best_hit_or_no_cache_tier(o, x, a, k) if a[2] > 80 else o.eq(x.hit_tokens, a[2]),
        ),
    ),
    "llm-d: queue score 0 when all are equal": key_of(
        "llm_d_default", lambda o, x, a, k: llm_d.negative_score(o, x, a, k) + (2 if a[1] == 0 else 0)
    ),
    "llm-d: KV used for free": key_of(
        "llm_d_default",
        lambda o, x, a, k: llm_d.negative_score(o, x, a, k) + 2 * (1 - x.kv_used_fraction) - 2 * x.kv_used_fraction,
    ),
    "affinity: never breaks": altered("llm_d_affinity", aggregates=lambda _o, _v, _k: False),
    "affinity: always breaks": unfiltered("llm_d_affinity"),
    "affinity: strictly above": altered(
        "llm_d_affinity", eligible=lambda o, x, a, k: o.or_(a, x.hit_tokens > k.affinity * x.prompt_tokens)
    ),
    "sglang: gap of 64 suffices": altered(
        "sglang_cache_aware",
        eligible=lambda o, x, a, k: o.or_(
            a[1] - a[0] >= k.abs_threshold, sglang.holds_best_match_or_load_decides(o, x, a, k)
        ),
    ),
    "sglang: either threshold suffices": altered(
        "sglang_cache_aware",
        eligible=lambda o, x, a, k: o.or_(
            a[1] - a[0] > k.abs_threshold, sglang.holds_best_match_or_load_decides(o, x, a, k)
        ),
    ),
    "sglang: match at the threshold suffices": altered(
        "sglang_cache_aware",
        eligible=lambda o, x, a, k: o.and_(
            sglang.holds_best_match_or_load_decides(o, x, a, k),
            o.or_(a[2] != k.cache_threshold * x.prompt_tokens, x.hit_tokens == a[2]),
        ),
    ),
    "aibrix: no imbalance gate": unfiltered("aibrix_prefix_cache"),
    "aibrix: eight apart is uneven": altered(
        "aibrix_prefix_cache",
        eligible=lambda o, x, a, k: aibrix.at_minimum_if_uneven(o, x, a, type(k)(imbalance=k.imbalance - 1)),
    ),
    "aibrix: no sigma": key_of("aibrix_prefix_cache", lambda _o, x, _a, _k: (-x.hit_tokens, x.running)),
    "load-aware: mean not raised to one": key_of(
        "load_aware",
        lambda _o, x, a, _k: (a[1] * x.running - a[0]) / a[0] - x.hit_tokens / x.prompt_tokens,
    ),
    "conductor: prefix time dropped": key_of(
        "aibrix_conductor", lambda _o, x, _a, _k: x.running * 200 + x.recalled["prefill_ms"]
    ),
    "mooncake: queue dropped": key_of(
        "mooncake_min_ttft",
        lambda o, x, a, k: mooncake.ttft(o, x, a, k) - x.prefill_s_per_token * x.queued_prefill_tokens,
    ),
    "preble: always explores": unfiltered("preble"),
    "preble: half suffices": altered(
        "preble",
        eligible=lambda o, x, a, k: o.and_(
            preble.holds_longest_or_explores(o, x, a, k), o.or_(a * 2 != x.prompt_tokens, x.hit_tokens == a)
        ),
    ),
    "bailian: hit turned round": key_of("bailian_argmax", bailian.weight),
    "dynamo: decay sign": dynamo_with_credit(lambda credit, share: credit / (1 - share if share != 1 else 1e-9)),
    "dynamo: decay multiplied": dynamo_with_credit(lambda credit, share: credit * (1 + share)),
    "dynamo: credit knob ignored": with_knobs("dynamo", overlap_credit=1.0),
    "dynamo: scale ignored": with_knobs("dynamo", prefill_load_scale=1.0),
    "dynamo: no floor": dynamo_with_credit(lambda credit, share: credit / (1 + share), floor=False),
    "dynamo: weight on running only": key_of(
        "dynamo", lambda o, x, a, k: dynamo.cost(o, x, a, k) - k.decode_request_weight * x.waiting
    ),
    "two tier: gap of 32 suffices": altered(
        "dynamo_two_tier",
        eligible=lambda o, x, a, k: o.or_(
            a[1] - a[0] == k.abs_threshold, dynamo.holds_best_hit_or_no_cache_tier(o, x, a, k)
        ),
    ),
    "two tier: match of the whole prompt": altered(
        "dynamo_two_tier",
        eligible=lambda o, x, a, k: common.holds_longest_or_load_decides(o, x, a, x.prompt_tokens, k),
    ),
    "llm-d: match of the whole prompt": key_of(
        "llm_d_default",
        lambda o, x, a, k: (
            llm_d.negative_score(o, x, a, k)
            + k.prefix_weight * x.hit_tokens * (1 / x.recalled["full_block_tokens"] - 1 / x.prompt_tokens)
        ),
    ),
    "affinity: match of the whole prompt": altered(
        "llm_d_affinity", eligible=lambda o, x, a, k: o.or_(a, x.hit_tokens >= k.affinity * x.prompt_tokens)
    ),
    "affinity: token load ends at 4 Ki": key_of("llm_d_affinity", lambda o, x, _a, _k: min(p0(o, x), 4194)),
    "affinity: own tokens dropped": key_of("llm_d_affinity", lambda _o, x, _a, _k: min(x.queued_prefill_tokens, 2**22)),
    "affinity: no end of token load": key_of("llm_d_affinity", lambda o, x, _a, _k: p0(o, x)),
    "affinity: penalty 0 breaks": with_knobs("llm_d_affinity", max_penalty_ms=1e-9),
    "affinity: exactly the penalty breaks": with_knobs("llm_d_affinity", max_penalty_ms=18_000 - 1e-6),
    "aibrix: population sigma": aibrix_with(lambda x, d, s, n: x.hit_tokens > 0 and (d <= 0 or d * d * n <= s)),
    "aibrix: strictly within sigma": aibrix_with(
        lambda x, d, s, n: x.hit_tokens > 0 and (d <= 0 or d * d * (n - 1) < s)
    ),
    "aibrix: no hit suffices": aibrix_with(lambda _x, d, s, n: d <= 0 or d * d * (n - 1) <= s),
    "aibrix: most requests among equals": aibrix_with(
        lambda x, d, s, n: x.hit_tokens > 0 and (d <= 0 or d * d * (n - 1) <= s), sign=-1
    ),
    "preble: no parabola": preble_with_missed(
        lambda x, _k: 0.022 / 0.9 if x.prompt_tokens == 300 else x.recalled["missed_s"]
    ),
    "preble: no attention": preble_with_missed(
        lambda x, _k: (
            (0.10842571 * x.prompt_tokens + 4.2098) / 900 if x.prompt_tokens == 4096 else x.recalled["missed_s"]
        )
    ),
    "preble: rate not times tokens": preble_with_missed(lambda x, k: k.prefill_s_per_token or x.recalled["missed_s"]),
    "preble: decode without output tokens": with_knobs("preble", output_tokens=1),
    "mooncake: fetches at the threshold": with_knobs("mooncake_min_ttft", threshold=1.999),
    "mooncake: no floor": key_of(
        "mooncake_min_ttft",
        lambda o, x, a, k: mooncake.ttft(o, dataclasses.replace(x, p_token=p0(o, x)), a, k),
    ),
    "bailian: a range is at least 0.1": key_of(
        "bailian_argmax",
        lambda o, x, a, k: bailian.negative_weight(o, x, a, k) * (0.1 if 0 < a[0][1] < 0.1 else 1),
    ),
    "line: another weight by default": with_knobs("linear", weight=0.55),
    "simulated: steps not whole": key_of(
        "simulated_ttft",
        lambda o, x, a, k: (
            simulated_ttft.ttft(o, x, a, k)
            - (simulated_ttft.predicted(o, x, k).steps - x.p_token / (k.budget_tokens - x.running)) * x.base_s
        ),
    ),
    "simulated: decodes take no token": key_of(
        "simulated_ttft",
        lambda o, x, a, k: simulated_ttft.ttft(
            o, x, a, SimpleNamespace(**vars(k) | {"budget_tokens": k.budget_tokens + x.running})
        ),
    ),
    "simulated: queue dropped": key_of(
        "simulated_ttft", lambda o, x, a, k: simulated_ttft.ttft(o, dataclasses.replace(x, p_token=1), a, k)
    ),
    "simulated: attention dropped": key_of(
        "simulated_ttft", lambda o, x, a, k: simulated_ttft.ttft(o, no_attention(x), a, k)
    ),
    "simulated: KV does not grow": key_of(
        "simulated_ttft",
        lambda o, x, a, k: simulated_ttft.ttft(o, x, a, k) - (3e-6 if x.running and k.budget_tokens == 134 else 0),
    ),
    "simulated: queued tokens are read": key_of(
        "simulated_ttft",
        lambda o, x, a, k: simulated_ttft.ttft(
            o, dataclasses.replace(x, context_tokens=x.context_tokens + x.queued_prefill_tokens), a, k
        ),
    ),
    "simulated: prefill scale ignored": with_knobs("simulated_ttft", prefill_scale=1.0),
    "simulated: decode scale ignored": with_knobs("simulated_ttft", decode_scale=1.0),
    "polyserve: emptiest first": flipped("polyserve"),
    "polyserve: no objective": unfiltered("polyserve"),
    "polyserve: first token may be late": with_knobs("polyserve", ttft_slo_s=9.0),
    "polyserve: tokens may be late": with_knobs("polyserve", tpot_slo_s=9.0),
    "polyserve: strictly within the first objective": altered(
        "polyserve",
        eligible=lambda o, x, a, k: o.and_(
            polyserve.keeps_objective_or_none_does(o, x, a, k),
            simulated_ttft.predicted(o, x, k).ttft_s != k.ttft_slo_s,
        ),
    ),
    "polyserve: strictly within the second objective": altered(
        "polyserve",
        eligible=lambda o, x, a, k: o.and_(
            polyserve.keeps_objective_or_none_does(o, x, a, k),
            simulated_ttft.predicted(o, x, k).decode_s != k.tpot_slo_s,
        ),
    ),
    "polyserve two: fullest though late": with_knobs("polyserve", form="polyserve"),
    "dualmap: never too busy": with_knobs("dualmap", budget_tokens=10**9),
    "dualmap: own tokens dropped": altered(
        "dualmap",
        aggregates=lambda o, v, k: dualmap.longest_and_room(o, v, SimpleNamespace(budget_tokens=k.budget_tokens + 32)),
    ),
    "dualmap: strictly below the budget": with_knobs("dualmap", budget_tokens=131),
    "dualmap: no cache": unfiltered("dualmap"),
    "dualmap: alike by place": key_of("dualmap", lambda _o, x, _a, _k: (x.queued_prefill_tokens, 0, 0)),
    "smetric: always placed anew": unfiltered("smetric"),
    "smetric: every turn a later one": altered(
        "smetric",
        aggregates=lambda o, v, k: (
            v.count(lambda x: smetric._warm_in_time(o, x, v.most(lambda y: y.hit_tokens), k)) > 0,
            v.most(lambda y: y.hit_tokens),
        ),
    ),
    "smetric: always in time": with_knobs("smetric", slack=1e9),
    "smetric: slack ignored": with_knobs("smetric", slack=1.0),
    "smetric: the same objective for every length": with_knobs("smetric", slo_s_per_token=0.0),
    "smetric: strictly within": with_knobs("smetric", slo_s=1 - 1e-9),
    "smetric: attention dropped": altered(
        "smetric",
        aggregates=lambda o, v, k: smetric.turn_and_longest(o, Over(o, [no_attention(x) for x in v.instances]), k),
        eligible=lambda o, x, a, k: smetric.warm_or_placed_anew(o, no_attention(x), a, k),
    ),
    "smetric: any holder, late or not": altered(
        "smetric", eligible=lambda o, x, a, _k: o.or_(o.not_(a[0]), o.eq(x.hit_tokens, a[1]))
    ),
    "ray: more than a tenth": with_knobs("ray_prefix_affinity", match_rate=0.1 + 1e-9),
    "ray: any match": with_knobs("ray_prefix_affinity", match_rate=1e-9),
    "ray: no filter": unfiltered("ray_prefix_affinity"),
    "ray: waiting dropped": key_of(
        "ray_prefix_affinity", lambda _o, x, a, _k: (x.running,) if a[0] is None else (x.running, 0)
    ),
    "ray: five apart is uneven at five": altered(
        "ray_prefix_affinity",
        aggregates=lambda o, v, k: (
            None if k.imbalanced_threshold is None else v.spread(common.in_flight) >= k.imbalanced_threshold,
            *ray_prefix.uneven_longest_smallest(o, v, k)[1:],
        ),
    ),
    "ray: never uneven": altered(
        "ray_prefix_affinity",
        aggregates=lambda o, v, k: (
            None if k.imbalanced_threshold is None else False,
            *ray_prefix.uneven_longest_smallest(o, v, k)[1:],
        ),
    ),
}
FAULTS |= {
    f"{name}: ties to the first": altered(name, pick=Pick.FIRST)
    for name in ("llm_d_default", "llm_d_affinity", "most_hit", "aibrix_prefix_cache")
}
FAULTS |= {
    f"{name}: sign flipped": flipped(name)
    for name in ("lmetric", "linear", "dynamo", "llm_d_default", "load_aware", "least_p_token", "most_hit", "preble")
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_fault_is_caught_by_a_case(fault: str) -> None:
    assert caught_by_cases(FAULTS[fault])


@pytest.mark.parametrize("name", sorted({rule.name for rule in FAULTS.values()}))
def test_a_sound_rule_is_not_accused(name: str) -> None:
    assert caught_by_cases(CATALOGUE[name]) == []


STATE = ClusterState(
    ids=("A", "B", "C"),
    running=(0, 1, 9),
    waiting=(0, 0, 0),
    queued_prefill_tokens=(0, 0, 900),
    hit_tokens=(0, 96, 96),
    context_tokens=(0, 10, 20),
)
REQUEST = Request(id=0, arrival_s=0.0, prompt_tokens=160, block_tokens=16)


def broken(rule: Rule) -> laws.Decide:
    return laws.decide_by(Policy(rule, {knob.name: knob.default for knob in rule.all_knobs()}))


def test_the_law_of_dominance_catches_a_flipped_sign() -> None:
    with pytest.raises(AssertionError, match="chose 2 with"):
        laws.choice_is_never_dominated(broken(flipped("lmetric")), STATE, REQUEST)


def test_the_law_of_scale_catches_a_sum() -> None:
    with pytest.raises(AssertionError, match="after rescaling"):
        laws.rescaling_an_indicator_keeps_the_choice(broken(FAULTS["product: sum for product"]), STATE, REQUEST, 1, 200)


def test_the_law_of_scale_catches_a_dropped_request() -> None:
    with pytest.raises(AssertionError, match="after rescaling"):
        laws.rescaling_an_indicator_keeps_the_choice(broken(FAULTS["product: +1 dropped"]), STATE, REQUEST, 1, 5)


def test_the_law_of_columns_catches_a_column_read_in_secret() -> None:
    secret = key_of("lmetric", lambda _o, x, _a, _k: -(x.context_tokens or 0))
    with pytest.raises(AssertionError, match="without the columns"):
        laws.columns_it_does_not_read_do_not_matter(broken(secret), STATE, REQUEST, ())


def test_the_law_of_order_catches_a_place() -> None:
    with pytest.raises(AssertionError, match="permuted"):
        laws.permuting_instances_permutes_the_choice(broken(rotation.ROUND_ROBIN), STATE, REQUEST, [2, 1, 0])


def test_the_law_of_equal_choices_catches_a_hidden_memory() -> None:
    counter = iter(range(9))
    with pytest.raises(AssertionError, match="on the same inputs"):
        laws.equal_inputs_give_equal_choices(laws.from_index(lambda _s, _r: next(counter)), STATE, REQUEST)


def test_the_law_of_load_catches_a_rule_that_likes_queues() -> None:
    with pytest.raises(AssertionError, match="load was added elsewhere"):
        laws.load_elsewhere_keeps_the_choice(broken(flipped("lmetric")), STATE, REQUEST, [90, 90, 90])


def test_the_law_of_instances_catches_an_index_out_of_range() -> None:
    with pytest.raises(AssertionError, match="chose 3 of 3"):
        laws.choice_is_one_of_the_instances(laws.from_index(lambda _s, _r: 3), STATE, REQUEST)


def test_random_ties_are_told_from_first_ties() -> None:
    case = next(case for case in GOLDEN if case.policy == "lmetric_paper" and case.ties == (0, 1))
    at_random = policy(f"{case.policy}:ties=random")
    state = ClusterState(ids=("A", "B"), waiting=(0, 0), queued_prefill_tokens=(0, 0), **case.columns)
    assert {laws.decide_by(at_random, seed)(state, REQUEST).instance for seed in range(20)} == {0, 1}
    assert {laws.decide_by(policy(case.policy), seed)(state, REQUEST).instance for seed in range(20)} == {0}
