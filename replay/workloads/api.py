"""``api``: programs that call a model with a fixed system prompt and a little text of their own, one turn each.

Target: hit ceiling 0.54 with practically all reuse between single-turn requests, as "KVCache Cache in the Wild"
(arXiv 2506.02634) reports for Bailian's API trace (read in summaries of that paper, second hand). Lengths are
assumptions: we found none published for this family.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from random import Random

from replay.workloads.arrivals import Prompts, poisson_s
from replay.workloads.draws import length, zipf
from replay.workloads.knobs import COUNT, Parameter, Values, Workload, common, lognormal
from scheduler.domains import Domain
from scheduler.state import Request


def draw(rng: Random, values: Values) -> Iterator[Request]:
    """Requests of the family, see the head of this file."""
    prompts = Prompts(values["block_tokens"])
    system = zipf(values["systems"], values["zipf_exponent"])
    system_length = length("system_tokens", values)
    user_length, output_length = length("user_tokens", values), length("output_tokens", values)
    system_tokens = [system_length(rng) for _ in range(values["systems"])]
    for arrival_s in itertools.islice(poisson_s(rng, values["rate_per_s"]), values["requests"]):
        index = system(rng)
        yield prompts.request(arrival_s, "api", user_length(rng), output_length(rng), index, system_tokens[index])


API = Workload(
    "api",
    "programs: few system prompts, the most popular far ahead, one turn, short replies",
    (
        *common(20.0),
        Parameter("systems", 20, COUNT),
        Parameter("zipf_exponent", 1.0, Domain(0, 10)),
        *lognormal("system_tokens", 1_500, 0.2),
        *lognormal("user_tokens", 1_200, 1.0, "assumption, with the system prompts fitted to a hit ceiling of 0.54"),
        *lognormal("output_tokens", 100, 0.8),
    ),
    draw,
)
