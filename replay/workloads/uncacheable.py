"""``uncacheable``: no two prompts share a block. Every rule that looks for cached prefixes must do no harm here."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from random import Random

from replay.workloads.arrivals import Prompts, poisson_s
from replay.workloads.draws import length
from replay.workloads.knobs import Values, Workload, common, lognormal
from scheduler.state import Request


def draw(rng: Random, values: Values) -> Iterator[Request]:
    """Requests of the family, see the head of this file."""
    prompts = Prompts(values["block_tokens"])
    prompt_length, output_length = length("prompt_tokens", values), length("output_tokens", values)
    for arrival_s in itertools.islice(poisson_s(rng, values["rate_per_s"]), values["requests"]):
        yield prompts.request(arrival_s, "uncacheable", prompt_length(rng), output_length(rng))


UNCACHEABLE = Workload(
    "uncacheable",
    "adversary: no shared block at all, so that affinity has nothing to give",
    (
        *common(10.0),
        *lognormal("prompt_tokens", 4_000, 1.0),
        *lognormal("output_tokens", 250, 0.8),
    ),
    draw,
)
