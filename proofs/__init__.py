"""Proofs about the rules that run, the search for counterexamples, and the counterexamples found.

``Z3`` reads a rule as solver terms; each term comes with its domain as premises. :func:`prove` states one proof;
:class:`Theorem` is a proof as data, with the faults that must make it fail (``proofs.theorems`` has them all).
``proofs.search`` finds states.

Example:
    No state gives the score 0, whatever is cached and queued:

    >>> from proofs.cluster import observed, scores
    >>> from scheduler.policies.catalogue import policy
    >>> instances, domains = observed(1)
    >>> [score] = scores(policy("lmetric"), instances)
    >>> prove(score > 0, given=domains)

    Without the floor of one token there is one:

    >>> [score] = scores(policy("lmetric_paper"), instances)
    >>> try:
    ...     prove(score > 0, given=domains)
    ... except Refuted as fault:
    ...     print(fault.model["hit_tokens_0"] == fault.model["prompt_tokens"])
    True
"""

from proofs.ops import Z3
from proofs.proving import ProofFailed, Refuted, Undecided, Vacuous, prove, satisfy
from proofs.terms import instance_terms, number, premises, request_terms, terms_of
from proofs.theorem import Theorem, all_theorems, check_theorem

__all__ = [
    "Z3",
    "ProofFailed",
    "Refuted",
    "Theorem",
    "Undecided",
    "Vacuous",
    "all_theorems",
    "check_theorem",
    "instance_terms",
    "number",
    "premises",
    "prove",
    "request_terms",
    "satisfy",
    "terms_of",
]
