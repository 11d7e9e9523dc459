"""AIBrix' ``conductor``: least estimated time to first token, in ms.

``queue + prefix + prefill``: ``queue = count x average prefill time``; ``prefix = 0.005 m + 1`` (0 if nothing is
matched); ``prefill = 0.001 u^1.5 + 5`` (0 if nothing is uncached), m and u the matched and uncached tokens. The power
is irrational, so the memory works the prefill estimate out and the key stays arithmetic that every reader reads.

Choices: ``count`` is requests in flight; the average prefill time of an instance, which AIBrix scrapes, is the mean
estimate of the requests this router sent there, and while that is 0 (none was sent, or only fully cached ones: queued
requests are never free) the published fallback, the estimate for 512 tokens; or the knob fixes it.

Source: AIBrix at e3e10f9, prefill policies for disaggregated pools (docs/sources.md#aibrix).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from scheduler.domains import Domain
from scheduler.indicators import Indicators
from scheduler.ops import SCALAR, Number, Ops
from scheduler.policies.common import in_flight, missed_tokens, widened
from scheduler.policies.rule import Aggregates, Knob, Knobs, Memory, Rule
from scheduler.state import Request

_FALLBACK_TOKENS = 512


class Sent(NamedTuple):
    """How many requests went to each instance, and their estimated prefill time [ms]."""

    counts: tuple[int, ...]
    totals_ms: tuple[float, ...]


def prefill_ms(uncached_tokens: int) -> float:
    """Estimated prefill time [ms]: ``0.001 u^1.5 + 5``, 0 for nothing."""
    return float(0.001 * uncached_tokens**1.5 + 5) if uncached_tokens > 0 else 0.0


def _widened(sent: Sent, view: Any) -> Sent:
    count = len(view.running)
    return Sent(widened(sent.counts, count), widened(sent.totals_ms, count))


def _recall(sent: Sent, request: Request, view: Any, knobs: Knobs, _: random.Random) -> Mapping[str, Sequence[Number]]:
    length, fixed = request.prompt_tokens, knobs.average_prefill_ms
    sent = _widened(sent, view)
    averages = [
        fixed if fixed is not None else total / count if total > 0 else prefill_ms(_FALLBACK_TOKENS)
        for count, total in zip(sent.counts, sent.totals_ms, strict=True)
    ]
    missed = [missed_tokens(SCALAR, length, hit) for hit in view.hit_tokens]
    return {"average_prefill_ms": averages, "prefill_ms": [prefill_ms(tokens) for tokens in missed]}


def _remember(sent: Sent, request: Request, view: Any, chosen: int, _: Knobs) -> Sent:
    sent = _widened(sent, view)
    counts, totals = list(sent.counts), list(sent.totals_ms)
    counts[chosen] += 1
    totals[chosen] += prefill_ms(missed_tokens(SCALAR, request.prompt_tokens, view.hit_tokens[chosen]))
    return Sent(tuple(counts), tuple(totals))


_MS = Domain(0, None, unit="ms", typical_high=1000)
ESTIMATES = Memory(
    columns={"average_prefill_ms": _MS, "prefill_ms": _MS},
    start=lambda count, _knobs: Sent((0,) * count, (0.0,) * count),
    recall=_recall,
    remember=_remember,
)


def ttft_ms(ops: Ops, x: Indicators, _: Aggregates, __: Knobs) -> Number:
    """Queue, prefix and prefill time [ms]."""
    queue = in_flight(x) * x.recalled["average_prefill_ms"]
    prefix = ops.where(x.hit_tokens > 0, x.hit_tokens / 200 + 1, 0)
    return queue + prefix + x.recalled["prefill_ms"]


AIBRIX_CONDUCTOR = Rule(
    "aibrix_conductor",
    "least estimated time to first token",
    "AIBrix e3e10f9 conductor; docs/sources.md#aibrix",
    ttft_ms,
    knobs=(
        Knob(
            "average_prefill_ms",
            None,
            "average prefill time of a request; none takes the mean of those sent",
            _MS,
            sweep=(None, 100, 200, 400),
            optional=True,
        ),
    ),
    memory=ESTIMATES,
)

RULES = (AIBRIX_CONDUCTOR,)
