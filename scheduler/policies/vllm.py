"""vLLM's data-parallel load balancer in its two generations, and the port of it that the LMetric paper measured.

All are blind to the cache. ``waiting`` is the router's (prefill not known to be done), where vLLM counts its
scheduler's queue at the last snapshot; local bumps at dispatch are the router's accounting, with one client.

Source: vLLM, ``vllm/v1/engine/core_client.py`` (docs/sources.md#vllm); the port: docs/sources.md#blitz-router.
"""

from __future__ import annotations

from scheduler.domains import REQUESTS_MAX, Domain
from scheduler.indicators import Indicators
from scheduler.ops import Number, Ops
from scheduler.policies.rotation import ROTATION
from scheduler.policies.rule import Aggregates, Knob, Knobs, Rule


def weighted_queue(_ops: Ops, x: Indicators, _: Aggregates, knobs: Knobs) -> Number:
    """``4 W + R``."""
    return knobs.waiting_weight * x.waiting + x.running


def weighted_queue_of_port(_ops: Ops, x: Indicators, _: Aggregates, knobs: Knobs) -> Number:
    """``4 W + (R + W)``: the port adds the batch, not the running requests."""
    return knobs.waiting_weight * x.waiting + (x.running + x.waiting)


def batch_and_pressure(ops: Ops, x: Indicators, _: Aggregates, knobs: Knobs) -> tuple[Number, ...]:
    """``(W + R) + 6 W max(0, kv - 0.5)``, then the place in the scan.

    vLLM takes the greater of own unfinished requests and ``W + R``; with one router the two are equal here.
    """
    pressure = ops.max_(0, x.kv_used_fraction - knobs.kv_threshold)
    return x.waiting + x.running + knobs.pressure_weight * x.waiting * pressure, x.recalled["turn"]


_WAITING_WEIGHT = Knob(
    "waiting_weight",
    4,
    "running requests that one waiting request counts for",
    Domain(0, REQUESTS_MAX, typical_high=16),
    sweep=(1, 2, 4, 8, 16),
)

VLLM_V1 = Rule(
    "vllm_v1",
    "4 waiting + running",
    "vLLM core_client.py to mid-2026; docs/sources.md#vllm",
    weighted_queue,
    knobs=(_WAITING_WEIGHT,),
)
VLLM_V1_2026 = Rule(
    "vllm_v1_2026",
    "batch, waiting dearer as KV fills, rotating start",
    "vLLM PR 47420 and 49204; docs/sources.md#vllm",
    batch_and_pressure,
    knobs=(
        Knob("pressure_weight", 6, "weight of waiting under KV pressure", Domain(0, 1024), sweep=(0, 3, 6, 12)),
        Knob("kv_threshold", 0.5, "KV use above which there is pressure", Domain(0, 1), sweep=(0.25, 0.5, 0.75)),
    ),
    needs=("kv_used_fraction",),
    memory=ROTATION,
)
BLITZ_JSQ_WEIGHT = Rule(
    "blitz_jsq_weight",
    "4 waiting + batch, the paper's vLLM baseline",
    "join-shortest-weight-q; docs/sources.md#blitz-router",
    weighted_queue_of_port,
    knobs=(_WAITING_WEIGHT,),
)

RULES = (VLLM_V1, VLLM_V1_2026, BLITZ_JSQ_WEIGHT)
