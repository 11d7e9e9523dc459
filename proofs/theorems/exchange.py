"""Product against line, pair by pair.

Every rule here takes a least key with ties by index, so the choice among N instances is the one that no other
instance precedes: a statement about all pairs is a statement about all N (see ``reduction.py``).
"""

from __future__ import annotations

from proofs.cluster import plain, scores
from proofs.theorem import Theorem, theorem
from scheduler import formulas
from scheduler.policies.catalogue import policy


@theorem
def product_is_the_line_at_the_ratio_of_means() -> Theorem:
    """In each pair the product is the line whose weight is the pair's own ratio of means.

    Claim: pairwise_exchange_rate.
    """
    i, j = plain("i", "j")
    rate = formulas.pairwise_rate(i.p_token, i.batch_size, j.p_token, j.batch_size)
    product_i, product_j = scores(policy("lmetric"), [i, j])
    line_i, line_j = (formulas.line(x.p_token, x.batch_size, rate) for x in (i, j))
    return Theorem(
        given={"batch sizes are positive": i.batch_size + j.batch_size > 0},
        claim=(product_i < product_j) == (line_i < line_j),
        faults={
            "half the rate": (product_i < product_j)
            == (formulas.line(i.p_token, i.batch_size, rate / 2) < formulas.line(j.p_token, j.batch_size, rate / 2)),
            "flipped": (product_i < product_j) == (line_i > line_j),
        },
    )
