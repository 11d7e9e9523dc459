"""What to do about a finding before the request is sent: other candidates, their scores, and what it costs.

A mitigation changes one decision and says what that costs now: the prefill tokens beyond those that the rule's own
choice would compute. Modes:

- ``filter``: the paper's. A confirmed hot class goes to the least batch among the instances that do not hold its
  prefix, but only while that does not raise the largest batch (claim ``filter_mitigation``).
- ``replicate``: a confirmed hot class gets the copies that the coverage law asks for (claim ``replicate_to_coverage``)
  with what else its holders serve counted (``coverage_law_many_classes``), least batch first; a request that the rule
  itself sends outside is left alone, for that is a copy, too.
- ``offset``: the rule of least harm with decode counted, whatever the detector says (claim ``decode_offset``).
- ``probe_cold``: a starved instance gets its fair share of the requests (claim ``cold_instance_starvation``).
- ``auto``: a collapsed score is computed anew with a floor of one token, silent instances are passed over, hot classes
  are replicated, instances that starve by more than chance are probed. Hot spots and starvation are diseases of rules
  that follow the cache, so for others these two are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

from scheduler.errors import shown, unknown_name
from scheduler.finding import Detection, Finding, Kind, Severity
from scheduler.policies import delay, product
from scheduler.policies.catalogue import policy as read_policy
from scheduler.policies.rule import Pick
from scheduler.remedies import (
    Mitigation,
    Situation,
    by_avoiding,
    by_copies,
    by_filter,
    by_floor,
    by_least_load,
    by_offset,
    by_probe,
)
from scheduler.state import Request

#: Rules whose hits can buy a batch imbalance: those that the modes about hot spots and starvation are for.
FOLLOWS_CACHE = frozenset(rule.name for rule in (*product.RULES, *delay.RULES))

#: Standard errors by which the rule's choice must have got more of the last dispatches than a starved instance, before
#: ``auto`` pays a prefill to change that. At 0 it pays for twice the probes, and their second half buys little: the
#: design note on mitigation has the prices.
PROBE_ERRORS = 2.0


class Mode(Enum):
    """What the router may do about findings; see the head of this file."""

    NONE = "none"
    FILTER = "filter"
    REPLICATE = "replicate"
    OFFSET = "offset"
    PROBE_COLD = "probe_cold"
    AUTO = "auto"


def read_mode(text: Any) -> Mode:
    """The mode by name.

    Raises:
        BadInput: with the nearest names.

    Example:
        >>> read_mode("replicate")
        <Mode.REPLICATE: 'replicate'>
    """
    names = [mode.value for mode in Mode]
    if not isinstance(text, str) or text not in names:
        raise unknown_name("mitigation", text if isinstance(text, str) else shown(text), names)
    return Mode(text)


def confirmed_hot_spot(detection: Detection) -> Finding | None:
    """The hot spot that the request at hand belongs to, if it is confirmed or nobody counts confirmations."""
    for finding in detection.findings:
        if finding.kind is not Kind.HOT_SPOT or not finding.evidence.get("applies", True):
            continue
        unknown = finding.evidence.get("streak") is None and finding.severity is not Severity.INFO
        if finding.severity is Severity.CRITICAL or unknown:
            return finding
    return None


def mitigate(
    state: Any,
    request: Request,
    detection: Detection,
    *,
    mode: Mode = Mode.AUTO,
    policy: str = "lmetric",
    chosen: int | None = None,
    keys: Sequence[Any] = (),
    expected_output_tokens: float | None = None,
    kappa_tokens: float | None = None,
    recent: Sequence[int] | None = None,
) -> Mitigation:
    """What to do about the findings: where the request goes, from which candidates, at what price.

    Args:
        state: what is known of the cluster: a :class:`scheduler.state.ClusterState` or a view with its columns.
        request: the request at hand.
        detection: what :func:`scheduler.detect` said of the two.
        mode: what may be done.
        policy: the rule, as the detection was told.
        chosen: index that the rule takes; None for the choice in the detection.
        keys: the rule's key of every instance, if known: ``avoid`` and ``none`` go by them.
        expected_output_tokens: what to believe of the output length; None for what the request says [token].
        kappa_tokens: decode offset; None derives it from step times and expected output [token].
        recent: of the last dispatches, how many went to each instance; None if nobody counted.

    Example (all traffic is of one class that one of three instances holds):
        >>> import scheduler
        >>> from scheduler.detection import detect
        >>> state = scheduler.ClusterState(ids=("a", "b", "c"), running=(8, 0, 0), waiting=(0, 0, 0),
        ...                                queued_prefill_tokens=(0, 0, 0), hit_tokens=(1024, 0, 0))
        >>> request = scheduler.Request(id=0, arrival_s=0.0, prompt_tokens=1088, group="hot")
        >>> traffic = (scheduler.ClassTraffic(name="hot", share=1.0, window_requests=100, holders=(0,)),)
        >>> found = mitigate(state, request, detect(state, request, traffic=traffic))
        >>> found.kind, found.instance, found.candidates, found.price_tokens
        ('replicate', 1, (1, 2), 1024)

    Raises:
        BadInput: if there is no instance to choose from.

    Source: claims ``filter_mitigation``, ``replicate_to_coverage``, ``decode_offset``, ``cold_instance_starvation``.
    """
    if chosen is None and detection.choice is not None:
        chosen = list(state.ids).index(detection.choice.instance)
    silent = detection.found(Kind.PROGRESS_STALLED)
    banned = () if silent is None else silent.instances
    if chosen is None:
        return by_least_load(state, banned)
    expected = request.expected_output_tokens if expected_output_tokens is None else expected_output_tokens
    case = Situation(state, request, chosen, keys, expected, banned if mode is Mode.AUTO else ())
    if mode is Mode.NONE:
        return case.unchanged("mitigation is switched off")
    if mode is Mode.OFFSET:
        return by_offset(case, kappa_tokens)
    hot, starved = confirmed_hot_spot(detection), detection.found(Kind.COLD_INSTANCE_STARVATION)
    if mode in (Mode.FILTER, Mode.REPLICATE):
        remedy = by_filter if mode is Mode.FILTER else by_copies
        return case.unchanged("no hot spot is confirmed") if hot is None else remedy(case, hot)
    if mode is Mode.PROBE_COLD:
        return case.unchanged("nobody starves") if starved is None else by_probe(case, starved, recent)
    return _automatic(case, detection, policy, hot, starved, recent)


def _automatic(
    case: Situation,
    detection: Detection,
    policy: str,
    hot: Finding | None,
    starved: Finding | None,
    recent: Sequence[int] | None,
) -> Mitigation:
    """The first remedy that changes something, the gravest trouble first."""
    if case.banned:
        found = by_avoiding(case, read_policy(policy).pick is Pick.WEIGHTED)
        if found.kind != "none":
            return found
    for collapse in (Kind.ZERO_COLLAPSE, Kind.IDLE_COLLAPSE):
        if detection.found(collapse) is not None:
            return by_floor(case)
    if read_policy(policy).rule.name not in FOLLOWS_CACHE:
        return case.unchanged("the rule does not follow the cache: nothing to mitigate")
    if hot is not None:
        found = by_copies(case, hot)
        if found.kind != "none":
            return found
    if starved is not None and starved.severity is not Severity.INFO:
        return by_probe(case, starved, recent, PROBE_ERRORS)
    return case.unchanged("nothing to mitigate" if detection.safe else "no finding that `auto` acts on is confirmed")
