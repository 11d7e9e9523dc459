"""Every closed form over numbers has an expression, and it says what the function computes."""

import inspect
import random
from fractions import Fraction

import pytest
import sympy as sp

from scheduler import formulas
from scheduler.errors import BadInput
from scheduler.ops import SCALAR
from theory.ops import rational
from theory.symbolic import formula

SCALAR_FORMS = [
    name
    for name in formulas.__all__
    if callable(function := getattr(formulas, name))
    and all(
        p.name == "ops" or p.annotation in ("Number", "int") for p in inspect.signature(function).parameters.values()
    )
]


@pytest.mark.parametrize("name", SCALAR_FORMS)
def test_the_expression_computes_what_the_function_does(name: str) -> None:
    rng, function, found = random.Random(name), getattr(formulas, name), formula(name)
    worlds = (SCALAR,) if "ops" in inspect.signature(function).parameters else ()
    checked = 0
    for _ in range(50):
        values = {argument: Fraction(rng.randint(1, 9), 10) for argument in found.symbols}
        pairs = {symbol: rational(values[argument]) for argument, symbol in found.symbols.items()}
        try:
            expected = function(*worlds, **values)
        except (ValueError, ZeroDivisionError):  # outside its domain
            continue
        got = sp.sympify(found.expression).subs(pairs)
        if isinstance(expected, bool):
            assert bool(got) == expected
        elif isinstance(expected, float):  # a logarithm or a root: SymPy is exact where floats are not
            assert float(got) == pytest.approx(expected, rel=1e-9)
        else:
            assert got == rational(Fraction(expected))
        checked += 1
    assert checked >= 5


def test_a_form_has_letters_and_a_meaning() -> None:
    found = formula("marginal_delay")
    assert found.latex() == r"B \left(\kappa + n\right) + q"
    assert "κ" in str(found)
    assert found.meaning.endswith("[token].")


@pytest.mark.parametrize("name", ["marginal_dealy", "UNIT_ROUNDOFF", "agreement_low"])
def test_what_has_no_expression_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="formula"):
        formula(name)
