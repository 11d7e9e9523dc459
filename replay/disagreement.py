"""How often rules disagree: what would each other rule have chosen, seeing exactly what the rule of the run saw?

An :class:`Onlooker` stands beside a run and asks every other rule at evenly spaced decisions. A rule that would have
been content with the chosen instance (it is among its equally best ones) agrees. Two kinds of rules cannot be asked and
are left out by name: those with a memory, because theirs would be of choices they did not make, and those that draw by
weight, because they would disagree with themselves. Both can still be the rule of a run that others look at. A rule to
which all instances were equal at every sampled decision (``random``) agrees with anything; it counts as not asked.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from replay.sim.cluster import Cluster
from replay.sim.parts import Prepared
from replay.sim.record import RunRecord
from replay.sim.run import simulate
from replay.sim.sequence import Sim
from replay.sim.view import RouterView
from scheduler.policies.compiled import KeyFunction, compile_keys
from scheduler.policies.rule import Policy
from scheduler.state import Request

#: Decisions looked at in one run, at most.
SAMPLES_MAX = 2_000

#: Handed to rules that are asked; none of them draws.
_NO_DRAWS = random.Random(0)

HAS_MEMORY = "has a memory, which would be of other choices"
DRAWS = "draws by weight, so it would disagree with itself"
INDIFFERENT = "all instances were equal to it"


@dataclass(frozen=True, slots=True)
class Disagreement:
    """What the other rules said of one run.

    Args:
        policy: label of the rule of the run.
        seed: of the run.
        sampled: decisions looked at.
        differing: label of another rule -> decisions at which it would have chosen another instance; None if all
            instances were equal to it at every decision looked at.
    """

    policy: str
    seed: int
    sampled: int
    differing: Mapping[str, int | None]

    @property
    def fractions(self) -> dict[str, float | None]:
        """Share of the sampled decisions at which the other rule would have chosen another instance."""
        return {
            name: None if count is None or not self.sampled else count / self.sampled
            for name, count in self.differing.items()
        }


@dataclass(frozen=True, slots=True)
class DisagreementMatrix:
    """All runs of an experiment against all rules that can be asked; seeds are pooled.

    Args:
        rows: rules of the runs.
        columns: rules that were asked.
        values: share of decisions at which the rule of the column would have chosen another instance than the rule of
            the row did; None where there is no such number.
        left_out: rules that were not asked, with the reason.
        sampled: decisions looked at, by row.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    left_out: Mapping[str, str]
    sampled: tuple[int, ...]


def why_not_asked(policy: Policy) -> str | None:
    """The reason a rule cannot be asked what it would have done, or None if it can."""
    if policy.rule.memory is not None and policy.rule.memory.kept:
        return HAS_MEMORY
    return DRAWS if policy.samples else None


@dataclass(slots=True)
class _Asked:
    policy: Policy
    keys: KeyFunction
    differing: int = 0
    indifferent: bool = True


