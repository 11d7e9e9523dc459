"""Settings of a router beyond its rule."""

from __future__ import annotations

from typing import Literal

import msgspec

from scheduler.detect_config import DetectConfig
from scheduler.domains import TOKENS_MAX, Domain
from scheduler.errors import BadInput
from scheduler.monitor import MonitorConfig

_SECONDS = Domain(0, 1e9, unit="s", low_open=True)
_BLOCKS = Domain(0, TOKENS_MAX, integer=True, unit="block")
_TOKENS = Domain(1, TOKENS_MAX, integer=True, unit="token")
_ENTRIES = Domain(0, 1_000_000, integer=True, unit="decision")


class RouterConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a :class:`scheduler.Router` beyond its rule; all have a default.

    Args:
        source: where the knowledge of caches comes from: ``history`` (what was routed where) or ``events`` (what
            engines say they store and evict).
        capacity_blocks: KV blocks that an instance holds, for ``history``: beyond it the least recently used are
            believed gone [block]. None for no bound: then memory grows with every new prompt. The default is a
            guess for blocks of 16 tokens (Qwen2-7B on an H20: 80,860, ``docs/sources.md``); give what yours holds.
        ttl_s: for ``history``: blocks not used for so long are believed gone; None for never [s].
        kv_tokens: KV capacity of an instance, for the column ``kv_used_fraction``; None if not known [token].
        lost_after_s: a request of which nothing was heard for so long is given up; None for never [s]. It must exceed
            the longest reply: with the default a stream that says nothing for an hour has lost its end.
        log_size: decisions kept in :attr:`scheduler.Router.log`.
        detect: thresholds of the detector; its ``policy`` is replaced by the router's.
        monitor: windows of the traffic monitor.

    Example:
        >>> RouterConfig(source="events", kv_tokens=1_000_000).checked().lost_after_s
        3600.0
    """

    source: Literal["history", "events"] = "history"
    capacity_blocks: int | None = 100_000
    ttl_s: float | None = None
    kv_tokens: int | None = None
    lost_after_s: float | None = 3600.0
    log_size: int = 1000
    detect: DetectConfig = DetectConfig()
    monitor: MonitorConfig = MonitorConfig()

    def checked(self) -> RouterConfig:
        """Return the settings themselves if each lies in its domain.

        Raises:
            BadInput: naming the field, the value and the domain.
        """
        if self.source not in ("history", "events"):
            raise BadInput("source", self.source, "history or events")
        for name, domain in (("capacity_blocks", _BLOCKS), ("ttl_s", _SECONDS), ("kv_tokens", _TOKENS)):
            value = getattr(self, name)
            if value is not None:
                domain.check(name, value)
        if self.lost_after_s is not None:
            _SECONDS.check("lost_after_s", self.lost_after_s)
        _ENTRIES.check("log_size", self.log_size)
        if self.source == "events" and self.ttl_s is not None:
            raise BadInput("ttl_s", self.ttl_s, "nothing, because engines say what they evict")
        if not isinstance(self.detect, DetectConfig):
            raise BadInput("detect", self.detect, "a DetectConfig")
        if not isinstance(self.monitor, MonitorConfig):
            raise BadInput("monitor", self.monitor, "a MonitorConfig")
        return self
