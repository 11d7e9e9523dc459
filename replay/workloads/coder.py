"""``coder``: programming agents: long shared system prompts, many quick turns, contexts that grow to the limit.

Targets (SMetric on Bailian's coding traces; docs/sources.md#smetric): over 80% of the prompt tokens are
reusable, over 65% of that within the session, 90% of the reuses within about 100 s, the top quarter of the sessions
holds over 80% of the tokens. The lengths themselves are not public; those below are assumptions that meet the targets.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from replay.workloads.draws import length, lognormal_real, zipf
from replay.workloads.knobs import COUNT, SECONDS, SHARE, SIGMA, TOKENS, Parameter, Values, Workload, lognormal
from replay.workloads.sessions import Plan, session_parameters, session_requests
from scheduler.domains import Domain
from scheduler.state import Request


def draw(rng: Random, values: Values) -> Iterator[Request]:
    """Requests of the family, see the head of this file."""

    def think_s(rng: Random) -> float:
        mean = values["human_s_mean"] if rng.random() < values["human_share"] else values["tool_s_mean"]
        return rng.expovariate(1 / mean) if mean else 0.0

    plan = Plan(
        group="coder",
        turns=lambda rng: max(1, round(lognormal_real(rng, values["turns_mean"], values["turns_sigma"]))),
        opening_tokens=length("opening_tokens", values),
        turn_tokens=length("turn_tokens", values),
        output_tokens=length("output_tokens", values),
        think_s=think_s,
        system=zipf(values["systems"], values["zipf_exponent"]),
        system_tokens=(round(values["system_tokens"]),) * values["systems"],
    )
    return session_requests(rng, plan, values)


_FIT = "assumption, chosen to meet SMetric's findings (docs/sources.md#smetric)"

CODER = Workload(
    "coder",
    "programming agents: long system prompts, many quick turns, contexts up to the limit",
    (
        *session_parameters(8.0, "assumption, no public figure"),
        Parameter("systems", 8, COUNT, _FIT),
        Parameter("zipf_exponent", 1.0, Domain(0, 10)),
        Parameter("system_tokens", 6_000, TOKENS, _FIT),
        Parameter("turns_mean", 16, Domain(1, 10_000, unit="turn"), _FIT),
        Parameter("turns_sigma", 1.6, SIGMA, _FIT),
        *lognormal("opening_tokens", 6_000, 1.2, _FIT),
        *lognormal("turn_tokens", 1_800, 1.2, _FIT),
        *lognormal("output_tokens", 250, 1.0),
        Parameter("tool_s_mean", 6, SECONDS, _FIT),
        Parameter("human_share", 0.1, SHARE, _FIT),
        Parameter("human_s_mean", 90, SECONDS, _FIT),
    ),
    draw,
)