@dataclass(slots=True)
class Onlooker:
    """An observer of one run: pass it to :func:`replay.sim.run.simulate` with ``extra_needs=onlooker.needs``.

    It changes nothing in the run: it reads the view and draws no random number.

    Args:
        policies: the rules to ask; those that cannot be asked are passed over.
        request_count: requests of the run; decides how far apart the samples lie.
        samples_max: decisions to look at, at most.
    """

    policies: Sequence[Policy]
    request_count: int
    samples_max: int = SAMPLES_MAX
    needs: frozenset[str] = field(init=False)
    sampled: int = field(init=False, default=0)
    _stride: int = field(init=False)
    _decisions: int = field(init=False, default=0)
    _asked: dict[str, _Asked] = field(init=False)

    def __post_init__(self) -> None:
        able = [policy for policy in self.policies if why_not_asked(policy) is None]
        self.needs = frozenset(name for policy in able for name in policy.needs)
        self._asked = {policy.label: _Asked(policy, compile_keys(policy)) for policy in able}
        self._stride = max(1, -(-self.request_count // self.samples_max))

    @property
    def anyone(self) -> bool:
        """Whether there is a rule to ask."""
        return bool(self._asked)

    def __call__(self, sim: Sim, view: RouterView, chosen: int, _at: int) -> None:
        """Ask every rule, if this decision is one of the sampled."""
        number = self._decisions
        self._decisions = number + 1
        if number % self._stride:
            return
        request = sim.request
        expected = request.expected_output_tokens
        if expected is None:
            expected = view.accounting.expected_output_tokens()
        self.ask(view, request, expected, chosen)

    def ask(self, view: Any, request: Request, expected_output_tokens: float | None, chosen: int) -> None:
        """Ask every rule about one decision.

        Args:
            view: columns of the cluster, or a :class:`scheduler.state.ClusterState`.
            request: the request at hand.
            expected_output_tokens: what was believed of its output [token].
            chosen: index that the rule of the run took.
        """
        self.sampled += 1
        for asked in self._asked.values():
            memory = asked.policy.rule.memory
            recalled = {} if memory is None else memory.recall(None, request, view, asked.policy.knobs, _NO_DRAWS)
            keys = asked.keys(view, request.prompt_tokens, expected_output_tokens, request.block_tokens, recalled)
            least = min(keys)
            asked.differing += keys[chosen] != least
            asked.indifferent = asked.indifferent and keys.count(least) == len(keys)

    def result(self, policy: str, seed: int) -> Disagreement:
        """What was counted so far, for the run of a policy with a seed."""
        differing = {name: None if asked.indifferent else asked.differing for name, asked in self._asked.items()}
        return Disagreement(policy, seed, self.sampled, differing)


def watched(
    requests: Sequence[Request] | Prepared,
    policy: Policy,
    others: Sequence[Policy],
    cluster: Cluster,
    **options: Any,
) -> tuple[RunRecord, Disagreement]:
    """Simulate one policy while the others look on.

    Args:
        requests, policy, cluster: see :func:`replay.sim.run.simulate`.
        others: the rules to ask.
        options: further arguments of ``simulate``.

    Returns:
        The same record as without onlookers, and what they said.
    """
    count = len(requests.requests if isinstance(requests, Prepared) else requests)
    onlooker = Onlooker(others, count)
    if not onlooker.anyone:
        record = simulate(requests, policy, cluster, **options)
        return record, onlooker.result(policy.label, record.seed)
    record = simulate(requests, policy, cluster, observer=onlooker, extra_needs=onlooker.needs, **options)
    return record, onlooker.result(policy.label, record.seed)


def matrix(found: Sequence[Disagreement], policies: Sequence[Policy]) -> DisagreementMatrix:
    """Pool what was said of every run into one table.

    Args:
        found: one entry a run.
        policies: the policies of the experiment, in the order wanted.
    """
    labels = list(dict.fromkeys(policy.label for policy in policies))
    left_out = {p.label: reason for p in policies if (reason := why_not_asked(p)) is not None}
    for label in labels:
        said = [entry.differing[label] for entry in found if label in entry.differing]
        if label not in left_out and said and all(count is None for count in said):
            left_out[label] = INDIFFERENT
    columns = tuple(label for label in labels if label not in left_out)
    of_policy = {label: [entry for entry in found if entry.policy == label] for label in labels}
    rows = tuple(label for label in labels if of_policy[label])
    return DisagreementMatrix(
        rows=rows,
        columns=columns,
        values=tuple(tuple(_pooled(of_policy[row], column) for column in columns) for row in rows),
        left_out=left_out,
        sampled=tuple(sum(entry.sampled for entry in of_policy[row]) for row in rows),
    )


def _pooled(entries: Sequence[Disagreement], column: str) -> float | None:
    """A rule that was indifferent in one run agreed there at every decision."""
    sampled = sum(entry.sampled for entry in entries)
    return sum(entry.differing[column] or 0 for entry in entries) / sampled if sampled else None
