"""The registry: what is read, what is refused."""

import pytest

from scheduler.errors import BadInput
from theory.registry import Status, claim, claims, read_claims

PROVED = """
[claim.a_claim]
statement = "It holds."
status = "proved"
proof = ["proofs/theorems/a.py:b"]
property = ["tests/a.py::test_b"]
book = "docs/book/a.md#a_claim"
"""

#: The statements that the project set out to show, in their order.
NUMBERED = (
    "pairwise_exchange_rate",
    "product_choice_is_a_tuned_line",
    "agreement_interval",
    "divergence_wedge",
    "product_is_scale_free",
    "no_weight_fits_all_states",
    "price_of_a_fixed_weight",
    "never_dominated",
    "noise_margin",
    "margin_buys_weight_robustness",
    "exponent_is_the_hidden_weight",
    "marginal_delay",
    "product_is_marginal_delay_plus_cross_term",
    "decode_offset",
    "equilibrium",
    "disaggregated_pools",
    "hotspot_growth",
    "coverage_law",
    "coverage_law_by_work",
    "coverage_law_many_classes",
    "leverage_bounds_imbalance",
    "silent_band",
    "product_heals_only_to_its_leverage",
    "cold_instance_starvation",
    "zero_collapse",
    "idle_collapse",
    "unequal_speeds",
    "herding_on_stale_state",
    "proxy_information_loss_is_one_sided",
    "detector_fires_in_time",
    "alarm_window",
    "confirmation",
    "filter_mitigation",
    "replicate_to_coverage",
    "mitigated_routing_is_bounded",
)


def test_every_numbered_statement_is_an_entry_in_its_place() -> None:
    numbered = {entry.number: name for name, entry in claims().items() if entry.number is not None}
    assert numbered == dict(enumerate(NUMBERED, 1))


def test_at_least_22_claims_are_proved() -> None:
    assert sum(entry.status is Status.PROVED for entry in claims().values()) >= 22


def test_no_claim_is_open() -> None:
    assert [name for name, entry in claims().items() if entry.status is Status.OPEN] == []


def test_a_bounded_claim_names_its_bound_and_no_other_does() -> None:
    assert [n for n, entry in claims().items() if bool(entry.bound) is not (entry.status is Status.BOUNDED)] == []


def test_a_claim_is_read() -> None:
    assert read_claims(PROVED)["a_claim"].proof == ("proofs/theorems/a.py:b",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[claim.a", "claims.toml: expected a TOML file"),
        ('[other.a]\nstatement = "x"', "tables .claim.NAME. only"),
        ('[claim.A]\nstatement = "x"\nstatus = "open"', "a name of small letters"),
        ('[claim.a]\nstatement = "x"\nstatus = "sure"', "claim a: expected a claim's fields"),
        ('[claim.a]\nstatus = "open"', "statement"),
        ('[claim.a]\nstatement = "x"\nstatus = "open"\nprofo = []', "profo"),
        (
            '[claim.a]\nstatement = "x"\nstatus = "proved"\nproperty = ["tests/a.py::b"]',
            "claim a: proof, book: expected",
        ),
        (PROVED.replace("proved", "bounded"), "claim a_claim: bound: expected"),
        ('[claim.a]\nstatement = "x"\nstatus = "measured"\nproperty = ["a"]', "claim a: measurement"),
    ],
)
def test_a_malformed_registry_is_refused(text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read_claims(text)


def test_a_name_may_be_used_once() -> None:
    with pytest.raises(BadInput, match="a_claim"):
        read_claims(PROVED + PROVED)


def test_an_unknown_claim_gets_the_nearest_names() -> None:
    with pytest.raises(BadInput, match="coverage_law"):
        claim("coverage_low")
