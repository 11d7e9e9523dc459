"""Preble's E2: exploit the holders of a prefix that covers more than half of the prompt, else explore by window cost.

Cost of an instance [s] = prefill time of what the last three minutes' requests missed there (L), plus requests in
flight x output length x time per output token, plus prefill time of what this request misses there (P). Exploit:
among the instances with the longest match, if that exceeds the rest of the prompt, the least cost; explore: least
cost over all.

Choices: a request's missed prefill is charged to the instance it went to, which is what summing ``miss rate x count x
prefill time / instances`` over tree nodes comes to without the tree; the eviction term (M) is left out, victims are not
observable; the median time per output token of an instance is not observable either and is a knob, with 30 ms, a usual
value under load (the source's 150 ms stands only until the first requests have finished); output length is its 45
tokens. Rebalancing and replication of hot nodes are left out. Ties: lowest index, which ``min`` gives there too.

Memory: :mod:`scheduler.policies.window`; persistent, so nobody owns it and old values stay valid. The clock is
``request.arrival_s``. Prefill time is the published fit (Mistral-7B on A6000), or linear if the knob gives a rate. The
fit's parabola for 192 to 383 tokens falls below zero from 361 on, where an instance would attract because it was used;
there it is held at the 22 ms of the shortest prompts. An instance that joins starts with an empty window.

Source: WukLab/preble at 8e7906a, ``global_scheduler_with_time.py`` (docs/sources.md#preble).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from scheduler.domains import TOKENS_MAX, Domain
from scheduler.indicators import Indicators
from scheduler.ops import SCALAR, Number, Ops
from scheduler.policies.common import in_flight, longest_match, missed_tokens, widened
from scheduler.policies.rule import Aggregates, Knob, Knobs, Memory, Rule
from scheduler.policies.window import Window, added, expired, opened
from scheduler.state import Request

#: Prefill time of a short prompt [ms].
_SHORTEST_MS = 22.0


def fitted_prefill_s(tokens: int) -> float:
    """Prefill time of the published fit [s], its attention term from 4096 tokens on only; 0 for nothing.

    Example (the parabola is -7.8 ms here):
        >>> round(fitted_prefill_s(367) * 900, 6)
        22.0
    """
    if tokens <= 0:
        return 0.0
    if tokens >= 4096:
        ms = -7.37 + 3.86e-3 * tokens + 2.16e-6 * tokens * tokens + 0.10842571 * tokens + 4.2098
    elif tokens >= 384:
        ms = 0.10842571 * tokens + 4.2098
    elif tokens >= 192:
        ms = max(_SHORTEST_MS, -118 + 1.25 * tokens - 2.56e-3 * tokens * tokens)
    else:
        ms = _SHORTEST_MS
    return ms / 900  # milliseconds to seconds, and the published division by 0.9


def _missed_prefill_s(request: Request, hit_tokens: int, knobs: Knobs) -> float:
    missed = missed_tokens(SCALAR, request.prompt_tokens, hit_tokens)
    rate = knobs.prefill_s_per_token
    return fitted_prefill_s(missed) if rate is None else float(rate * missed)


def _recall(
    seen: Window, request: Request, view: Any, knobs: Knobs, _: random.Random
) -> Mapping[str, Sequence[Number]]:
    totals_ns = expired(seen, request.arrival_s - knobs.window_s).totals
    return {
        "window_s": [total_ns / 1_000_000_000 for total_ns in widened(totals_ns, len(view.running))],
        "missed_s": [_missed_prefill_s(request, hit, knobs) for hit in view.hit_tokens],
    }


def _remember(seen: Window, request: Request, view: Any, chosen: int, knobs: Knobs) -> Window:
    kept = expired(seen, request.arrival_s - knobs.window_s)
    missed_ns = round(_missed_prefill_s(request, view.hit_tokens[chosen], knobs) * 1_000_000_000)
    return added(kept, request.arrival_s, chosen, missed_ns)


_SECONDS = Domain(0, None, unit="s", typical_high=60)
WINDOW_COST = Memory(
    columns={"window_s": _SECONDS, "missed_s": _SECONDS},
    start=lambda count, _knobs: opened(count),
    recall=_recall,
    remember=_remember,
)


def holds_longest_or_explores(ops: Ops, x: Indicators, best: Aggregates, _: Knobs) -> Number:
    """The holders of the longest match if it exceeds the rest of the prompt, else all."""
    return ops.or_(best <= x.prompt_tokens - best, ops.eq(x.hit_tokens, best))


def cost(_ops: Ops, x: Indicators, _: Aggregates, knobs: Knobs) -> Number:
    """Window, decode and missed prefill [s]."""
    decode = in_flight(x) * knobs.output_tokens * knobs.tpot_s
    return x.recalled["window_s"] + decode + x.recalled["missed_s"]


PREBLE = Rule(
    "preble",
    "exploit a long match, else least cost of three minutes",
    "Preble E2 8e7906a; docs/sources.md#preble",
    cost,
    longest_match,
    holds_longest_or_explores,
    knobs=(
        Knob(
            "window_s", 180, "length of the window", Domain(0, None, unit="s", typical_high=600), sweep=(60, 180, 600)
        ),
        Knob(
            "output_tokens",
            45,
            "decode length of a request",
            Domain(0, TOKENS_MAX, unit="token", typical_high=500),
            sweep=(45, 180, 350),
        ),
        Knob(
            "tpot_s",
            0.03,
            "median time per output token",
            Domain(0, None, unit="s", typical_high=0.2),
            sweep=(0.01, 0.03, 0.15),
        ),
        Knob(
            "prefill_s_per_token",
            None,
            "prefill time of a token; none takes the published fit",
            Domain(0, None, unit="s/token", low_open=True, typical_high=1e-3),
            sweep=(None, 5e-5, 2e-4),
            optional=True,
        ),
    ),
    memory=WINDOW_COST,
)

RULES = (PREBLE,)
