"""Derivations of the closed forms in `scheduler`, and the registry of claims about them."""

__all__: list[str] = []
