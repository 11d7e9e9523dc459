"""The detector of one configuration: sanity, one pass, and only then the clear code that explains.

Three steps, so that a calm state costs little: (1) are the numbers sane (``scheduler/sane.py``); (2) one pass that
reduces the instances to a few numbers (``scheduler/screening.py``); (3) only where these say that there may be
something, the clear code that explains it (``scheduler/findings/``).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from scheduler import formulas
from scheduler.detect_config import DetectConfig
from scheduler.errors import BadInput
from scheduler.finding import NOTHING_FOUND, Choice, Detection, Finding, Kind, Severity
from scheduler.findings import inconsistent
from scheduler.findings.age import stale, stalled
from scheduler.findings.capacity import saturated, unequal_speeds
from scheduler.findings.collapse import collapses
from scheduler.findings.contested import bounded_by_noise, contested_by_noise, contested_by_weight
from scheduler.findings.harm import leverages, queue_cross_terms
from scheduler.findings.hot_spots import hot_spots
from scheduler.findings.scene import Scene
from scheduler.findings.starvation import starvation
from scheduler.indicators import NOTHING
from scheduler.policies.catalogue import policy as read_policy
from scheduler.policies.choosing import require
from scheduler.policies.compiled import compile_keys, source_of
from scheduler.policies.product import LMETRIC
from scheduler.policies.rotation import RANDOM
from scheduler.sane import sane_request, sane_state
from scheduler.screening import (
    ARRAYS_FROM,
    FULL_PRODUCTS,
    PRODUCTS,
    Columns,
    Screen,
    array_reader,
    list_reader,
    screen,
)
from scheduler.traffic import ClassTraffic

#: What finds: it is asked only where the one pass says that there may be something.
Family = Callable[[Scene], Iterable[Finding]]


class _Draws(Exception):
    """The rule wants to draw."""


class _NoDraws(random.Random):
    """Stands for randomness: what a draw would say cannot be told beforehand."""

    def random(self) -> float:
        raise _Draws


_NO_DRAWS = _NoDraws(0)
_SEVERITIES = tuple(reversed(Severity))
_KINDS = tuple(Kind)
_DEFAULT = DetectConfig()


class Detector:
    """The detector for one configuration, compiled once; :func:`detect` keeps one a configuration.

    Args:
        config: the rule in use and the thresholds.

    Example:
        >>> from scheduler.state import ClusterState, Request
        >>> state = ClusterState(ids=("A", "B"), running=(16, 0), waiting=(0, 0), queued_prefill_tokens=(0, 0),
        ...                      hit_tokens=(160, 0))
        >>> detector = Detector(DetectConfig(policy="lmetric_paper"))
        >>> found = detector.look(state, Request(id=0, arrival_s=0, prompt_tokens=160))
        >>> found.safe, found.choice
        (True, Choice(instance='A', score=0, margin=None))
    """

    def __init__(self, config: DetectConfig = _DEFAULT) -> None:
        self.config = config
        self.policy = read_policy(config.policy)
        self._factor = formulas.noise_factor(config.token_error, config.batch_error)
        self._bounded_by_noise = bounded_by_noise(self.policy)
        self._full_product = self.policy.rule.name in FULL_PRODUCTS
        self._product = self.policy.rule.name in PRODUCTS
        self._follows_cache = "view.hit_tokens" in source_of(self.policy)
        self._filtered = self.policy.rule.eligible is not None
        # To the rule ``random`` all instances are alike: which is first says nothing of what it takes.
        self._draws = self.policy.samples or self.policy.rule is RANDOM
        self._keys = compile_keys(self.policy)
        self._by_lists, self._by_arrays = list_reader(self.policy), array_reader(self.policy)

    def columns(self, view: Any, prompt_tokens: int) -> Columns:
        """The one pass over the instances, keys of product rules among its columns."""
        read = self._by_arrays if len(view.ids) >= ARRAYS_FROM else self._by_lists
        return read(view, prompt_tokens)

    def look(
        self,
        view: Any,
        request: Any = None,
        traffic: Sequence[ClassTraffic] = (),
        *,
        expected_output_tokens: float | None = None,
        keys: Any = None,
        columns: Columns | None = None,
        trusted: bool = False,
    ) -> Detection:
        """The same as :func:`detect`, for the hot path of a router.

        Args:
            view: a state, or anything with its columns as lists or tuples, ``ids`` and ``now_s``.
            request: the request at hand, or None.
            traffic: what is known of the prefix classes.
            expected_output_tokens: what to believe of its output length [token]; None for what the request says.
            keys: the rule's keys of all instances as the compiled rule gives them, if they are known already.
            columns: what :meth:`columns` gave for this view and request, if it was asked already.
            trusted: True if the view's numbers are the caller's own and need no check.
        """
        try:
            if not trusted:
                view, faults = self._checked(view, request, traffic, expected_output_tokens)
                if faults:
                    return _detection(faults, None)
            return self._look(view, request, traffic, expected_output_tokens, keys, columns)
        except BadInput as fault:
            return _detection([inconsistent.insane(fault.field, fault.value, fault.expected)], None)
        except Exception as fault:  # noqa: BLE001 - total: what an object of somebody else raises is a finding
            return _detection([inconsistent.unreadable(fault)], None)

    def _checked(
        self, state: Any, request: Any, traffic: Any, expected_output_tokens: Any
    ) -> tuple[Any, list[Finding]]:
        """The state as plain numbers, and what is wrong with state, request and traffic."""
        faults: list[Finding] = []
        view = sane_state(state)
        if view is None:
            view, faults = inconsistent.checked_state(state)
        if request is not None and (expected_output_tokens is not None or not sane_request(request)):
            faults += inconsistent.request_faults(request, expected_output_tokens)
        if traffic != ():
            count = len(view.ids) if view is not None else 2**20
            faults += inconsistent.traffic_faults(traffic, count)
        return view, faults

    def _look(
        self,
        view: Any,
        request: Any,
        traffic: Sequence[ClassTraffic],
        expected_output_tokens: Any,
        keys: Any,
        columns: Columns | None,
    ) -> Detection:
        if request is None:
            families = self._families(view, traffic, max(view.running))
            scene = Scene(self.config, self.policy, self._factor, view, traffic)
            return _detection([found for family in families for found in family(scene)], None)
        if expected_output_tokens is None:
            expected_output_tokens = request.expected_output_tokens
        if columns is None:
            columns = self.columns(view, request.prompt_tokens)
        if columns.most_hit > request.prompt_tokens:
            return _detection(inconsistent.hit_faults(view, request.prompt_tokens), None)
        if self._draws:
            keys = None
        elif keys is None:
            keys = columns.keys if self._product else self.rule_keys(view, request, expected_output_tokens)
        told = choice = kappa = None
        families = self._families(view, traffic, columns.most_running)
        if keys is not None:
            told = screen(columns, keys)
            choice = self._choice(view, told, keys)
            kappa = self._kappa(view, told, expected_output_tokens)
            families += self._families_of_choice(view, told, kappa)
        if not families:
            return Detection(safe=True, findings=(), choice=choice)
        scene = Scene(
            self.config,
            self.policy,
            self._factor,
            view,
            traffic,
            request,
            columns,
            told,
            () if keys is None else keys,
            kappa,
        )
        return _detection([found for family in families for found in family(scene)], choice)

    def rule_keys(self, view: Any, request: Any, expected_output_tokens: float | None = None) -> Any:
        """The rule's keys of all instances; None if it draws before it scores.

        A rule with a memory is asked as if nothing had happened yet; who knows better gives the keys to :meth:`look`.

        Raises:
            BadInput: if the view lacks a column that the rule reads.
        """
        if expected_output_tokens is None:
            expected_output_tokens = request.expected_output_tokens
        require(self.policy, view, expected_output_tokens)
        recalled: Any = NOTHING
        memory = self.policy.rule.memory
        if memory is not None:
            knobs = self.policy.knobs
            try:
                start = memory.start(len(view.ids), knobs)
                recalled = memory.recall(start, request, view, knobs, _NO_DRAWS)
            except _Draws:
                return None
        return self._keys(view, request.prompt_tokens, expected_output_tokens, request.block_tokens, recalled)

    def _choice(self, view: Any, told: Screen, keys: Any) -> Choice:
        score, runner = told.key, told.runner_key
        if self._filtered:  # keys are led by 0 for eligible and 1 for filtered out
            candidates = [key[1:] for i, key in enumerate(keys) if i != told.chosen and key[0] == score[0]]
            score, runner = score[1:], min(candidates, default=None)
            if len(score) == 1:
                score, runner = score[0], None if runner is None else runner[0]
        return Choice(instance=view.ids[told.chosen], score=score, margin=_margin(score, runner))

    def _families(self, view: Any, traffic: Sequence[ClassTraffic], most_running: int) -> list[Family]:
        """The families that need no choice of which the one pass says that they may find something."""
        families: list[Family] = []
        if traffic and self._follows_cache:
            families.append(hot_spots)
        used, updated_s = getattr(view, "kv_used_fraction", None), getattr(view, "updated_s", None)
        if most_running >= self.config.max_batch or (used is not None and max(used) >= self.config.kv_full_fraction):
            families.append(saturated)
        silent = updated_s is not None and view.now_s - min(updated_s) > self.config.stall_grace_s
        if silent and getattr(view, "prefill_s_per_token", None) is not None:
            families.append(stalled)
        return families

    def _families_of_choice(self, view: Any, told: Screen, kappa: float | None) -> list[Family]:
        """Those that are about the choice."""
        families: list[Family] = []
        key, runner, factor = told.key, told.runner_key, self._factor
        if self._bounded_by_noise and runner is not None and key > 0 and runner < factor * key:
            families.append(contested_by_noise)
        speeds = getattr(view, "prefill_s_per_token", None)
        even = speeds is None or _constant(speeds)
        if kappa is not None and even and told.batch > told.least_batch:
            families.append(leverages)
        if not self._product:
            return families
        if key == 0:
            families.append(collapses)
        if told.batch > 1 and told.least_batch == 1:
            families.append(starvation)
        if self._full_product:
            if not even:
                families.append(unequal_speeds)
            elif key > 0 and told.harm > factor * told.least_harm:
                families.append(queue_cross_terms)
            updated_s = getattr(view, "updated_s", None)
            unseen = self.config.routers > 1 and self.config.arrival_rate_per_s
            may_have_changed = unseen or (speeds is not None and any(view.queued_prefill_tokens))
            if updated_s is not None and may_have_changed and min(updated_s) < view.now_s:
                families.append(stale)
            if self.config.weight_range is not None and self.policy.rule is LMETRIC:
                families.append(contested_by_weight)
        return families

    def _kappa(self, view: Any, told: Screen, expected_output_tokens: float | None) -> float | None:
        """The decode offset, if it matters, and is told or can be derived and is one for all instances."""
        if self.config.kappa_tokens is not None or told.batch == told.least_batch:
            return self.config.kappa_tokens
        taus, gammas = getattr(view, "prefill_s_per_token", None), getattr(view, "decode_s_per_request", None)
        if taus is None or gammas is None or expected_output_tokens is None:
            return None
        if not (_constant(taus) and _constant(gammas)):
            return None
        return float(formulas.kappa(taus[0], gammas[0], expected_output_tokens, self.config.overlap))


def _constant(column: Sequence[float]) -> bool:
    return column.count(column[0]) == len(column)


def _margin(score: Any, runner: Any) -> float | None:
    """Best other score over this one, less 1."""
    if runner is None or isinstance(score, tuple) or not score > 0:
        return None
    return float(runner / score - 1)


def _detection(findings: list[Finding], choice: Choice | None) -> Detection:
    """The answer, gravest first; a critical fault of the input never comes with a choice."""
    if not findings and choice is None:
        return NOTHING_FOUND
    if len(findings) > 1:
        findings.sort(key=_order)
    safe = not findings or findings[0].severity is Severity.INFO
    return Detection(safe=safe, findings=tuple(findings), choice=choice)


def _order(found: Finding) -> tuple[int, int]:
    return _SEVERITIES.index(found.severity), _KINDS.index(found.kind)
