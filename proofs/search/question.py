"""What is searched for and what comes back: questions and answers as plain values.

A *state* is one decision: what is known of every instance, and the request at hand. Every question is about states in
integer ranges. Ties never count: in a state that is found, each rule's choice is strictly its best.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from typing import Any

from scheduler.domains import REQUEST_DOMAINS, REQUESTS_MAX, TOKENS_MAX, Domain
from scheduler.errors import BadInput, unknown_name
from scheduler.policies.catalogue import policy
from scheduler.policies.rule import Policy
from scheduler.state_json import StateFile

#: What ``kind`` may be, in words.
KINDS: Mapping[str, str] = {
    "disagree": "the rule and the other rule take different instances",
    "dominated": "the rule takes an instance that another beats in P-token and batch size",
    "zero_collapse": "the rule takes a fully cached busy instance, the other rule an idle one",
    "idle_collapse": "the rule takes an idle instance, the other rule a busy one with a longer cached prefix",
    "starvation": "an idle instance without cache gets nothing; all others are busy and hold some of the prompt",
    "noise": "what is observed is within 1 +- eps of the truth, and the rule takes another instance",
}
OBJECTIVES = ("smallest", "worst", "diverse")
#: Kinds that compare two rules; the product is the other rule unless one is named.
COMPARING = ("disagree", "zero_collapse", "idle_collapse")

_INSTANCES = Domain(2, 8, integer=True, unit="instance")
_EPS = Domain(0, 0.5, low_open=True)
_SIZE = Domain(1, None, integer=True, unit="token, request, block")
_REGRET = Domain(0, 1e12)
_COUNT = Domain(1, 64, integer=True, unit="state")


class Verdict(Enum):
    """How a search ended."""

    FOUND = "found"
    NONE = "none"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Ranges:
    """The integers a state may hold; the defaults are those of a large deployment.

    Args:
        prompt_tokens_max, batch_size_max, queued_prefill_tokens_max: greatest values; the least are 1, 1 and 0.
        block_tokens: tokens in a KV block, fixed.
        aligned_hits: True if a cached prefix is a whole number of blocks.
        context_tokens_max, active_blocks_max: greatest values of optional columns.
    """

    prompt_tokens_max: int = 131_072
    batch_size_max: int = 256
    queued_prefill_tokens_max: int = 131_072
    block_tokens: int = 16
    aligned_hits: bool = True
    context_tokens_max: int = 4_194_304
    active_blocks_max: int = 65_536

    def __post_init__(self) -> None:
        REQUEST_DOMAINS["block_tokens"].check("block_tokens", self.block_tokens)
        for name, low, high in (
            ("prompt_tokens_max", 1, TOKENS_MAX),
            ("batch_size_max", 1, REQUESTS_MAX),
            ("queued_prefill_tokens_max", 0, TOKENS_MAX),
            ("context_tokens_max", 0, TOKENS_MAX),
            ("active_blocks_max", 0, TOKENS_MAX),
        ):
            value = getattr(self, name)
            domain = Domain(low, high, integer=True, unit="request" if name == "batch_size_max" else "token")
            if not domain.contains(value):
                raise BadInput(name, value, domain.describe(), "the range is empty" if value < low else "")


@dataclass(frozen=True)
class FreeKnob:
    """A knob of the rule that the search may set.

    Args:
        name: of the knob.
        low, high: its interval.
        every: False asks for some value of the interval; True for a state that shows it at every value, which is
            decided at the two ends and exact for rules whose score is affine in the knob (``linear``).
    """

    name: str
    low: float
    high: float
    every: bool = False


@dataclass(frozen=True)
class Question:
    """Which states are wanted.

    Args:
        rule: the rule under examination.
        against: the rule it is compared with; None where the kind compares nothing.
        kind: see :data:`KINDS`.
        objective: ``smallest`` is the least sum of all tokens, requests and blocks of a state; ``worst`` the greatest
            regret; ``diverse`` several smallest states, each in a region of its own.
        cost: the rule whose score is the cost; regret compares the cost of the choice with the least cost.
        regret: ``ratio``, which only states whose least cost is > 0 have, or ``difference``.
        instances: number of instances.
        ranges: of the integers.
        free: knobs of the rule that the search may set.
        eps: for ``noise``.
        count: for ``diverse``.
        max_size: only states of this size or less, or None.
        min_regret: only states with at least this regret, or None.
    """

    rule: Policy
    against: Policy | None = None
    kind: str = "disagree"
    objective: str = "smallest"
    cost: Policy = field(default_factory=lambda: policy("marginal_delay"))
    regret: str = "ratio"
    instances: int = 2
    ranges: Ranges = field(default_factory=Ranges)
    free: tuple[FreeKnob, ...] = ()
    eps: float = 0.05
    count: int = 4
    max_size: int | None = None
    min_regret: float | None = None

    def __post_init__(self) -> None:
        for name, value, known in (
            ("kind", self.kind, tuple(KINDS)),
            ("objective", self.objective, OBJECTIVES),
            ("regret", self.regret, ("ratio", "difference")),
        ):
            if value not in known:
                raise unknown_name(name, value, known)
        _INSTANCES.check("instances", self.instances)
        _EPS.check("eps", self.eps)
        _COUNT.check("count", self.count)
        if self.max_size is not None:
            _SIZE.check("max_size", self.max_size)
        if self.min_regret is not None:
            _REGRET.check("min_regret", self.min_regret)
        if self.against is None and self.kind in COMPARING:
            object.__setattr__(self, "against", policy("lmetric"))
        if self.kind in COMPARING and self.against is not None and self.rule.label == self.against.label:
            raise BadInput("against", self.against.label, "another rule than the one it is compared with")
        if (self.objective == "worst" or self.min_regret) and self.cost.label == self.rule.label:
            raise BadInput("cost", self.cost.label, "another rule than the one examined, whose regret would be none")
        for index, knob in enumerate(self.free):
            _check_knob(self.rule, knob)
            if any(knob.name == before.name for before in self.free[:index]):
                field = f"{self.rule.rule.name}:{knob.name}"
                raise BadInput(field, f"{knob.low}..{knob.high}", "each knob once", "it has an interval already")

    @property
    def policies(self) -> tuple[Policy, ...]:
        """All rules that are read, the cost among them only where it matters."""
        others = (self.against,) if self.against is not None else ()
        return (self.rule, *others, self.cost)


def _check_knob(rule: Policy, free: FreeKnob) -> None:
    known = {knob.name: knob for knob in rule.rule.knobs}
    if free.name not in known:
        raise unknown_name(f"knob of {rule.rule.name}", free.name, known)
    domain = known[free.name].domain
    if domain is None:
        raise BadInput(f"{rule.rule.name}:{free.name}", f"{free.low}..{free.high}", "a knob that is a number")
    for end in (free.low, free.high):
        domain.check(f"{rule.rule.name}:{free.name}", end)
    if free.low > free.high:
        raise BadInput(f"{rule.rule.name}:{free.name}", f"{free.low}..{free.high}", "LOW..HIGH", "the range is empty")
    if free.every and rule.rule.name != "linear":
        hint = "a score that is affine in the knob is what makes two ends enough"
        raise BadInput("every", free.name, "a knob of the rule linear", hint)


@dataclass(frozen=True)
class Found:
    """A state that was found, and that the shipped rules have confirmed.

    Args:
        file: the state in its JSON form.
        policy: the rule with its knobs, as the command line names it.
        against: the other rule, or None.
        chosen: index that the rule takes.
        other: index that the other rule takes, or that the kind is about.
        size: sum of tokens, requests and blocks.
        costs: of every instance, under the cost of the question.
        regret: of the choice.
        regions: what tells this state from others of the same kind, for ``diverse``.
        truth: for ``noise``, the true state; ``file`` is what is observed.
        rule: the rule itself, to run it again.
        steps: for a sequence, of each arrival whether the cluster caught up before it, whether it was hot, and the
            index it went to; ``file`` is then the state after the last.
        knobs: for each free knob, the interval in which this state shows the kind.
    """

    file: StateFile
    policy: str
    against: str | None
    chosen: int
    other: int
    size: int
    costs: tuple[Fraction, ...]
    regret: Fraction | None
    rule: Policy
    regions: Mapping[str, bool] = field(default_factory=dict)
    truth: StateFile | None = None
    steps: tuple[tuple[bool, bool, int], ...] = ()
    knobs: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What a search ended with.

    Args:
        verdict: found, none within the ranges (proved), or undecided.
        how: how it was obtained, and how far the evidence reaches.
        states: the states found, best first; also what an undecided search came across.
        bound: for ``worst``, no state reaches more than this (proved); else None.
        seconds: time that it took [s].
        interrupted: True if the user stopped it; the states are the best so far.
        solver: name and version.
    """

    verdict: Verdict
    how: str
    states: tuple[Found, ...] = ()
    bound: Fraction | None = None
    seconds: float = 0.0
    interrupted: bool = False
    solver: str = ""

    @property
    def best(self) -> Any:
        """The first state, or None."""
        return self.states[0] if self.states else None
