"""The domain of each input, stated once.

A :class:`Domain` is an interval of integers or of real numbers. Four readers derive what they need from it, so that all
speak of the same inputs: the run-time check here, Hypothesis strategies (``scheduler.testing``), SymPy assumptions
(``theory.symbols``) and Z3 premises (``proofs.terms``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from numbers import Integral, Real
from types import MappingProxyType
from typing import Any

from scheduler.errors import BadInput

#: Far above any prompt or queue seen (128 Ki tokens, 256 requests). Products within them are exact in binary64 or, with
#: both counts at their limit, so far apart that their order is (claim ``float_product_choice_is_exact``).
TOKENS_MAX = 2**31
REQUESTS_MAX = 2**20

_PLAIN = (int, float, Fraction)


@dataclass(frozen=True, slots=True)
class Domain:
    """An interval of allowed values.

    Args:
        low: least value.
        high: greatest value, or None for no bound.
        integer: True if only whole numbers are allowed.
        unit: the unit, for messages and tables.
        low_open: True if ``low`` itself is excluded.
        typical_high: upper end used when examples are generated, so that they look like a cluster.

    Example:
        >>> Domain(0, None, integer=True, unit="token").describe()
        'an integer >= 0 [token]'
    """

    low: float
    high: float | None = None
    integer: bool = False
    unit: str = "1"
    low_open: bool = False
    typical_high: float = 64

    def describe(self) -> str:
        """The domain in words, as error messages use it."""
        kind = "an integer" if self.integer else "a finite number"
        bounds = f"{'>' if self.low_open else '>='} {self.low:g}"
        if self.high is not None:
            bounds += f" and <= {int(self.high) if self.integer else f'{self.high:.10g}'}"
        return f"{kind} {bounds} [{self.unit}]"

    def contains(self, value: Any) -> bool:
        """True if ``value`` is a number of this domain; booleans, NaN and infinities are not numbers here."""
        if isinstance(value, bool) or not isinstance(value, int | float | Fraction | Real):
            return False
        if not isinstance(value, int | Fraction) and not math.isfinite(value):
            return False
        if self.integer and value % 1 != 0:
            return False
        if value < self.low or (self.low_open and value == self.low):
            return False
        return self.high is None or value <= self.high

    def check(self, field: str, value: Any, hint: str = "") -> Any:
        """Return ``value`` if it lies in the domain; a number of another kind (NumPy) as the Python number it is.

        Raises:
            BadInput: naming the field, the value and the domain.
        """
        if not self.contains(value):
            raise BadInput(field, value, self.describe(), hint)
        if type(value) in _PLAIN:
            return value
        return int(value) if isinstance(value, Integral) else float(value)


def _count(unit: str = "request") -> Domain:
    return Domain(0, REQUESTS_MAX, integer=True, unit=unit, typical_high=64)


def _tokens(low: int = 0, typical_high: int = 20_000) -> Domain:
    return Domain(low, TOKENS_MAX, integer=True, unit="token", typical_high=typical_high)


#: What is known of one request.
REQUEST_DOMAINS: Mapping[str, Domain] = MappingProxyType(
    {
        "prompt_tokens": _tokens(1),
        "expected_output_tokens": Domain(0, TOKENS_MAX, unit="token", typical_high=2_000),
        "block_tokens": Domain(1, 65_536, integer=True, unit="token", typical_high=512),
    }
)

#: What is known of one instance. The order is that of :class:`scheduler.state.ClusterState`.
INSTANCE_DOMAINS: Mapping[str, Domain] = MappingProxyType(
    {
        "running": _count(),
        "waiting": _count(),
        "queued_prefill_tokens": _tokens(0, 40_000),
        "hit_tokens": _tokens(0),
        "context_tokens": _tokens(0, 400_000),
        "kv_used_fraction": Domain(0, 1, unit="1", typical_high=1),
        "active_blocks": Domain(0, TOKENS_MAX, integer=True, unit="block", typical_high=4_000),
        "added_blocks": Domain(0, TOKENS_MAX, integer=True, unit="block", typical_high=200),
        "prefill_s_per_token": Domain(0, None, unit="s/token", low_open=True, typical_high=0.001),
        "decode_s_per_request": Domain(0, None, unit="s/request", typical_high=0.001),
        "base_s": Domain(0, None, unit="s", typical_high=0.05),
        "kv_s_per_token": Domain(0, None, unit="s/token", typical_high=1e-6),
        "attention_s_per_pair": Domain(0, None, unit="s/token^2", typical_high=1e-7),
        "updated_s": Domain(0, None, unit="s", typical_high=3600),
    }
)

#: ``now_s`` and other times: up to thirty years.
TIME_DOMAIN = Domain(0, 1e9, unit="s", typical_high=3600)
