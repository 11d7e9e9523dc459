"""``tool_agent``: agents that call tools, with the lengths of Mooncake's tool&agent trace.

Targets (docs/sources.md#mooncake-traces): mean prompt 8,596 and mean reply 182 tokens, 23,608
requests an hour. Turns follow each other within seconds, as a tool answers more quickly than a person. How much is
shared between agents is not published; a few long tool descriptions are assumed.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from replay.workloads.chat import geometric
from replay.workloads.draws import length, zipf
from replay.workloads.knobs import COUNT, SECONDS, TOKENS, Parameter, Values, Workload, lognormal
from replay.workloads.sessions import Plan, session_parameters, session_requests
from scheduler.domains import Domain
from scheduler.state import Request


def draw(rng: Random, values: Values) -> Iterator[Request]:
    """Requests of the family, see the head of this file."""
    mean_s = values["think_s_mean"]
    plan = Plan(
        group="tool_agent",
        turns=lambda rng: geometric(values["turns_mean"], rng),
        opening_tokens=length("opening_tokens", values),
        turn_tokens=length("turn_tokens", values),
        output_tokens=length("output_tokens", values),
        think_s=lambda rng: rng.expovariate(1 / mean_s) if mean_s else 0.0,
        system=zipf(values["systems"], values["zipf_exponent"]),
        system_tokens=(round(values["system_tokens"]),) * values["systems"],
    )
    return session_requests(rng, plan, values)


TOOL_AGENT = Workload(
    "tool_agent",
    "agents that call tools: shared tool descriptions, short replies, turns seconds apart",
    (
        *session_parameters(6.6, "Mooncake's tool&agent trace: 23,608 requests in an hour"),
        Parameter("systems", 20, COUNT),
        Parameter("zipf_exponent", 1.0, Domain(0, 10)),
        Parameter("system_tokens", 2_500, TOKENS),
        Parameter("turns_mean", 1.8, Domain(1, 1000, unit="turn")),
        *lognormal("opening_tokens", 5_450, 1.2, "fitted to the mean prompt of 8,596 tokens in Mooncake's trace"),
        *lognormal("turn_tokens", 700, 1.2),
        *lognormal("output_tokens", 182, 1.0, "mean: Mooncake's tool&agent trace; spread assumed"),
        Parameter("think_s_mean", 2, SECONDS),
    ),
    draw,
)
