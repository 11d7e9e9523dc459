"""Hot spots and the silent band: found where the coverage law says so, and not by chance."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from scheduler import ClassTraffic, ClusterState, Request
from scheduler.alarm import fluid_imbalance
from scheduler.detect_config import DetectConfig
from scheduler.detection import detect
from scheduler.finding import Finding, Kind, Severity
from scheduler.mitigation import mitigate

REQUEST = Request(id=0, arrival_s=0.0, prompt_tokens=1088, group="hot")


def cluster(count: int, holders: int, hot: int = 4, cold: int = 2) -> ClusterState:
    """Instances of which the first hold a prefix of 1024 tokens."""
    return ClusterState(
        ids=tuple(f"i{index}" for index in range(count)),
        running=(hot,) * holders + (cold,) * (count - holders),
        waiting=(0,) * count,
        queued_prefill_tokens=(0,) * count,
        hit_tokens=(1024,) * holders + (0,) * (count - holders),
    )


def row(share: float, holders: int, **fields: Any) -> ClassTraffic:
    """The class ``hot``, held by the first instances."""
    return ClassTraffic(**{"name": "hot", "share": share, "holders": tuple(range(holders)), **fields})


def look(
    kind: Kind, count: int, *rows: ClassTraffic, request: Request | None = REQUEST, **settings: Any
) -> Finding | None:
    """The finding of a kind, with as many holders as the first class has."""
    state = cluster(count, len(rows[0].holders))
    return detect(state, request, traffic=rows, config=DetectConfig(**settings)).found(kind)


@given(st.integers(2, 64), st.integers(0, 64), st.integers(0, 100))
def test_a_known_share_is_hot_exactly_beyond_coverage_and_imbalance(count: int, held: int, percent: int) -> None:
    holders = min(held, count)
    found = look(Kind.HOT_SPOT, count, row(percent / 100, holders))
    share, coverage = Fraction(percent, 100), Fraction(holders, count)
    hot = 0 < coverage < 1 and share > coverage
    # (x / M) / ((1 - x) / (N - M)) > 5/4, without dividing by 1 - x
    steep = share * (count - holders) * 4 > (1 - share) * holders * 5
    assert (found is not None) is (hot and steep)
    if found:
        assert found.evidence["copies_missing"] == math.ceil(share * count) - holders
        assert found.evidence["coverage"] == float(coverage)
        assert found.instances == tuple(f"i{index}" for index in range(holders))
        assert "hot" in found.explanation
        assert (found.severity, found.claim) == (Severity.WARNING, "coverage_law")


@given(st.integers(2, 32), st.data(), st.integers(1, 600), st.sampled_from([0.3, 0.05, 0.01, 1e-4]))
def test_a_counted_share_is_hot_only_if_chance_seldom_gives_it(
    count: int, data: st.DataObject, window: int, error: float
) -> None:
    holders = data.draw(st.integers(1, count - 1))
    seen = data.draw(st.integers(0, window))
    coverage = holders / count
    found = look(Kind.HOT_SPOT, count, row(seen / window, holders, window_requests=window), error=error)
    tail = float(binom.sf(seen - 1, window, coverage))
    if found:
        assert tail <= error * (1 + 1e-9)
        assert found.evidence["window_requests"] == window
    # Chernoff's bound is off by less than a factor sqrt(8 W) wherever it speaks.
    imbalance = fluid_imbalance(Fraction(seen, window), holders, count)
    if tail * math.sqrt(8 * window) < error and imbalance > 1.25 and seen / window > coverage:
        assert found is not None


def test_all_of_the_traffic_is_no_special_case() -> None:
    # W ln(1/c) >= ln(1/error): with c = 1/3 five requests are enough for 0.01, four are not.
    assert look(Kind.HOT_SPOT, 3, row(1.0, 1, window_requests=5)) is not None
    assert look(Kind.HOT_SPOT, 3, row(1.0, 1, window_requests=4)) is None
    found = look(Kind.HOT_SPOT, 3, row(1.0, 1))
    assert found is not None
    assert (found.evidence["imbalance"], found.evidence["copies_missing"]) == (None, 2)


@pytest.mark.parametrize(("counted", "denominator"), [(5, 9), (7, 10), (2, 3), (999, 1000)])
def test_copies_are_those_of_the_exact_share(counted: int, denominator: int) -> None:
    found = look(Kind.HOT_SPOT, denominator, row(counted / denominator, 1, window_requests=100 * denominator))
    assert found is not None
    assert found.evidence["copies_missing"] == counted - 1


def test_work_counts_where_requests_do_not_tell() -> None:
    found = look(Kind.HOT_SPOT, 16, row(0.0625, 1, work_share=0.5, window_requests=400, resident_requests=200))
    assert found is not None
    assert (found.claim, found.evidence["copies_missing"]) == ("coverage_law_by_work", 7)
    few = row(0.0625, 1, work_share=0.5, window_requests=400, resident_requests=2)
    assert look(Kind.HOT_SPOT, 16, few) is None
    assert look(Kind.HOT_SPOT, 16, row(0.0625, 1, work_share=0.5, window_requests=2)) is None


def test_many_short_requests_are_no_hot_spot() -> None:
    short = row(0.5, 1, work_share=0.0, window_requests=400, resident_requests=200)
    assert look(Kind.HOT_SPOT, 16, short) is None
    # Of 60 residents none may be of a class of one sixteenth by chance, and a known share of the work needs no chance.
    assert look(Kind.HOT_SPOT, 16, msgspec.structs.replace(short, resident_requests=60)) is not None
    exact = row(0.5, 1, work_share=0.06)
    assert look(Kind.HOT_SPOT, 16, exact) is None
    assert look(Kind.HOT_SPOT, 16, msgspec.structs.replace(exact, work_share=0.07)) is not None


@pytest.mark.parametrize(("residents", "severity"), [(3, Severity.INFO), (4, Severity.CRITICAL)])
def test_fewer_requests_than_instances_make_no_batch_run_hot(residents: int, severity: Severity) -> None:
    state = msgspec.structs.replace(cluster(4, 1, 0, 0), running=(residents, 0, 0, 0))
    detection = detect(state, REQUEST, traffic=(row(0.9, 1, streak=9),))
    found = detection.found(Kind.HOT_SPOT)
    assert found is not None
    assert found.severity is severity
    done = mitigate(state, REQUEST, detection)
    assert done.kind == ("replicate" if severity is Severity.CRITICAL else "none")


def test_a_standing_alarm_asks_for_what_else_the_holders_serve() -> None:
    """The monitor has tested it and counts other traffic too: nobody tests again, and both numbers are told."""
    standing = row(0.3, 6, window_requests=10, streak=12, alarmed=True, copies_missing=4)
    found = look(Kind.HOT_SPOT, 16, standing)
    assert found is not None
    assert (found.evidence["copies_missing"], found.evidence["copies_asked"]) == (0, 4)
    assert "4 more instances" in found.advice
    assert look(Kind.HOT_SPOT, 16, msgspec.structs.replace(standing, copies_missing=0)) is None
    assert look(Kind.HOT_SPOT, 16, msgspec.structs.replace(standing, alarmed=None)) is None


def test_a_prefix_that_buys_nothing_makes_no_hot_spot() -> None:
    everybody = row(1.0, 1, prefix_tokens=16)
    assert look(Kind.HOT_SPOT, 16, everybody) is None
    assert look(Kind.HOT_SPOT, 16, msgspec.structs.replace(everybody, prefix_tokens=1024)) is not None
    # Without a request of the class nobody knows what its hits buy.
    assert look(Kind.HOT_SPOT, 16, everybody, request=None) is not None


def test_two_requests_in_a_row_for_each_holder_confirm_it() -> None:
    for streak, severity in ((3, Severity.WARNING), (4, Severity.CRITICAL)):
        found = look(Kind.HOT_SPOT, 16, row(0.5, 2, streak=streak))
        assert found is not None
        assert found.severity is severity


@pytest.mark.parametrize(
    ("group", "applies", "mine"),
    [("hot", None, True), ("", None, False), ("cold", None, False), ("", True, True), ("hot", False, False)],
)
def test_the_request_is_of_the_class_by_mark_or_by_name(group: str, applies: bool | None, mine: bool) -> None:
    request = msgspec.structs.replace(REQUEST, group=group)
    found = look(Kind.HOT_SPOT, 16, row(0.5, 2, applies=applies), request=request)
    assert found is not None
    assert found.evidence["applies"] is mine
    assert (found.evidence["leverage"] is not None) is mine


def test_classes_that_are_covered_each_are_not_covered_together() -> None:
    # Each class has 0.2 <= 4/16 of the traffic, but all three are held by the same four instances.
    rows = [ClassTraffic(name=name, share=0.2, holders=(0, 1, 2, 3)) for name in "abc"]
    found = look(Kind.HOT_SPOT, 16, *rows)
    assert found is not None
    assert (found.claim, found.evidence["copies_missing"]) == ("coverage_law_many_classes", 6)
    assert found.evidence["class"] == "a + b + c"
    apart = [
        msgspec.structs.replace(one, holders=(4 * n, 4 * n + 1, 4 * n + 2, 4 * n + 3)) for n, one in enumerate(rows)
    ]
    assert look(Kind.HOT_SPOT, 16, *apart) is None


def test_a_union_of_holders_is_tested_that_no_class_has_alone() -> None:
    # a on {0, 1}, b on {1, 2}, c on {0, 2}: each 0.1 <= 2/16, together 0.3 > 3/16.
    places = {"a": (0, 1), "b": (1, 2), "c": (0, 2)}
    rows = [ClassTraffic(name=name, share=0.1, holders=held) for name, held in places.items()]
    found = look(Kind.HOT_SPOT, 16, *rows)
    assert found is not None
    assert found.instances == ("i0", "i1", "i2")
    assert found.evidence["share"] == pytest.approx(0.3)


def test_prefixes_of_one_prompt_are_counted_once() -> None:
    nested = [row(0.1, 2, name=f"depth {depth}", applies=True) for depth in range(4)]
    assert look(Kind.HOT_SPOT, 16, *nested) is None


@pytest.mark.parametrize("policy", ["join_shortest_queue", "vllm_v1"])
def test_a_rule_that_does_not_follow_the_cache_makes_no_hot_spot(policy: str) -> None:
    assert look(Kind.HOT_SPOT, 16, row(0.9, 1), policy=policy) is None


@given(st.integers(2, 32), st.data(), st.integers(51, 99), st.integers(0, 40), st.integers(0, 40))
def test_the_silent_band_is_a_steady_state_in_which_the_product_keeps_to_the_holders(
    count: int, data: st.DataObject, percent: int, hot: int, cold: int
) -> None:
    holders = data.draw(st.integers(1, count - 1))
    state = cluster(count, holders, hot, cold)
    found = detect(state, REQUEST, traffic=[row(percent / 100, holders)])
    residents = sum(state.running)
    steady = Fraction(percent, 100) * residents / holders, Fraction(100 - percent, 100) * residents / (count - holders)
    # On a holder 64 tokens are new, elsewhere 1088.
    keeps = (steady[0] + 1) * 64 <= (steady[1] + 1) * 1088
    expected = found.found(Kind.HOT_SPOT) is not None and residents > 0 and keeps
    silent = found.found(Kind.SILENT_BAND)
    if abs((steady[0] + 1) * 64 - (steady[1] + 1) * 1088) > Fraction(1, 10**6):
        assert (silent is not None) is expected
    if silent and silent.evidence["silent_imbalance"] is not None:
        assert silent.evidence["imbalance"] <= silent.evidence["silent_imbalance"] * (1 + 1e-9)
    if silent:
        assert silent.severity is (Severity.WARNING if residents >= count else Severity.INFO)


def test_only_a_product_is_expected_to_heal() -> None:
    for policy, found in (("lmetric", True), ("linear", False)):
        assert (look(Kind.SILENT_BAND, 16, row(0.5, 2), policy=policy) is not None) is found
    assert look(Kind.SILENT_BAND, 16, row(0.5, 2), request=None) is None
