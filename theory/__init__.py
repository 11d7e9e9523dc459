"""Derivations of the closed forms in `scheduler`, and the registry of claims about them.

``SYMPY`` reads a rule as SymPy expressions; symbols carry the domains of the inputs as assumptions.

Example:
    >>> from scheduler.indicators import indicators_of
    >>> from scheduler.policies.catalogue import policy
    >>> from scheduler.policies.reading import exact, read
    >>> wanted = ("running", "waiting", "queued_prefill_tokens", "hit_tokens")
    >>> seen = {name: found for name, found in instance_symbols(0).items() if name in wanted}
    >>> x = indicators_of(SYMPY, prompt_tokens=request_symbols()["prompt_tokens"], **seen)
    >>> [(key,)], _ = read(exact(policy("lmetric")), SYMPY, [x])
    >>> key
    (queued_prefill_tokens_0 + Max(1, -hit_tokens_0 + prompt_tokens))*(running_0 + waiting_0 + 1)
    >>> key.is_positive
    True
"""

from theory.ops import SYMPY, rational
from theory.symbols import instance_symbols, request_symbols, symbol, symbols_of

__all__ = ["SYMPY", "instance_symbols", "rational", "request_symbols", "symbol", "symbols_of"]
