"""States that are given by their indicators, and rules of exact numbers, for tests of the theory."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st

from scheduler.policies.choosing import decide
from scheduler.policies.linear import BATCH_SCALE, LINEAR, TOKEN_SCALE
from scheduler.policies.rule import Policy, Rule
from scheduler.state import ClusterState, Request

Pair = tuple[int, int]

#: A request of one token: what is to be prefilled is then the queue and that token.
REQUEST = Request(id=0, arrival_s=0.0, prompt_tokens=1)


def state_of(pairs: Sequence[Pair]) -> ClusterState:
    """The state in which :data:`REQUEST` sees these P-tokens and batch sizes."""
    return ClusterState(
        ids=tuple(f"instance-{index}" for index in range(len(pairs))),
        running=tuple(batch - 1 for _, batch in pairs),
        waiting=(0,) * len(pairs),
        queued_prefill_tokens=tuple(tokens - 1 for tokens, _ in pairs),
        hit_tokens=(0,) * len(pairs),
    )


def choice(policy: Policy, pairs: Sequence[Pair]) -> int:
    """Index that a policy chooses by P-token and batch size."""
    return decide(policy, state_of(pairs), REQUEST)[0].instance


def line_at(rate: Fraction) -> Policy:
    """The shipped line in exact arithmetic, its weight such that a batch slot costs ``rate`` tokens."""
    weight = 1 / (1 + rate * BATCH_SCALE / TOKEN_SCALE)
    return Policy(LINEAR, {"weight": weight, "form": "p_token", "ties": "first"})


def rule_of(key: Any) -> Policy:
    """A rule that takes the least ``key(P, B)``."""
    return Rule("test", "of a test", "claim test", lambda _ops, x, _, __: key(x.p_token, x.batch_size)).with_knobs()


def pairs(min_size: int = 2, max_size: int = 8, tokens: int = 5_000, batch: int = 200) -> st.SearchStrategy[list[Pair]]:
    """Lists of (P, B): small ones, where ties are common, and those of a cluster."""
    small = st.tuples(st.integers(1, 12), st.integers(1, 12))
    large = st.tuples(st.integers(1, tokens), st.integers(1, batch))
    return st.lists(small, min_size=min_size, max_size=max_size) | st.lists(large, min_size=min_size, max_size=max_size)


def rates() -> st.SearchStrategy[Fraction]:
    """Prices of a batch slot [token/request]."""
    return st.fractions(Fraction(1, 50), 2_000, max_denominator=60)
