"""Step time of one instance, as rules may use it.

``step = base + prefill_s_per_token * prefill + decode_s_per_request * batch + kv_s_per_token * KV``, the linear form
``a + b prefill + c batch + d KV``. ``replay.sim.cost_model`` provides it from physics and ``argprod calibrate``
from measurement; a rule gets it as an argument or through the columns of a state, never by importing a model.
"""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.domains import Domain

_SECONDS = Domain(0, None, unit="s", typical_high=1.0)


@dataclass(frozen=True, slots=True)
class StepTime:
    """Linear step time of one instance.

    Args:
        base_s: time of a step with nothing in it: weights read once, launch overhead [s].
        prefill_s_per_token: added per prefill token, tau [s/token].
        decode_s_per_request: added per decoding request, gamma [s/request].
        kv_s_per_token: added per KV token read by decoding requests [s/token].
        attention_s_per_pair: added per pair of a prefill token and a token it attends to [s]; 0 leaves the linear form.

    Example:
        >>> StepTime(0.005, 1e-4, 2e-5, 1e-8).step_s(prefill_tokens=100, batch=10, kv_tokens=1000)
        0.01521
    """

    base_s: float
    prefill_s_per_token: float
    decode_s_per_request: float
    kv_s_per_token: float
    attention_s_per_pair: float = 0.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            _SECONDS.check(name, getattr(self, name))

    def step_s(self, *, prefill_tokens: int = 0, batch: int = 0, kv_tokens: int = 0, pairs: int = 0) -> float:
        """Duration of one step [s]."""
        return (
            self.base_s
            + self.prefill_s_per_token * prefill_tokens
            + self.decode_s_per_request * batch
            + self.kv_s_per_token * kv_tokens
            + self.attention_s_per_pair * pairs
        )

    def scaled(self, factor: float) -> StepTime:
        """The same engine, every step ``factor`` times as long (a slower or faster instance)."""
        return StepTime(*(getattr(self, name) * factor for name in self.__slots__))
