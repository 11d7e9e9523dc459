"""From a domain to a Z3 term and the premises that hold in it.

Every term has sort Real, also those of whole numbers: Z3 divides ``Int`` by ``Int`` as integers, and a rule means true
division. That a value is whole is a premise of its own, which a proof may leave out; it then proves more.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import z3

from scheduler.domains import INSTANCE_DOMAINS, REQUEST_DOMAINS, Domain
from scheduler.ops import as_written


def number(value: int | float | Fraction) -> Any:
    """The exact Z3 constant of a number; a float means the decimal that Python prints for it."""
    fraction = as_written(value)
    return z3.Q(fraction.numerator, fraction.denominator)


def premises(term: Any, domain: Domain, *, whole: bool = True) -> list[Any]:
    """What the domain says of a term.

    Args:
        term: a Z3 term of sort Real.
        domain: what it may be.
        whole: False leaves out that the value is an integer, which is sound for proofs and quicker, but lets a
            counterexample be broken.
    """
    found = [term > number(domain.low) if domain.low_open else term >= number(domain.low)]
    if domain.high is not None:
        found.append(term <= number(domain.high))
    if domain.integer and whole:
        found.append(z3.IsInt(term))
    return found


def terms_of(
    domains: Mapping[str, Domain], suffix: str = "", *, whole: bool = True
) -> tuple[dict[str, Any], list[Any]]:
    """A Real constant for each name, and the premises of all."""
    terms = {name: z3.Real(name + suffix) for name in domains}
    return terms, [premise for name, term in terms.items() for premise in premises(term, domains[name], whole=whole)]


def instance_terms(index: int, *, whole: bool = True) -> tuple[dict[str, Any], list[Any]]:
    """The terms of what is known of one instance, by field, and their premises."""
    return terms_of(INSTANCE_DOMAINS, f"_{index}", whole=whole)


def request_terms(*, whole: bool = True) -> tuple[dict[str, Any], list[Any]]:
    """The terms of what is known of the request, by field, and their premises."""
    return terms_of(REQUEST_DOMAINS, whole=whole)
