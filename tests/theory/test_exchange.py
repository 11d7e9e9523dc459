"""Product and line, on the shipped rules."""

from fractions import Fraction

from hypothesis import given

from scheduler import formulas
from scheduler.policies.catalogue import policy
from scheduler.policies.choosing import decide
from scheduler.state import ClusterState, Request
from scheduler.testing.laws import product_indicators
from scheduler.testing.strategies import situations


@given(situations(2, 2, loose=True))
def test_in_a_pair_the_product_is_the_line_at_the_ratio_of_means(drawn: tuple[ClusterState, Request]) -> None:
    (p_i, b_i), (p_j, b_j) = product_indicators(*drawn)
    rate = formulas.pairwise_rate(Fraction(p_i), Fraction(b_i), Fraction(p_j), Fraction(b_j))
    lines = [formulas.line(p, b, rate) for p, b in ((p_i, b_i), (p_j, b_j))]
    assert decide(policy("lmetric"), *drawn)[0].instance == min((0, 1), key=lines.__getitem__)
