"""Any closed form of ``scheduler.formulas`` as an expression: the shipped function, evaluated on symbols."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import sympy as sp

from scheduler import formulas
from scheduler.errors import BadInput, unknown_name
from theory.ops import SYMPY

#: The letter of each argument, as SymPy names it; an argument that is not here keeps its name.
LETTERS: Mapping[str, str] = MappingProxyType(
    {
        "batch": "B",
        "batch_i": "B_i",
        "batch_j": "B_j",
        "batch_inside": "B_in",
        "batch_outside": "B_out",
        "batch_scale": "B_scale",
        "class_share": "x",
        "cold_rate": "b",
        "decode_s_per_request": "gamma",
        "eps": "epsilon",
        "error": "delta",
        "expected_output_tokens": "n_out",
        "holder_count": "m",
        "holders": "m",
        "hot_rate": "a",
        "instance_count": "N",
        "leverage": "rho",
        "new_tokens": "n",
        "offset": "kappa",
        "prefill_s_per_token": "tau",
        "queued_prefill_tokens": "q",
        "rate": "w",
        "rate_per_s": "Q",
        "relative_rate": "r",
        "residence_s": "T",
        "share": "x",
        "start": "b_0",
        "start_batch": "B_0",
        "threshold": "c",
        "token_scale": "P_scale",
        "tokens": "P",
        "tokens_i": "P_i",
        "tokens_j": "P_j",
        "tokens_inside": "P_in",
        "tokens_outside": "P_out",
        "weight": "lambda",
    }
)


@dataclass(frozen=True, slots=True)
class Formula:
    """A closed form on symbols.

    Args:
        name: of the function in ``scheduler.formulas``.
        expression: what the function returns for positive symbols.
        symbols: the symbol of each argument, by its name.
        meaning: the first sentence of its docstring, with the unit.
    """

    name: str
    expression: Any
    symbols: Mapping[str, sp.Symbol]
    meaning: str

    def latex(self) -> str:
        """The expression for the book."""
        return str(sp.latex(self.expression))

    def __str__(self) -> str:
        """The expression for a terminal."""
        return str(sp.pretty(self.expression, use_unicode=True, wrap_line=False))


def formula(name: str) -> Formula:
    """The shipped formula of that name as an expression.

    Raises:
        BadInput: for an unknown name, with the nearest ones; for a form over a list of instances or with a switch,
            which has no single expression (its derivation has: ``argprod derive``).

    Example:
        >>> found = formula("marginal_delay")
        >>> found.expression, str(found)
        (B*(kappa + n) + q, 'B⋅(κ + n) + q')
    """
    if name not in formulas.__all__ or not callable(getattr(formulas, name)):
        known = [n for n in formulas.__all__ if callable(getattr(formulas, n))]
        raise unknown_name("formula of scheduler.formulas", name, known)
    function: Callable[..., Any] = getattr(formulas, name)
    arguments: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name == "ops":
            continue
        if parameter.annotation not in ("Number", "int"):
            raise BadInput("formula", name, "one whose arguments are numbers", f"{parameter.name} is not")
        arguments[parameter.name] = sp.Symbol(LETTERS.get(parameter.name, parameter.name), positive=True)
    worlds = (SYMPY,) if "ops" in inspect.signature(function).parameters else ()
    meaning = (inspect.getdoc(function) or "").split("\n", 1)[0]
    return Formula(name, function(*worlds, **arguments), MappingProxyType(arguments), meaning)
