"""What a family of findings looks at: the state, the request, what one pass told, and the configuration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from scheduler import formulas
from scheduler.detect_config import DetectConfig
from scheduler.finding import Finding, Kind, Severity
from scheduler.ops import Number
from scheduler.policies.rule import Policy
from scheduler.screening import Columns, Screen
from scheduler.state import Request
from scheduler.traffic import ClassTraffic

#: So many ids are written out in a sentence.
_NAMED = 4


class Scene:
    """One look of the detector.

    Args:
        config: thresholds.
        policy: the rule that decides.
        factor: scores that differ by less are not told apart (claim ``noise_margin``).
        view: columns of the cluster, with ``ids`` and ``now_s``.
        traffic: what is known of the prefix classes.
        request: the request at hand, or None.
        columns, screen: what one pass told; None without a request, ``screen`` also where the rule draws.
        keys: of every instance, by the rule; empty where the rule draws.
        kappa: decode offset, None if unknown or not the same for all instances [token].
    """

    __slots__ = (
        "columns",
        "config",
        "factor",
        "group",
        "kappa",
        "keys",
        "policy",
        "prompt_tokens",
        "screen",
        "traffic",
        "view",
    )

    def __init__(
        self,
        config: DetectConfig,
        policy: Policy,
        factor: float,
        view: Any,
        traffic: Sequence[ClassTraffic],
        request: Request | None = None,
        columns: Columns | None = None,
        screen: Screen | None = None,
        keys: Sequence[Any] = (),
        kappa: float | None = None,
    ) -> None:
        self.config, self.policy, self.factor, self.view, self.traffic = config, policy, factor, view, traffic
        self.prompt_tokens = None if request is None else request.prompt_tokens
        self.group = "" if request is None else request.group
        self.columns, self.screen, self.keys, self.kappa = columns, screen, keys, kappa

    def seen(self) -> tuple[Screen, Columns]:
        """What one pass told; only for families that need a choice."""
        assert self.screen is not None
        assert self.columns is not None
        return self.screen, self.columns

    def new_tokens(self, index: int) -> int:
        """New prefill tokens n on an instance [token]."""
        assert self.columns is not None
        return int(self.columns.news[index])

    def tokens(self, index: int) -> int:
        """P-token of an instance [token]."""
        return int(self.view.queued_prefill_tokens[index]) + self.new_tokens(index)

    def batch(self, index: int) -> int:
        """Batch size of an instance [request]."""
        assert self.columns is not None
        return int(self.columns.batches[index])

    def product(self, index: int) -> int:
        """The product with floor, queue and the request itself counted [token request]."""
        return self.tokens(index) * self.batch(index)

    def harm(self, index: int, offset: Number = 0) -> Number:
        """Delay that the request adds on an instance [token]."""
        queued, new_tokens = int(self.view.queued_prefill_tokens[index]), self.new_tokens(index)
        return formulas.marginal_delay(queued, new_tokens, self.batch(index), offset)

    def names(self, indices: Iterable[int]) -> tuple[str, ...]:
        """Ids of instances."""
        ids = self.view.ids
        return tuple([ids[index] for index in indices])

    def least_of(self, values: Sequence[Number]) -> int:
        """Index of the least value, the first of equals."""
        return min(range(len(values)), key=values.__getitem__)


def finding(
    kind: Kind,
    severity: Severity,
    instances: tuple[str, ...],
    explanation: str,
    advice: str,
    claim: str,
    **evidence: Any,
) -> Finding:
    """A finding with its evidence by name."""
    return Finding(
        kind=kind,
        severity=severity,
        instances=instances,
        evidence=evidence,
        explanation=explanation,
        claim=claim,
        advice=advice,
    )


def counted(count: int, noun: str) -> str:
    """A count with its noun, which takes an s unless it is one.

    Example:
        >>> counted(1, "resident"), counted(2, "resident")
        ('1 resident', '2 residents')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def listed(names: Sequence[str]) -> str:
    """Ids for a sentence; of many the first few and how many more.

    Example:
        >>> listed(["a", "b"]), listed([f"i{n}" for n in range(9)])
        ('a, b', 'i0, i1, i2, i3 and 5 more')
    """
    shown = ", ".join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"
