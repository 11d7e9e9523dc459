"""The remedies: each takes a situation and gives a :class:`Mitigation`. Which one is used, ``mitigation`` decides.

A remedy changes one decision. It never empties the set of candidates, it takes no instance that another candidate
dominates (but where only counts of requests can be trusted), and it says what it costs now.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from scheduler import formulas
from scheduler.domains import INSTANCE_DOMAINS
from scheduler.errors import BadInput
from scheduler.finding import Finding
from scheduler.indicators import batch_size, new_prefill_tokens, p_token
from scheduler.ops import SCALAR
from scheduler.policies.catalogue import policy as read_policy
from scheduler.policies.compiled import compile_keys
from scheduler.state import Request

_COUNT = INSTANCE_DOMAINS["running"]


class Mitigation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What was done about one decision.

    Args:
        kind: ``none``, ``filter``, ``replicate``, ``offset``, ``probe_cold``, ``floor`` (a collapsed score computed
            anew), ``avoid`` (silent instances passed over) or ``least_load`` (nothing else can be trusted).
        instance: index that the request goes to.
        candidates: indices it was chosen from; never empty.
        scores: keys that the choice minimises among the candidates, one an instance; empty if nothing is changed and
            nobody told the rule's.
        price_tokens: prefill tokens beyond those of the rule's choice; less than 0 if it saves some [token].
        reason: one sentence.
    """

    kind: str
    instance: int
    candidates: tuple[int, ...]
    scores: tuple[Any, ...]
    price_tokens: int
    reason: str


class Situation:
    """The state as a mitigation looks at it: indicators of every instance, computed when first asked for.

    Args:
        state: columns of the cluster, a :class:`scheduler.state.ClusterState` or a view of the same names.
        request: the request at hand.
        chosen: index that the rule takes.
        keys: the rule's key of every instance.
        expected_output_tokens: what to believe of its output length [token].
        banned: ids of instances that no remedy may take.
    """

    def __init__(
        self,
        state: Any,
        request: Request,
        chosen: int,
        keys: Sequence[Any] = (),
        expected_output_tokens: float | None = None,
        banned: Sequence[str] = (),
    ) -> None:
        self.state, self.request, self.chosen, self.keys = state, request, chosen, tuple(keys)
        self.expected_output_tokens = expected_output_tokens
        self.count = len(state.ids)
        self.banned = frozenset(self.positions(banned))

    def without(self, positions: Sequence[int] = ()) -> list[int]:
        """All instances but these and the banned ones."""
        left_out = self.banned.union(positions)
        return [i for i in range(self.count) if i not in left_out]

    def batches(self) -> list[int]:
        """Batch size of every instance, the request counted."""
        return list(map(batch_size, self.state.running, self.state.waiting))

    def new_tokens(self) -> list[int]:
        """Prefill tokens of the request on every instance."""
        prompt = self.request.prompt_tokens
        return [new_prefill_tokens(SCALAR, prompt, hit) for hit in self.state.hit_tokens]

    def loads(self) -> list[tuple[int, int]]:
        """(batch size, P-token) of every instance: compared in this order, the least is never dominated."""
        tokens = map(p_token, self.state.queued_prefill_tokens, self.new_tokens())
        return list(zip(self.batches(), tokens, strict=True))

    def positions(self, ids: Sequence[str]) -> list[int]:
        """Where these instances stand."""
        places = {name: index for index, name in enumerate(self.state.ids)}
        return [places[name] for name in ids if name in places]

    def settle(self, kind: str, candidates: Sequence[int], scores: Sequence[Any], reason: str) -> Mitigation:
        """Take the least score among the candidates, the rule's own choice among equals, else the first."""
        assert candidates, "a mitigation must leave a candidate"
        least = min(scores[i] for i in candidates)
        best = [i for i in candidates if scores[i] == least]
        taken = self.chosen if self.chosen in best else best[0]
        price = 0
        if self.chosen != taken:
            tokens = self.new_tokens()
            price = tokens[taken] - tokens[self.chosen]
        return Mitigation(
            kind=kind,
            instance=taken,
            candidates=tuple(candidates),
            scores=tuple(scores),
            price_tokens=price,
            reason=reason,
        )

    def unchanged(self, reason: str) -> Mitigation:
        """Leave the rule's choice as it is."""
        return Mitigation(
            kind="none",
            instance=self.chosen,
            candidates=tuple(range(self.count)),
            scores=self.keys,
            price_tokens=0,
            reason=reason,
        )


def by_filter(case: Situation, hot: Finding) -> Mitigation:
    """Least batch among non-holders, while that does not raise the largest batch."""
    holders = case.positions(hot.instances)
    outside = case.without(holders)
    loads = case.loads()
    if not outside:
        return case.unchanged("every instance holds the prefix")
    least, peak = min(loads[i][0] for i in outside), max(loads)[0]
    if not formulas.keeps_the_peak(least, peak):
        return case.unchanged("every instance without the prefix is as full as the fullest")
    return case.settle("filter", outside, loads, f"hot class on {len(holders)} of {case.count} instances: goes outside")


