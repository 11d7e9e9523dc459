"""Whether noise in what a router sees can change the product's choice, and what that can cost: :func:`noise_margin`.

The mathematics: claim ``noise_margin``. All numbers are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from scheduler import formulas
from scheduler.domains import Domain
from scheduler.errors import BadInput
from scheduler.ops import SCALAR
from scheduler.state import Request
from theory.pairs import REQUESTS, TOKENS, Pair, exact, is_symbolic, pairs_of

_SHARE = Domain(0, 1)
_ABSOLUTE_TOKENS = Domain(0, TOKENS.high, unit=TOKENS.unit)
_ABSOLUTE_REQUESTS = Domain(0, REQUESTS.high, unit=REQUESTS.unit)


@dataclass(frozen=True, slots=True)
class NoiseMargin:
    """What errors of a given size leave of a choice.

    Args:
        choice: the product's choice by what is seen, ties to the lowest index.
        rivals: instances that could truly have a lesser product; empty if the choice is certain.
        factor: the choice's true product is at most so many times the best one; None for absolute errors alone.
        margin: runner-up's observed product by the choice's, less 1; None for a single instance.
    """

    choice: int
    rivals: tuple[int, ...]
    factor: Fraction | None
    margin: Fraction | None

    @property
    def certain(self) -> bool:
        """True if no error within the bounds makes another instance strictly better."""
        return not self.rivals


def noise_margin(
    state: Any,
    request: Request | None = None,
    *,
    token_error: Any = 0,
    batch_error: Any = 0,
    tokens: Any = None,
    requests: Any = None,
) -> NoiseMargin:
    """What errors in P-token and batch size can do to the product's choice in a state.

    Relative errors (``P`` within a factor ``1 +- token_error``) or, if ``tokens`` or ``requests`` is given, absolute
    ones (``P`` within ``+- tokens``, no less than 1). With absolute errors every P and B must be at least 1, as in
    every state: below that, the least that could be true is not what the claim says.

    Args:
        state: a :class:`ClusterState` with its ``request``, or a sequence of pairs ``(P, B)``; as the router sees it.
        request: the request at hand, for a state.
        token_error, batch_error: relative errors, >= 0 and < 1.
        tokens, requests: absolute errors, >= 0 [token, request].

    Raises:
        BadInput: for a value outside its domain, symbols, both kinds of errors at once, or absolute errors for a P or B
            below 1.

    Example (batches two requests off; then 5 % in both, for which a margin of a quarter is enough):
        >>> noise_margin([(160, 1), (32, 4)], requests=2).rivals
        (0,)
        >>> found = noise_margin([(160, 1), (32, 4)], token_error=0.05, batch_error=0.05)
        >>> found.certain, float(found.margin), round(float(found.factor), 3)
        (True, 0.25, 1.222)

    Source: claim ``noise_margin``.
    """
    pairs = pairs_of(state, request)
    if any(is_symbolic(value) for pair in pairs for value in pair):
        raise BadInput("state", "symbols", "numbers", "the condition on symbols: argprod derive noise_margin")
    products = [Fraction(p * b) for p, b in pairs]
    choice = products.index(min(products))
    others = [index for index in range(len(pairs)) if index != choice]
    runner_up = min((products[i] for i in others), default=None)
    margin = None if runner_up is None else runner_up / products[choice] - 1
    if tokens is None and requests is None:
        e, d = (_below_one(name, value) for name, value in (("token_error", token_error), ("batch_error", batch_error)))
        factor = Fraction(formulas.noise_factor(e, d))
        rivals = tuple(i for i in others if products[i] < factor * products[choice])
        return NoiseMargin(choice, rivals, factor, margin)
    if token_error or batch_error:
        raise BadInput("token_error", token_error, "0, because absolute errors are given", "give one kind of errors")
    _refuse_parts_of_one(pairs)
    p = exact("tokens", 0 if tokens is None else tokens, _ABSOLUTE_TOKENS)
    b = exact("requests", 0 if requests is None else requests, _ABSOLUTE_REQUESTS)
    most = formulas.most_product(*pairs[choice], p, b)
    rivals = tuple(i for i in others if formulas.least_product(SCALAR, *pairs[i], p, b) < most)
    return NoiseMargin(choice, rivals, None, margin)


def _refuse_parts_of_one(pairs: Sequence[Pair]) -> None:
    for index, pair in enumerate(pairs):
        for field, value in zip(("p_token", "batch_size"), pair, strict=True):
            if value < 1:
                hint = "absolute errors assume that; give relative ones"
                raise BadInput(f"instances[{index}].{field}", value, "a number >= 1", hint)


def _below_one(name: str, value: Any) -> Fraction:
    found = exact(name, value, _SHARE)
    if found == 1:
        raise BadInput(name, value, "a number >= 0 and < 1")
    return Fraction(found)
