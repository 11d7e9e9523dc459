"""What the detector is told: the rule in use, and thresholds that follow from theory, each with its claim."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from scheduler.domains import REQUESTS_MAX, TOKENS_MAX, Domain
from scheduler.errors import BadInput
from scheduler.policies.catalogue import policy as read_policy

#: The domains of the fields that are numbers.
CONFIG_DOMAINS: Mapping[str, Domain] = MappingProxyType(
    {
        "token_error": Domain(0, 0.99),
        "batch_error": Domain(0, 0.99),
        "imbalance_allowed": Domain(1, None),
        "error": Domain(0, 0.5, low_open=True),
        "harm_allowed": Domain(1, None),
        "kappa_tokens": Domain(0, TOKENS_MAX, unit="token"),
        "overlap": Domain(0, 1),
        "routers": Domain(1, REQUESTS_MAX, integer=True, unit="router"),
        "arrival_rate_per_s": Domain(0, 1e9, unit="request/s"),
        "max_batch": Domain(1, REQUESTS_MAX, integer=True, unit="request"),
        "kv_full_fraction": Domain(0, 1, low_open=True),
        "stall_grace_s": Domain(0, 1e9, unit="s"),
        "stall_slowdown": Domain(1, 1000),
    }
)
_MAY_BE_NONE = ("kappa_tokens", "arrival_rate_per_s")
_RATE = Domain(0, None, unit="token/request")


class DetectConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the detector is told; checked when it is made.

    Args:
        policy: the rule that decides, ``NAME[:knob=value,...]`` as :func:`scheduler.policy` reads it.
        token_error, batch_error: how far off the P-tokens and the batch sizes may be, as a share; together they give
            the factor below which two scores are not told apart (claim ``noise_margin``).
        imbalance_allowed: fluid imbalance, batch of a holder by batch of another instance, above which an uncovered
            class is a hot spot (claim ``hotspot_growth``); a class whose hit buys no more than that is none, because
            the leverage bounds the imbalance (claim ``leverage_bounds_imbalance``).
        error: chance of a false alarm that is left to one look at the traffic, for independent arrivals (claims
            ``alarm_window``, ``error_budget``).
        weight_range: ``(low, high)``, the weights in which an operator would set a line [token/request]; None: not
            asked. A choice is contested if a line takes another with each of them (claim ``agreement_interval``).
        harm_allowed: from this multiple of the least added delay on a choice is unsafe (claims ``marginal_delay``,
            ``product_is_marginal_delay_plus_cross_term``).
        kappa_tokens: decode offset [token]; None derives it where step times and the expected output are known and
            the same for all instances (claim ``decode_offset``).
        overlap: share of the decode steps that another request shares, for a derived kappa: 1/2 for outputs as long
            and anywhere in progress (claim ``decode_offset``).
        routers: how many routers send requests to these instances, this one counted [router].
        arrival_rate_per_s: requests that reach one router [request/s], or None; with ``routers`` it bounds what others
            have sent unseen (claim ``herding_on_stale_state``).
        max_batch: requests that an engine runs at once [request]; a full one lets further requests wait, which breaks
            the premise of ``marginal_delay`` that only prefill is waited for.
        kv_full_fraction: share of the KV capacity from which an instance counts as full; it then pushes requests out
            and computes them again, which no rule here prices.
        stall_grace_s: silence beyond what prefill explains from which an instance with waiting requests counts as
            stalled [s]; a step takes well below a second, network and scheduling a few.
        stall_slowdown: how many times ``tau`` a token of prefill may take beside others and in a long prompt, whose
            attention grows with its square; 3.1 was the most in simulations of prompts of up to 128 Ki tokens (claim
            ``marginal_delay``, its overhead of chunked prefill).

    Raises:
        BadInput: naming the field, the value and the domain, or the rule or knob that is unknown.

    Example:
        >>> DetectConfig(policy="lmetric_paper").harm_allowed
        2.0
    """

    policy: str = "lmetric"
    token_error: float = 0.05
    batch_error: float = 0.05
    imbalance_allowed: float = 1.25
    error: float = 0.01
    weight_range: tuple[float, float] | None = None
    harm_allowed: float = 2.0
    kappa_tokens: float | None = None
    overlap: float = 0.5
    routers: int = 1
    arrival_rate_per_s: float | None = None
    max_batch: int = 256
    kv_full_fraction: float = 0.95
    stall_grace_s: float = 10.0
    stall_slowdown: float = 4.0

    def __post_init__(self) -> None:
        if not isinstance(self.policy, str):
            raise BadInput("config.policy", self.policy, "the name of a policy")
        read_policy(self.policy)
        for name, domain in CONFIG_DOMAINS.items():
            value = getattr(self, name)
            if value is not None or name not in _MAY_BE_NONE:
                domain.check(f"config.{name}", value)
        if self.weight_range is not None:
            _check_range(self.weight_range)


def _check_range(value: Any) -> None:
    """A pair of weights in order."""
    if not isinstance(value, tuple) or len(value) != 2:
        raise BadInput("config.weight_range", value, "a tuple (low, high) of two weights [token/request]")
    low, high = (_RATE.check("config.weight_range", end) for end in value)
    if low > high:
        raise BadInput("config.weight_range", value, "low <= high")
