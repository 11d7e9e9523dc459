"""What a caller gives as instances, read exactly: ``(P, B)`` of each, as whole numbers, Fractions or SymPy expressions.

A float means the decimal that Python prints for it (0.1 is 1/10), as with the knobs of a rule and in proofs.
"""

from __future__ import annotations

import decimal
import math
from collections.abc import Sequence
from fractions import Fraction
from numbers import Integral, Rational, Real
from typing import Any

import sympy as sp

from scheduler.domains import Domain
from scheduler.errors import BadInput
from scheduler.indicators import batch_size, new_prefill_tokens, p_token
from scheduler.ops import SCALAR, as_written
from scheduler.state import ClusterState, Request, checked_hits, checked_request

#: An exact number.
Exact = int | Fraction
#: ``(P, B)`` of one instance.
Pair = tuple[Any, Any]

TOKENS = Domain(0, None, unit="token", low_open=True)
REQUESTS = Domain(0, None, unit="request", low_open=True)
RATES = Domain(0, None, unit="token/request")
WEIGHTS = Domain(0, 1, low_open=True)


def is_symbolic(value: Any) -> bool:
    """True for a SymPy expression that is not a plain number."""
    return isinstance(value, sp.Basic) and not isinstance(value, sp.Number)


def exact(field: str, value: Any, domain: Domain) -> Exact:
    """A number of the domain, exactly.

    Args:
        field: its name, for the message.
        value: an int, Fraction, float, Decimal, NumPy or SymPy number.
        domain: what it may be.

    Raises:
        BadInput: for what is no finite number, or lies outside the domain.

    Example:
        >>> exact("rate", 0.1, RATES)
        Fraction(1, 10)
    """
    if type(value) is int:
        found: Exact = value
    elif isinstance(value, bool):
        raise BadInput(field, value, domain.describe())
    elif isinstance(value, Integral):
        found = int(value)
    elif isinstance(value, Rational):
        found = Fraction(int(value.numerator), int(value.denominator))
    elif isinstance(value, float) and math.isfinite(value):
        found = as_written(value)
    elif isinstance(value, Real | decimal.Decimal | sp.Float) and math.isfinite(value):
        found = Fraction(str(value))
    else:
        raise BadInput(field, value, domain.describe())
    if not domain.contains(found):
        raise BadInput(field, value, domain.describe())
    return found


def pairs_of(state: Any, request: Request | None) -> list[Pair]:
    """``(P, B)`` of every instance.

    Args:
        state: a :class:`ClusterState`, or a sequence of pairs of numbers or SymPy expressions.
        request: the request at hand, for a state; None for pairs.

    Returns:
        Numbers exact and positive; expressions as they are.

    Raises:
        BadInput: naming the instance, the field, the value and what was expected.
    """
    if isinstance(state, ClusterState):
        return _of_state(state, request)
    if request is not None:
        raise BadInput("request", request, "nothing, because pairs (P, B) already count the request")
    if isinstance(state, str | bytes) or not hasattr(state, "__iter__"):
        raise BadInput("state", state, "a ClusterState with its request, or a sequence of pairs (P, B)")
    pairs = list(state)
    if not pairs:
        raise BadInput("instances", 0, "at least one instance")
    return [_pair(index, pair) for index, pair in enumerate(pairs)]


def _pair(index: int, pair: Any) -> Pair:
    try:
        tokens, batch = pair
    except (TypeError, ValueError):
        raise BadInput(f"instances[{index}]", pair, "a pair (P, B)") from None
    if type(tokens) is int and type(batch) is int and tokens > 0 and batch > 0:
        return tokens, batch
    return (
        tokens if is_symbolic(tokens) else exact(f"instances[{index}].p_token", tokens, TOKENS),
        batch if is_symbolic(batch) else exact(f"instances[{index}].batch_size", batch, REQUESTS),
    )


def _of_state(state: ClusterState, request: Request | None) -> list[Pair]:
    if request is None:
        raise BadInput("request", None, "the request at hand, because hits and P-tokens belong to a request")
    state, request = state.checked(), checked_request(request)
    checked_hits(state, request)
    length = request.prompt_tokens
    rows = zip(state.running, state.waiting, state.queued_prefill_tokens, state.hit_tokens, strict=True)
    return [
        (p_token(queued, new_prefill_tokens(SCALAR, length, hit)), batch_size(running, waiting))
        for running, waiting, queued, hit in rows
    ]


def made_whole(pairs: Sequence[Pair]) -> list[tuple[int, int]]:
    """The pairs times the least number that makes every P and every B whole.

    The order of products, the order of lines and the weights of indifference stay; whole numbers are much quicker.

    Example:
        >>> made_whole([(Fraction(1, 2), 3), (4, Fraction(5, 3))])
        [(3, 18), (24, 10)]
    """
    factor = math.lcm(*(value.denominator for pair in pairs for value in pair))
    if factor == 1:
        return [(int(tokens), int(batch)) for tokens, batch in pairs]
    return [
        (tokens.numerator * (factor // tokens.denominator), batch.numerator * (factor // batch.denominator))
        for tokens, batch in pairs
    ]


def range_of(field: str, value: Any, domain: Domain) -> tuple[Exact, Exact | float]:
    """A number as a range of one, or a pair as a range; the upper end may be infinite if the domain has none.

    Raises:
        BadInput: for what is neither, or a range that ends before it begins.
    """
    if not isinstance(value, Sequence) or isinstance(value, str):
        number = exact(field, value, domain)
        return number, number
    if len(value) != 2:
        raise BadInput(field, value, "one number, or a pair (low, high)")
    low = exact(f"{field}[0]", value[0], domain)
    endless = domain.high is None and isinstance(value[1], float | sp.Basic) and value[1] == math.inf
    high = math.inf if endless else exact(f"{field}[1]", value[1], domain)
    if high < low:
        raise BadInput(field, value, "a pair (low, high) with low <= high")
    return low, high