def by_copies(case: Situation, hot: Finding) -> Mitigation:
    """One more copy while coverage asks for it, counted with what else the holders serve; least batch outside."""
    holders = case.positions(hot.instances)
    missing = int(hot.evidence.get("copies_asked", 0))
    if missing <= 0:
        return case.unchanged("the class has all the copies that its share asks for")
    if case.chosen not in holders:
        return case.unchanged("the rule makes a copy by itself")
    outside = case.without(holders)
    loads = case.loads()
    if not outside or not formulas.keeps_the_peak(min(loads[i][0] for i in outside), max(loads)[0]):
        return case.unchanged("every instance without the prefix is as full as the fullest")
    reason = f"hot class on {len(holders)} of {case.count} instances: {missing} copies missing"
    return case.settle("replicate", outside, loads, reason)


def by_offset(case: Situation, kappa_tokens: float | None = None) -> Mitigation:
    """Least harm with decode counted."""
    text = "marginal_delay_offset" if kappa_tokens is None else f"marginal_delay_offset:kappa={kappa_tokens}"
    known = case.expected_output_tokens is not None and None not in (
        getattr(case.state, "prefill_s_per_token", None),
        getattr(case.state, "decode_s_per_request", None),
    )
    if kappa_tokens is None and not known:
        return case.unchanged("no step times or expected output: kappa is unknown")
    keys = _keys_of(text)(
        case.state, case.request.prompt_tokens, case.expected_output_tokens, case.request.block_tokens, {}
    )
    return case.settle("offset", range(case.count), keys, "least delay with decode counted")


@functools.lru_cache(maxsize=16)
def _keys_of(text: str) -> Callable[..., list[Any]]:
    """The compiled keys of a rule; compiled once."""
    return compile_keys(read_policy(text))


def by_probe(case: Situation, starved: Finding, recent: Sequence[int] | None, errors: float = 0.0) -> Mitigation:
    """To the starved instance with the least load, of those that got less than their fair share of the last dispatches.

    A probe is a whole prefill, and an instance that idles by chance will have traffic again: so it can be asked that
    the rule's choice got more of the last dispatches than the starved one, by more than chance explains.

    Args:
        case: the state.
        starved: the finding.
        recent: of the last dispatches, how many went to each instance; None if nobody counted: then every one probes.
        errors: how many standard errors the difference must be above 0, of two counts that are each a Poisson one.
    """
    cold = case.positions(starved.instances)
    if recent is not None:
        total, taken = sum(recent), recent[case.chosen]
        cold = [i for i in cold if recent[i] * case.count < total and _more(taken, recent[i], errors)]
    if not cold:
        lacks = " or lacks no more of it than chance explains" if errors else ""
        return case.unchanged(f"the starved instance has had its fair share{lacks}")
    return case.settle("probe_cold", cold, case.loads(), "a starved instance gets its fair share")


def _more(one: int, other: int, errors: float) -> bool:
    """Whether a count is larger than another by more than so many standard errors; by whatever, for 0."""
    return errors == 0 or (one > other and (one - other) ** 2 > errors**2 * (one + other))


def by_floor(case: Situation) -> Mitigation:
    """A collapsed score anew, with the floor of one token and the request itself counted."""
    keys = _keys_of("lmetric")(case.state, case.request.prompt_tokens, None, case.request.block_tokens, {})
    return case.settle("floor", case.without(), keys, "the score had collapsed: computed with a floor of one token")


def by_least_load(state: Any, banned: Sequence[str]) -> Mitigation:
    """Least requests in flight among instances whose numbers make sense; among all if none does.

    Args:
        state: as it came; only its ids must be there.
        banned: ids of instances passed over while there are others.

    Raises:
        BadInput: if there is no instance.
    """
    ids = _column(state, "ids")
    if not ids:
        raise BadInput("instances", 0, "at least one instance")
    columns = [_column(state, name) for name in ("running", "waiting")]
    counts: list[tuple[int, int]] = []
    for i in range(len(ids)):
        pair = [column[i] for column in columns if i < len(column)]
        sane = len(pair) == 2 and all(_COUNT.contains(value) for value in pair)
        counts.append((0, int(pair[0] + pair[1])) if sane else (1, 0))
    candidates = [i for i, name in enumerate(ids) if counts[i][0] == 0 and name not in banned]
    candidates = candidates or list(range(len(ids)))
    least = min(counts[i] for i in candidates)
    return Mitigation(
        kind="least_load",
        instance=next(i for i in candidates if counts[i] == least),
        candidates=tuple(candidates),
        scores=tuple(counts),
        price_tokens=0,
        reason="the input allows no better decision: least requests in flight",
    )


def _column(state: Any, name: str) -> Sequence[Any]:
    """A column of whatever a state is; empty if there is none."""
    try:
        column = getattr(state, name, ())
    except Exception:  # noqa: BLE001 - the last resort must answer whatever it is given
        return ()
    return column if isinstance(column, tuple | list) else ()


def by_avoiding(case: Situation, drawn_by_weight: bool) -> Mitigation:
    """The rule's own keys, without the instances that make no progress.

    Args:
        case: the state; the silent instances are banned.
        drawn_by_weight: whether the keys are weights, the more the likelier; then the least load is taken.
    """
    candidates = case.without()
    if not candidates:
        return by_least_load(case.state, ())
    if case.chosen in candidates:
        return case.unchanged("the choice makes progress")
    keys = case.loads() if drawn_by_weight or not case.keys else case.keys
    return case.settle("avoid", candidates, keys, f"{len(case.banned)} instances make no progress")
