"""Several product choices with the same product: when the weights that take one of them form one interval."""

from __future__ import annotations

import z3

from proofs.cluster import plain
from proofs.theorem import Theorem, theorem
from proofs.theorems.agreement import UNBOUNDED, interval
from proofs.theorems.exchange import line_scores, product_scores


@theorem
def tied_choices_share_one_interval() -> Theorem:
    """False: that the weights at which a line takes one of two tied product choices form one interval.

    At three rising weights the line takes the first tied one, then a third instance, then the second.

    Claim: tied_choices_share_one_interval.
    """
    a, b, c = plain("a", "b", "c")
    product_a, product_b, product_c = product_scores([a, b, c])
    rates = z3.Reals("w_low w_middle w_high")
    lines = [line_scores([a, b, c], rate) for rate in rates]
    taken_at_both_ends = z3.And(
        lines[0][0] <= lines[0][1], lines[0][0] <= lines[0][2], lines[2][1] <= lines[2][0], lines[2][1] <= lines[2][2]
    )
    return Theorem(
        domain=(
            rates[0] > 0,
            rates[0] < rates[1],
            rates[1] < rates[2],
            *(z3.And(x.p_token >= 1, x.batch_size >= 1) for x in (a, b, c)),
        ),
        given={"two products are tied for least": z3.And(product_a == product_b, product_a <= product_c)},
        claim=z3.Implies(taken_at_both_ends, z3.Or(lines[1][0] <= lines[1][2], lines[1][1] <= lines[1][2])),
        refuted=True,
    )


@theorem
def two_intervals_meet_unless_a_third_undercuts_the_line_through_both() -> Theorem:
    """Two tied product choices have intervals that meet, unless a third lies below the line through them.

    Claim: agreement_interval.
    """
    a, b, c = plain("a", "b", "c")
    rate = z3.Real("w")
    product_a, product_b, product_c = product_scores([a, b, c])
    line_a, line_b, line_c = line_scores([a, b, c], rate)
    (low_a, high_a), (low_b, high_b) = interval(a, [b, c]), interval(b, [a, c])
    return Theorem(
        domain=(rate < UNBOUNDED, line_a == line_b, b.batch_size < a.batch_size),
        given={
            "P-tokens are positive": z3.And([x.p_token > 0 for x in (a, b, c)]),
            "batch sizes are positive": z3.And([x.batch_size > 0 for x in (a, b, c)]),
            "two products are tied for least": z3.And(product_a == product_b, product_a <= product_c),
        },
        claim=z3.And(
            (high_a == low_b) == (line_c >= line_a),
            z3.Implies(high_a == low_b, high_a == rate),
            high_a <= low_b,
        ),
        faults={
            "they always meet": high_a == low_b,
            "a third on the line parts them": (high_a == low_b) == (line_c > line_a),
            "the other ends": (high_b == low_a) == (line_c >= line_a),
        },
        reached={"a third on the line": z3.And(line_c == line_a, c.batch_size != a.batch_size, high_a == low_b)},
    )
