"""Cases worked out by hand, from the sources and from the definitions; each is named by what it says.

The numbered cases are worked out from the formulas of docs/sources.md; 6, about the hot-spot bound, and 17, about
draws, are no cases of one decision (see the tests of memory). The others are arithmetic on the same two instances.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import Any

from scheduler.policies.catalogue import policy as policy_named
from scheduler.policies.choosing import decide
from scheduler.policies.rule import Policy
from scheduler.state import REQUIRED_COLUMNS, ClusterState, Request


@dataclass(frozen=True)
class Golden:
    """One hand-computed decision.

    Args:
        name: what it says.
        policy: rule with knobs, as the command line writes it.
        chosen: index of the right instance.
        scores: right keys, or None where the source gives none.
        ties: right ties, or None for the chosen one alone.
        prompt_tokens: of the request; 100 output tokens are expected.
        columns: columns of the state; those not given are 0 for every instance.
        block_tokens: tokens in a block.
    """

    name: str
    policy: str
    chosen: int
    scores: tuple[Any, ...] | None = None
    ties: tuple[int, ...] | None = None
    prompt_tokens: int = 160
    columns: dict[str, Any] = field(default_factory=dict)
    block_tokens: int = 16


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, tuple):
        return isinstance(b, tuple) and len(a) == len(b) and all(map(_same, a, b))
    return math.isclose(a, b, rel_tol=1e-12, abs_tol=1e-12)


def check(case: Golden, policy: Policy | None = None) -> None:
    """Decide the case and compare.

    Args:
        case: what should come out.
        policy: decides instead of the one the case names, for seeded faults.

    Raises:
        AssertionError: if choice, ties or scores differ.
    """
    policy = policy_named(case.policy) if policy is None else policy
    count = len(next(iter(case.columns.values())))
    columns: dict[str, Any] = dict.fromkeys(REQUIRED_COLUMNS, (0,) * count) | case.columns
    state = ClusterState(ids=tuple("ABCDEFGH"[:count]), **columns).checked()
    request = Request(
        id=0,
        arrival_s=0.0,
        prompt_tokens=case.prompt_tokens,
        block_tokens=case.block_tokens,
        expected_output_tokens=100,
    )
    decision, _ = decide(policy, state, request, rng=random.Random(0))
    if case.scores is not None:
        assert _same(case.scores, decision.scores), f"{case.name}: scores {decision.scores}, not {case.scores}"
    assert decision.instance == case.chosen, f"{case.name}: chose {decision.instance}, not {case.chosen}"
    ties = (case.chosen,) if case.ties is None else case.ties
    assert decision.ties == ties, f"{case.name}: ties {decision.ties}, not {ties}"


def _case(
    name: str,
    policy: str,
    chosen: int,
    scores: tuple[Any, ...] | None = None,
    ties: tuple[int, ...] | None = None,
    prompt_tokens: int = 160,
    block_tokens: int = 16,
    **columns: tuple[Any, ...],
) -> Golden:
    return Golden(name, policy, chosen, scores, ties, prompt_tokens, columns, block_tokens)


_CACHED: dict[str, Any] = {"hit_tokens": (160, 160), "running": (30, 1)}
_NEARLY: dict[str, Any] = {"hit_tokens": (160, 144), "running": (200, 0)}
_QUEUE: dict[str, Any] = {"hit_tokens": (128, 0), "queued_prefill_tokens": (4000, 0), "running": (2, 10)}
_VLLM: dict[str, Any] = {"waiting": (2, 0), "running": (10, 17)}
_PAIR: dict[str, Any] = {"hit_tokens": (128, 0), "queued_prefill_tokens": (100, 0), "running": (3, 0)}
_TAU: dict[str, Any] = {"prefill_s_per_token": (1e-3, 1e-3)}
_BLOCKS: dict[str, Any] = {"active_blocks": (0, 0), "added_blocks": (0, 0)}
_PARTIAL: dict[str, Any] = {"prompt_tokens": 1000, "block_tokens": 512, "hit_tokens": (512, 0)}
_EQUAL: dict[str, Any] = {"hit_tokens": (160, 160, 160), "running": (1, 1, 1)}

GOLDEN: tuple[Golden, ...] = (
    _case("01 a hit outweighs three requests", "lmetric", 1, (160, 128), hit_tokens=(0, 128), running=(0, 3)),
    _case(
        "01 with four it is a tie and the first wins",
        "lmetric",
        0,
        (160, 160),
        (0, 1),
        hit_tokens=(0, 128),
        running=(0, 4),
    ),
    _case("02 without floor a full hit hides the batch", "lmetric_paper", 0, (0, 0), (0, 1), **_CACHED),
    _case("02 with floor the smaller batch wins a full hit", "lmetric", 1, (31, 2), **_CACHED),
    _case("03 without floor zero beats anything", "lmetric_paper", 0, (0, 16), **_NEARLY),
    _case("03 with floor a saturated instance loses", "lmetric", 1, (201, 16), **_NEARLY),
    _case("04 queued prefill counts", "lmetric", 1, (12096, 1760), **_QUEUE),
    _case("04 a port without it chooses the queue", "lmetric_no_queue", 0, (96, 1760), **_QUEUE),
    _case("05 on an idle fleet the product is affinity", "lmetric", 2, (160, 96, 32), hit_tokens=(0, 64, 128)),
    _case(
        "05 with equal hits the product is load",
        "lmetric",
        1,
        (780, 320, 640),
        queued_prefill_tokens=(100, 0, 0),
        running=(2, 1, 3),
    ),
    _case("07 old vLLM weighs waiting by four", "vllm_v1", 1, (18, 17), **_VLLM),
    _case("07 new vLLM disagrees", "vllm_v1_2026", 0, ((16.8, 0), (17, 1)), kv_used_fraction=(0.9, 0.9), **_VLLM),
    _case(
        "07 below half of KV there is no pressure",
        "vllm_v1_2026",
        1,
        ((13, 0), (12, 1)),
        waiting=(2, 0),
        running=(11, 12),
        kv_used_fraction=(0.4, 0.9),
    ),
    _case("08 the port counts waiting five times", "blitz_jsq_weight", 1, (20, 17), **_VLLM),
    _case(
        "09 dynamo takes prefill and blocks",
        "dynamo",
        1,
        (120, 70),
        queued_prefill_tokens=(0, 320),
        hit_tokens=(0, 160),
        active_blocks=(100, 50),
        added_blocks=(10, 0),
    ),
    _case("10 the load tier beats a full hit", "dynamo_two_tier", 0, hit_tokens=(0, 160), running=(0, 40)),
    _case("10 at exactly 1.1 the cache tier decides", "dynamo_two_tier", 1, hit_tokens=(0, 160), running=(640, 704)),
    _case("10 at exactly half no cache tier", "dynamo_two_tier", 0, hit_tokens=(0, 80), running=(0, 9)),
    _case(
        "11 one waiting request outweighs nine tenths of a hit",
        "llm_d_default",
        1,
        (-3.1, -3.6),
        hit_tokens=(144, 0),
        waiting=(4, 0),
        kv_used_fraction=(0.8, 0.2),
    ),
    _case(
        "11 with equal queues the hit wins",
        "llm_d_default",
        0,
        (-5.1, -3.6),
        hit_tokens=(144, 0),
        waiting=(4, 4),
        kv_used_fraction=(0.8, 0.2),
    ),
    _case("12 18.8 s break stickiness", "llm_d_affinity", 1, hit_tokens=(144, 0), queued_prefill_tokens=(300_000, 0)),
    _case("12 17.6 s do not", "llm_d_affinity", 0, hit_tokens=(144, 0), queued_prefill_tokens=(280_000, 0)),
    _case("12 four fifths are sticky", "llm_d_affinity", 0, hit_tokens=(128, 0), queued_prefill_tokens=(9_000, 0)),
    _case("12 less is not", "llm_d_affinity", 1, hit_tokens=(127, 0), queued_prefill_tokens=(9_000, 0)),
    _case("13 a gap of 64 is even", "sglang_cache_aware", 1, hit_tokens=(0, 160), running=(0, 64)),
    _case("13 a gap of 65 is not", "sglang_cache_aware", 0, hit_tokens=(0, 160), running=(0, 65)),
    _case("13 130 and 200 are uneven", "sglang_cache_aware", 0, hit_tokens=(0, 160), running=(130, 200)),
    _case("13 140 and 210 are even", "sglang_cache_aware", 1, hit_tokens=(0, 160), running=(140, 210)),
    _case("13 at exactly 0.3 the match is too short", "sglang_cache_aware", 0, hit_tokens=(0, 48), running=(0, 1)),
    _case("14 nine apart leave the least loaded", "aibrix_prefix_cache", 0, hit_tokens=(0, 160), running=(1, 10)),
    _case(
        "14 eight apart and within sigma the match wins", "aibrix_prefix_cache", 1, hit_tokens=(0, 160), running=(2, 10)
    ),
    _case(
        "14 beyond one sigma it does not",
        "aibrix_prefix_cache",
        0,
        hit_tokens=(16, 0, 0, 0, 160),
        running=(2, 3, 3, 3, 10),
    ),
    _case("15 relative load cancels a full hit", "load_aware", 1, (0, -1), hit_tokens=(160, 0), running=(10, 0)),
    _case(
        "15 a mean below one counts as one", "load_aware", 0, (-0.5, -0.5), (0, 1), hit_tokens=(160, 0), running=(1, 0)
    ),
    _case(
        "16 conductor prefers the cold idle pod",
        "aibrix_conductor:average_prefill_ms=200",
        1,
        (600 + 21 + 0.001 * 4000**1.5 + 5, 0.001 * 8000**1.5 + 5),
        prompt_tokens=8000,
        hit_tokens=(4000, 0),
        running=(3, 0),
    ),
    _case("26 without itself idle instances score 0", "lmetric_no_self", 0, (0, 0), (0, 1), hit_tokens=(0, 128)),
    _case("least harm is q + n B", "marginal_delay", 1, (228, 160), **_PAIR),
    _case("a given kappa is added to n", "marginal_delay_offset:kappa=10", 1, (268, 170), **_PAIR),
    _case(
        "a derived kappa is gamma n_out / tau",
        "marginal_delay_offset",
        1,
        (268, 170),
        decode_s_per_request=(1e-4, 1e-4),
        **_PAIR,
        **_TAU,
    ),
    _case("the line is P + w B", "linear:weight=0.5,form=p_token", 1, (1156, 416), **_PAIR),
    _case("the paper's line is misses and batch", "linear:weight=0.5", 0, (0.6, 0.625), **_PAIR),
    _case("bailian scales each indicator", "bailian_argmax", 0, (-0.7, -0.3), context_tokens=(1000, 0), **_PAIR),
    _case("mooncake waits for the queue", "mooncake_min_ttft", 0, (0.132, 0.16), **_PAIR, **_TAU),
    _case("mooncake may fetch the prefix", "mooncake_min_ttft:threshold=2", 1, (0.132, 0.03264), **_PAIR, **_TAU),
    _case("preble exploits more than half", "preble", 0, hit_tokens=(96, 0), running=(9, 0)),
    _case("preble explores at exactly half", "preble", 1, hit_tokens=(80, 0), running=(9, 0)),
    _case("least P-token", "least_p_token", 0, (132, 160), **_PAIR),
    _case("most hit", "most_hit", 0, (-128, 0), **_PAIR),
    _case("shortest queue counts waiting", "join_shortest_queue", 1, (5, 4), running=(1, 3), waiting=(3, 0)),
    _case(
        "dynamo's credit decays with excess prefill: 160 / (1 + 160/160)",
        "dynamo:overlap_credit_decay=1",
        0,
        (10, 15),
        queued_prefill_tokens=(0, 160),
        hit_tokens=(0, 160),
        **_BLOCKS,
    ),
    _case(
        "dynamo's double credit stops at zero",
        "dynamo:overlap_credit=2",
        0,
        (0, 4),
        hit_tokens=(160, 48),
        **_BLOCKS,
    ),
    _case(
        "dynamo's scale is on the prefill", "dynamo:prefill_load_scale=2", 0, (10, 20), hit_tokens=(80, 0), **_BLOCKS
    ),
    _case(
        "dynamo charges waiting requests too",
        "dynamo:decode_request_weight=16",
        0,
        (26, 42),
        running=(1, 0),
        waiting=(0, 2),
        **_BLOCKS,
    ),
    _case("10 a gap of 32 leaves the cache tier", "dynamo_two_tier", 1, hit_tokens=(0, 160), running=(0, 32)),
    _case(
        "a cached block of 512 is all of 1000 tokens that can match: two tiers",
        "dynamo_two_tier:cache_threshold=0.6",
        0,
        running=(5, 0),
        **_PARTIAL,
    ),
    _case(
        "a cached block of 512 is all of 1000 tokens that can match: sticky",
        "llm_d_affinity",
        0,
        queued_prefill_tokens=(9000, 0),
        **_PARTIAL,
    ),
    _case(
        "a cached block of 512 is all of 1000 tokens that can match: scorer",
        "llm_d_default",
        0,
        (-7, -4),
        kv_used_fraction=(0.0, 0.0),
        **_PARTIAL,
    ),
    _case("llm-d draws among ties", "llm_d_default", 2, None, (0, 1, 2), kv_used_fraction=(0.5,) * 3, **_EQUAL),
    _case("the affinity filter draws among ties", "llm_d_affinity", 2, (0, 0, 0), (0, 1, 2), **_EQUAL),
    _case("most hit draws among ties", "most_hit", 2, (-160,) * 3, (0, 1, 2), **_EQUAL),
    _case("aibrix draws among ties", "aibrix_prefix_cache", 2, ((0, -160, 1),) * 3, (0, 1, 2), **_EQUAL),
    _case(
        "token load counts this request's tokens",
        "llm_d_affinity",
        1,
        (10_144, 9_160),
        hit_tokens=(16, 0),
        queued_prefill_tokens=(10_000, 9_000),
    ),
    _case(
        "token load ends at 4 Mi tokens",
        "llm_d_affinity",
        1,
        (4_194_304, 4_194_304),
        (0, 1),
        queued_prefill_tokens=(6_000_000, 5_000_000),
    ),
    _case(
        "a penalty of 0 never breaks",
        "llm_d_affinity:max_penalty_ms=0",
        0,
        hit_tokens=(160, 0),
        queued_prefill_tokens=(1_000_000, 0),
    ),
    _case("18 s exactly do not break", "llm_d_affinity", 0, hit_tokens=(160, 0), queued_prefill_tokens=(286_704, 0)),
    _case("a token more does", "llm_d_affinity", 1, hit_tokens=(160, 0), queued_prefill_tokens=(286_705, 0)),
    _case(
        "aibrix: 4 is exactly mean 2 + sample sigma 2",
        "aibrix_prefix_cache",
        2,
        ((1, 0, 0), (1, 0, 2), (0, -160, 4)),
        hit_tokens=(0, 0, 160),
        running=(0, 2, 4),
    ),
    _case(
        "aibrix: half a sigma is less",
        "aibrix_prefix_cache:sigmas=0.5",
        0,
        ((1, 0, 0), (1, 0, 2), (1, 0, 4)),
        hit_tokens=(0, 0, 160),
        running=(0, 2, 4),
    ),
    _case(
        "aibrix: equal matches go to fewer requests",
        "aibrix_prefix_cache",
        1,
        ((0, -160, 3), (0, -160, 1)),
        hit_tokens=(160, 160),
        running=(3, 1),
    ),
    _case("preble's fit of 300 tokens", "preble", 0, (0.0266 / 0.9,) * 2, (0, 1), prompt_tokens=300, hit_tokens=(0, 0)),
    _case(
        "preble's fit of 4096 tokens",
        "preble",
        0,
        ((448.32150816 - 7.37 + 15.81056 + 36.23878656) / 900,) * 2,
        (0, 1),
        prompt_tokens=4096,
        hit_tokens=(0, 0),
    ),
    _case(
        "preble: 2 requests x 10 tokens x 0.1 s, 100 missed x 1 ms",
        "preble:output_tokens=10,tpot_s=0.1,prefill_s_per_token=0.001",
        1,
        (2.1, 0.16),
        hit_tokens=(60, 0),
        running=(1, 0),
        waiting=(1, 0),
    ),
    _case(
        "mooncake fetches strictly above the threshold",
        "mooncake_min_ttft:threshold=2",
        1,
        (0.132, 0.096),
        hit_tokens=(128, 64),
        queued_prefill_tokens=(100, 0),
        **_TAU,
    ),
    _case(
        "mooncake computes a token of a full hit",
        "mooncake_min_ttft:threshold=2",
        0,
        (0.001, 0.0018),
        hit_tokens=(160, 0),
        **_TAU,
    ),
    _case(
        "bailian spreads a hundredth of a hit to one",
        "bailian_argmax",
        0,
        (-0.7, 0),
        prompt_tokens=1600,
        hit_tokens=(16, 0),
        context_tokens=(0, 0),
    ),
    _case("the paper's line weighs the cache by 0.7", "linear", 0, (0.44, 0.775), **_PAIR),
)
