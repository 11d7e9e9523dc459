"""``identical_burst``: many identical prompts at one instant, again and again.

At the instant nobody holds the prompt, so all instances look alike, and a rule that breaks ties by index or trusts
what it has just sent can put the whole burst on one of them. Each burst is of a new prompt unless ``prompts`` names
how many take turns.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import msgspec

from replay.workloads.arrivals import Prompts
from replay.workloads.draws import length
from replay.workloads.knobs import COUNT, Parameter, Values, Workload, common, lognormal
from scheduler.domains import Domain
from scheduler.state import Request


def draw(rng: Random, values: Values) -> Iterator[Request]:
    """Requests of the family, see the head of this file; the time between bursts makes the rate come out."""
    prompts = Prompts(values["block_tokens"])
    prompt_length, output_length = length("prompt_tokens", values), length("output_tokens", values)
    size = values["burst_size"]
    models: list[Request] = []
    model: Request | None = None
    for index in range(values["requests"]):
        burst, place = divmod(index, size)
        if not place:
            if not values["prompts"] or len(models) < values["prompts"]:
                model = prompts.request(0.0, "identical", prompt_length(rng), 1)
                if values["prompts"]:
                    models.append(model)
            else:
                model = models[burst % len(models)]
        assert model is not None
        yield msgspec.structs.replace(
            model, id=index, arrival_s=burst * size / values["rate_per_s"], output_tokens=output_length(rng)
        )


IDENTICAL_BURST = Workload(
    "identical_burst",
    "adversary: identical prompts at one instant, a new one at each burst",
    (
        *common(8.0),
        Parameter("burst_size", 32, COUNT),
        Parameter("prompts", 0, Domain(0, 10**6, integer=True), "chosen: 0 = a new prompt at each burst"),
        *lognormal("prompt_tokens", 4_000, 0.5),
        *lognormal("output_tokens", 250, 0.8),
    ),
    draw,
)
