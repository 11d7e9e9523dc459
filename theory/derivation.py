"""A derivation: a few checked steps from definitions to a closed form of ``scheduler.formulas``.

Steps are checked as they are written, so a derivation that returns has been verified; what is shown of it (Unicode for
a terminal, LaTeX for the book) is what was checked. ``display`` alone shows without a check: for definitions.
"""

from __future__ import annotations

import importlib
import pkgutil
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sympy as sp

from theory.ops import rational

_SIGNS = {"<": sp.StrictLessThan, "<=": sp.LessThan, ">": sp.StrictGreaterThan, ">=": sp.GreaterThan}


class DerivationFailed(Exception):
    """A step of a derivation does not hold."""


@dataclass(frozen=True, slots=True)
class Step:
    """One line: what is done, what results, and whether SymPy checked it."""

    text: str
    expression: Any
    checked: bool = True

    def unicode(self, width: int | None = None) -> str:
        """The expression for a terminal, broken at ``width`` columns if given."""
        broken = width is not None
        return str(sp.pretty(self.expression, use_unicode=True, wrap_line=broken, num_columns=width))

    def latex(self) -> str:
        """The expression for the book."""
        return str(sp.latex(self.expression))


@dataclass
class Derivation:
    """Steps that lead to a result.

    Args:
        title: what is derived, as a sentence.
        symbols: the glossary: what each symbol means, with unit.

    Example:
        >>> a, b = sp.symbols("a b", positive=True)
        >>> work = Derivation("A square is never negative.", {a: "any number", b: "another"})
        >>> work.equal("Expand.", (a - b) ** 2, a**2 - 2 * a * b + b**2)
        >>> work.holds("So it is", a**2 + b**2, ">=", 2 * a * b)
        >>> print(work.unicode())
        A square is never negative.
        <BLANKLINE>
          a: any number
          b: another
        <BLANKLINE>
        1. Expand.
               2    2            2
        (a - b)  = a  - 2⋅a⋅b + b
        2. So it is
         2    2
        a  + b  ≥ 2⋅a⋅b
        >>> work.equal("A slip.", (a - b) ** 2, a**2 + b**2)
        Traceback (most recent call last):
        ...
        theory.derivation.DerivationFailed: A slip.: (a - b)**2 is not a**2 + b**2
    """

    title: str
    symbols: Mapping[Any, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    result: Any = None

    def display(self, text: str, expression: Any) -> None:
        """Show a definition; nothing is checked."""
        self.steps.append(Step(text, expression, checked=False))

    def equal(self, text: str, left: Any, right: Any) -> None:
        """The two sides are the same expression under the symbols' assumptions.

        Raises:
            DerivationFailed: if their difference does not simplify to 0.
        """
        left, right = rational(left), rational(right)
        if not is_zero(left - right):
            raise DerivationFailed(f"{text}: {left} is not {right}")
        self.steps.append(Step(text, sp.Eq(left, right, evaluate=False)))

    def holds(self, text: str, left: Any, sign: str, right: Any) -> None:
        """An inequality that SymPy shows under the symbols' assumptions.

        Args:
            text: what is done.
            left, right: its sides.
            sign: ``<``, ``<=``, ``>`` or ``>=``.

        Raises:
            DerivationFailed: if no simplified form of the difference has the sign. Then rewrite it: factor it, square
                it, or write ``1 + d`` with a positive d for what is greater than 1.
        """
        left, right = rational(left), rational(right)
        shown = _SIGNS[sign](left, right, evaluate=False)
        difference = left - right if sign in (">", ">=") else right - left
        if not has_sign(difference, strict=sign in ("<", ">")):
            raise DerivationFailed(f"{text}: not shown: {shown}")
        self.steps.append(Step(text, shown))

    def conclude(self, text: str, result: Any) -> None:
        """The result, as the last step."""
        self.result = result
        self.steps.append(Step(text, result, checked=False))

    @property
    def shows_something(self) -> bool:
        """True if it has a result and at least one step that was checked."""
        return self.result is not None and any(step.checked for step in self.steps)

    def unicode(self, width: int | None = None) -> str:
        """For a terminal; text and expressions are broken at ``width`` columns if given."""

        def filled(text: str) -> str:
            return text if width is None else textwrap.fill(text, width)

        lines = [filled(self.title), ""]
        lines += [
            filled(f"  {sp.pretty(symbol, use_unicode=True)}: {meaning}") for symbol, meaning in self.symbols.items()
        ]
        lines += [""] if self.symbols else []
        for number, step in enumerate(self.steps, 1):
            lines += [filled(f"{number}. {step.text}"), step.unicode(width)]
        return "\n".join(line.rstrip() for text in lines for line in text.split("\n"))

    def latex(self) -> str:
        """For the book: Markdown with one displayed equation a step."""
        lines = [self.title, ""]
        lines += [f"- ${sp.latex(symbol)}$: {meaning}" for symbol, meaning in self.symbols.items()]
        lines += [""] if self.symbols else []
        for number, step in enumerate(self.steps, 1):
            lines += [f"{number}. {step.text}", "", f"   $${step.latex()}$$", ""]
        return "\n".join(lines).rstrip()


def is_zero(expression: Any) -> bool:
    """True if SymPy shows that an expression is 0 under its symbols' assumptions.

    Example (a logarithm of a square is twice the logarithm of the number only where that is positive):
        >>> p, x = sp.Symbol("p", positive=True), sp.Symbol("x", real=True)
        >>> is_zero(sp.log(p**2) - 2 * sp.log(p)), is_zero(sp.log(x**2) - 2 * sp.log(x))
        (True, False)
    """
    for simplified in (sp.expand, sp.simplify, lambda e: sp.simplify(sp.together(sp.expand_log(e)))):
        if simplified(expression) == 0:
            return True
    return False


def has_sign(expression: Any, *, strict: bool) -> bool:
    """True if SymPy shows that some form of an expression is positive, or at least not negative."""
    forms: Sequence[Callable[[Any], Any]] = (sp.expand, sp.factor, sp.simplify, lambda e: sp.factor(sp.together(e)))
    for form in forms:
        found = form(expression)
        if found.is_positive or (not strict and found.is_nonnegative):
            return True
    return False


#: Every derivation of the tree by place, ``theory/derivations/FILE.py:FUNCTION``.
DERIVATIONS: dict[str, Callable[[], Derivation]] = {}


def derivation(function: Callable[[], Derivation]) -> Callable[[], Derivation]:
    """Enter a function that derives something into :data:`DERIVATIONS`."""
    DERIVATIONS[f"{function.__module__.replace('.', '/')}.py:{function.__name__}"] = function
    return function


def all_derivations() -> Mapping[str, Callable[[], Derivation]]:
    """Every derivation by place, all files of ``theory/derivations`` imported."""
    package = importlib.import_module("theory.derivations")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"theory.derivations.{module.name}")
    return DERIVATIONS
