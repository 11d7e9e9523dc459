"""Integer time. The simulator counts picoseconds in Python integers.

With integers the closed form of k steps equals the sum of the k steps exactly, so the event-skipping engine and the
step-by-step reference give the same timeline to the last digit, and a run is bit-reproducible on every platform.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

from scheduler.cost import StepTime

#: Picoseconds in a second.
TICKS_PER_S = 10**12


def to_ticks(seconds: float) -> int:
    """Seconds to the nearest tick."""
    return round(seconds * TICKS_PER_S)


def to_seconds(ticks: int) -> float:
    """Ticks to seconds."""
    return ticks / TICKS_PER_S


@dataclass(frozen=True, slots=True)
class StepTicks:
    """:class:`scheduler.cost.StepTime` in ticks: every coefficient a whole number."""

    base: int
    prefill: int
    decode: int
    kv: int
    attention: int

    @classmethod
    def of(cls, step_time: StepTime) -> StepTicks:
        """Round every coefficient to whole ticks; a step never takes less than one tick."""
        return cls(
            base=max(1, to_ticks(step_time.base_s)),
            prefill=to_ticks(step_time.prefill_s_per_token),
            decode=to_ticks(step_time.decode_s_per_request),
            kv=to_ticks(step_time.kv_s_per_token),
            attention=to_ticks(step_time.attention_s_per_pair),
        )

    def step(self, prefill_tokens: int, batch: int, kv_tokens: int, pairs: int) -> int:
        """Duration of one step [tick]."""
        return (
            self.base
            + self.prefill * prefill_tokens
            + self.decode * batch
            + self.kv * kv_tokens
            + self.attention * pairs
        )

    def decode_steps(self, count: int, batch: int, kv_tokens: int) -> int:
        """Duration of ``count`` decode steps of a constant batch whose KV grows by ``batch`` a step [tick].

        ``sum over s < k of (base + decode B + kv (K + s B))``.
        """
        first = self.base + self.decode * batch + self.kv * kv_tokens
        return count * first + self.kv * batch * (count * (count - 1) // 2)

    def chunk_steps(self, count: int, prefill_tokens: int, batch: int, kv_tokens: int, pairs: int) -> int:
        """Duration of ``count`` steps with equal chunks of one prompt and a constant decode batch [tick].

        From step to step the KV length grows by ``batch`` and every chunk attends to one chunk more.
        """
        first = self.step(prefill_tokens, batch, kv_tokens, pairs)
        if count == 1:
            return first
        growth = self.kv * batch + self.attention * prefill_tokens * prefill_tokens
        return count * first + growth * (count * (count - 1) // 2)

    def steps_beyond(self, elapsed: int, batch: int, kv_tokens: int) -> int:
        """The least k >= 1 for which k decode steps last longer than ``elapsed`` [tick].

        Solves the quadratic in integers, so it is exact for any length.
        """
        first = self.base + self.decode * batch + self.kv * kv_tokens
        growth = self.kv * batch
        if growth == 0:
            return elapsed // first + 1
        # k first + growth k (k - 1) / 2 > elapsed: start at the integer root, then settle the rounding.
        linear = 2 * first - growth
        count = max(1, (isqrt(linear * linear + 8 * growth * max(elapsed, 0)) - linear) // (2 * growth))
        while self.decode_steps(count, batch, kv_tokens) <= elapsed:
            count += 1
        while count > 1 and self.decode_steps(count - 1, batch, kv_tokens) > elapsed:
            count -= 1
        return count
