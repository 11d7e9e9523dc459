"""From a domain to a SymPy symbol with the assumptions that hold in it."""

from __future__ import annotations

from collections.abc import Mapping

import sympy as sp

from scheduler.domains import INSTANCE_DOMAINS, REQUEST_DOMAINS, Domain


def symbol(name: str, domain: Domain) -> sp.Symbol:
    """A symbol that SymPy may assume to lie in the domain, as far as its assumptions can say so.

    An upper bound has no assumption of its own; where a derivation needs it, it is a premise.

    Example:
        >>> symbol("B", Domain(1, None, integer=True)).is_positive
        True
    """
    positive = domain.low > 0 or (domain.low == 0 and domain.low_open)
    assumptions: dict[str, bool] = {"real": True, "finite": True}
    if domain.integer:
        assumptions["integer"] = True
    if positive:
        assumptions["positive"] = True
    elif domain.low >= 0:
        assumptions["nonnegative"] = True
    return sp.Symbol(name, **assumptions)


def symbols_of(domains: Mapping[str, Domain], suffix: str = "") -> dict[str, sp.Symbol]:
    """A symbol for each name, the suffix added to what SymPy prints (``running_0``)."""
    return {name: symbol(name + suffix, domain) for name, domain in domains.items()}


def instance_symbols(index: int) -> dict[str, sp.Symbol]:
    """The symbols of what is known of one instance, by field."""
    return symbols_of(INSTANCE_DOMAINS, f"_{index}")


def request_symbols() -> dict[str, sp.Symbol]:
    """The symbols of what is known of the request, by field."""
    return symbols_of(REQUEST_DOMAINS)
