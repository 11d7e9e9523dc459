"""``thinking_burst``: in the midst of ordinary traffic a burst of one prefix class with very long replies.

Each prompt of the burst is nearly all cached and so looks cheap to a rule that counts prefill, but it decodes for
minutes. The burst is ``burst_share`` of all requests, spread evenly at random over a window that begins at
``burst_at`` and lasts ``burst_length``, both as fractions of the time that the ordinary traffic takes.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from random import Random

from replay.workloads.arrivals import Prompts, poisson_s
from replay.workloads.draws import length
from replay.workloads.knobs import COUNT, SHARE, TOKENS, Parameter, Values, Workload, common, lognormal
from scheduler.state import Request

BURST = 0


def draw(rng: Random, values: Values) -> Iterator[Request]:
    """Requests of the family, see the head of this file."""
    burst_count = round(values["burst_share"] * values["requests"])
    calm_count = values["requests"] - burst_count
    run_s = max(1, calm_count) / values["rate_per_s"]
    start_s, length_s = values["burst_at"] * run_s, values["burst_length"] * run_s
    burst_s = sorted(start_s + length_s * rng.random() for _ in range(burst_count))
    calm_s = itertools.islice(poisson_s(rng, values["rate_per_s"]), calm_count)
    prompts = Prompts(values["block_tokens"])
    prefix_tokens = round(values["prefix_tokens"])
    fresh_length = length("fresh_tokens", values)
    thinking_length, output_length = length("thinking_tokens", values), length("output_tokens", values)
    for arrival_s, thinking in heapq.merge(((at_s, False) for at_s in calm_s), ((at_s, True) for at_s in burst_s)):
        prefix = BURST if thinking else 1 + rng.randrange(values["classes"])
        output_tokens = thinking_length(rng) if thinking else output_length(rng)
        group = "thinking" if thinking else "background"
        yield prompts.request(arrival_s, group, fresh_length(rng), output_tokens, prefix, prefix_tokens)


THINKING_BURST = Workload(
    "thinking_burst",
    "adversary: a burst of one cached prefix whose replies are very long",
    (
        *common(8.0),
        Parameter("burst_share", 0.15, SHARE),
        Parameter("burst_at", 0.4, SHARE),
        Parameter("burst_length", 0.1, SHARE),
        Parameter("classes", 64, COUNT),
        Parameter("prefix_tokens", 4_000, TOKENS),
        *lognormal("fresh_tokens", 200, 0.8),
        *lognormal("output_tokens", 250, 0.8),
        *lognormal("thinking_tokens", 4_000, 0.5),
    ),
    draw,
)
