"""``hot_spot_ramp``: the share of one prefix class climbs while the rest stays spread over many classes.

At fraction f of the run (by request number) a request is of the hot class with probability x0 + (x1 - x0) min(1, f /
ramp), where x0 is ``share_start``, x1 is ``share`` and ``ramp`` the fraction of the run over which it climbs (0: from
the first request on). All others choose one of ``classes`` classes evenly. LMetric's own hot-spot condition
(docs/sources.md#lmetric, claim ``coverage_law``): trouble begins where the share of a class passes |M|/N, its holders
over all.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from random import Random

from replay.workloads.arrivals import Prompts, poisson_s
from replay.workloads.draws import length
from replay.workloads.knobs import COUNT, SHARE, TOKENS, Parameter, Values, Workload, common, lognormal
from scheduler.state import Request

HOT = 0


def share_at(values: Values, index: int) -> float:
    """The probability that request number ``index`` is of the hot class."""
    climbed_requests = values["ramp"] * values["requests"]
    climbed = min(1.0, index / climbed_requests) if climbed_requests else 1.0
    return float(values["share_start"] + (values["share"] - values["share_start"]) * climbed)


def draw(rng: Random, values: Values) -> Iterator[Request]:
    """Requests of the family, see the head of this file."""
    prompts = Prompts(values["block_tokens"])
    fresh_length, output_length = length("fresh_tokens", values), length("output_tokens", values)
    prefix_tokens = round(values["prefix_tokens"])
    arrivals = itertools.islice(poisson_s(rng, values["rate_per_s"]), values["requests"])
    for index, arrival_s in enumerate(arrivals):
        hot = rng.random() < share_at(values, index)
        prefix = HOT if hot else 1 + rng.randrange(values["classes"])
        group = "hot" if hot else "background"
        yield prompts.request(arrival_s, group, fresh_length(rng), output_length(rng), prefix, prefix_tokens)


HOT_SPOT_RAMP = Workload(
    "hot_spot_ramp",
    "adversary: one prefix class grows from a small share of the traffic to most of it",
    (
        *common(12.0),
        Parameter("share_start", 0.02, SHARE),
        Parameter("share", 0.5, SHARE, "chosen: the middle of the shares to be tested (0.3, 0.5, 0.7)"),
        Parameter("ramp", 0.5, SHARE),
        Parameter("classes", 64, COUNT),
        Parameter("prefix_tokens", 6_000, TOKENS),
        *lognormal("fresh_tokens", 400, 0.8),
        *lognormal("output_tokens", 250, 0.8),
    ),
    draw,
)
