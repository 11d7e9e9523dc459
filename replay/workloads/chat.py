"""``chat``: people talking to an assistant, fitted to Mooncake's conversation trace.

Targets, counted on the trace (docs/sources.md#mooncake-traces): mean prompt 12,035 and median 6,909
tokens, mean reply 343, hit ceiling 0.366, 3.4 requests/s, every prompt begins with the same block of 512 tokens, and
a follow-up comes a median of 123 s (mean 215 s) after the turn before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random

from replay.workloads.draws import length, lognormal_real
from replay.workloads.knobs import SECONDS, SIGMA, TOKENS, Parameter, Values, Workload, lognormal
from replay.workloads.sessions import Plan, session_parameters, session_requests
from scheduler.domains import Domain
from scheduler.state import Request

_FIT = "fitted to Mooncake's conversation trace"


def geometric(mean: float, rng: Random) -> int:
    """A whole number >= 1 with the given mean, without memory: each turn is the last with probability 1/mean."""
    return 1 if mean <= 1 else 1 + int(math.log(1 - rng.random()) / math.log(1 - 1 / mean))


def draw(rng: Random, values: Values) -> Iterator[Request]:
    """Requests of the family, see the head of this file."""
    plan = Plan(
        group="chat",
        turns=lambda rng: geometric(values["turns_mean"], rng),
        opening_tokens=length("opening_tokens", values),
        turn_tokens=length("turn_tokens", values),
        output_tokens=length("output_tokens", values),
        think_s=lambda rng: lognormal_real(rng, values["think_s_mean"], values["think_s_sigma"]),
        system=lambda _: 0,
        system_tokens=(round(values["system_tokens"]),),
    )
    return session_requests(rng, plan, values)


CHAT = Workload(
    "chat",
    "people in conversation: one system prompt, long first prompts, few turns, minutes between them",
    (
        *session_parameters(3.4, "Mooncake's conversation trace: 12,031 requests in 3,537 s"),
        Parameter("system_tokens", 512, TOKENS, "every prompt of the conversation trace begins with block 0"),
        Parameter("turns_mean", 1.6, Domain(1, 1000, unit="turn"), _FIT),
        *lognormal("opening_tokens", 11_200, 1.15, _FIT),
        *lognormal("turn_tokens", 1_250, 2.0, _FIT),
        *lognormal("output_tokens", 343, 0.8, "mean: Mooncake's conversation trace; spread fitted"),
        Parameter("think_s_mean", 207, SECONDS, _FIT),
        Parameter("think_s_sigma", 1.06, SIGMA, _FIT),
    ),
    draw,
)
