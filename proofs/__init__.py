"""Proofs about the rules that run, the search for counterexamples, and the counterexamples found."""

__all__: list[str] = []
