"""Proofs about the rules that run, the search for counterexamples, and the counterexamples found.

``Z3`` reads a rule as solver terms; each term comes with its domain as premises.

Example:
    No state gives the score 0, whatever is cached and queued:

    >>> import z3
    >>> from scheduler.indicators import indicators_of
    >>> from scheduler.policies.catalogue import policy
    >>> from scheduler.policies.reading import exact, read
    >>> (instance, premises_of_instance), (request, premises_of_request) = instance_terms(0), request_terms()
    >>> wanted = ("running", "waiting", "queued_prefill_tokens", "hit_tokens")
    >>> seen = {name: instance[name] for name in wanted}
    >>> x = indicators_of(Z3, prompt_tokens=request["prompt_tokens"], **seen)
    >>> [(key,)], _ = read(exact(policy("lmetric")), Z3, [x])
    >>> solver = z3.Solver()
    >>> solver.add(*premises_of_instance, *premises_of_request, key <= 0)
    >>> solver.check()
    unsat
"""

from proofs.ops import Z3
from proofs.terms import instance_terms, number, premises, request_terms, terms_of

__all__ = ["Z3", "instance_terms", "number", "premises", "request_terms", "terms_of"]
