"""``detect``: what is, or may be, wrong with a routing decision, before it is made.

The work is that of :class:`~scheduler.detector.Detector`; here it is a pure function, one detector a configuration.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from scheduler.detect_config import DetectConfig
from scheduler.detector import Detector
from scheduler.errors import BadInput
from scheduler.finding import Detection
from scheduler.traffic import ClassTraffic

__all__ = ["Detector", "detect"]

_DEFAULT = DetectConfig()


def detect(
    state: Any,
    request: Any = None,
    *,
    traffic: Sequence[ClassTraffic] | None = None,
    config: DetectConfig | None = None,
) -> Detection:
    """Look at a state before a request is routed in it.

    Pure and total: whatever it is given as state, request and traffic, it answers; what cannot be is a critical finding
    ``inconsistent_input``, and then there is no choice. Without a request only what needs none is found.

    Args:
        state: a :class:`scheduler.ClusterState`; ``hit_tokens`` are those of the request.
        request: the :class:`scheduler.Request` at hand, or None.
        traffic: what is known of the prefix classes; ``holders`` are indices into the state.
        config: the rule in use and the thresholds; None for the defaults.

    Returns:
        Findings, the gravest first, and what the rule takes; ``safe`` if nothing is above ``INFO``.

    Raises:
        BadInput: only for a bad ``config``.

    Example (half of all requests share a prefix that one of four instances holds):
        >>> from scheduler.state import ClusterState, Request
        >>> state = ClusterState(ids=("a", "b", "c", "d"), running=(6, 1, 1, 1), waiting=(0,) * 4,
        ...                      queued_prefill_tokens=(0,) * 4, hit_tokens=(1024, 0, 0, 0))
        >>> hot = ClassTraffic(name="system prompt", share=0.5, window_requests=200, holders=(0,), applies=True)
        >>> found = detect(state, Request(id=0, arrival_s=0.0, prompt_tokens=1088), traffic=[hot])
        >>> worst = found.findings[0]
        >>> found.safe, found.choice.instance, worst.kind.value, worst.evidence["copies_missing"]
        (False, 'a', 'hot_spot', 1)
    """
    return _detector(_DEFAULT if config is None else config).look(state, request, () if traffic is None else traffic)


@functools.lru_cache(maxsize=64)
def _cached(config: DetectConfig) -> Detector:
    return Detector(config)


def _detector(config: DetectConfig) -> Detector:
    if not isinstance(config, DetectConfig):
        raise BadInput("config", config, "a DetectConfig")
    return _cached(config)
