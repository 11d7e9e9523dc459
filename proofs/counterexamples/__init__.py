"""States that the search found and saved, one JSON file each; :func:`proofs.search.counterexamples` reads them."""
