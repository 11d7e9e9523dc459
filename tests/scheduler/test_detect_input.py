"""The detector answers whatever it is given; what cannot be is named, and no choice is made from it."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler import BadInput, ClassTraffic, ClusterState, Request
from scheduler.detect_config import CONFIG_DOMAINS, DetectConfig
from scheduler.detection import Detector, detect
from scheduler.domains import INSTANCE_DOMAINS
from scheduler.errors import LETTERS_SHOWN, shown
from scheduler.finding import Detection, Kind, Severity
from scheduler.sane import sane_state
from scheduler.state import REQUIRED_COLUMNS, checked_hits
from scheduler.testing.insane import Broken, Rude, anything, broken_states, class_traffic, outside, wild_states
from scheduler.testing.strategies import situations

REQUEST = Request(id=0, arrival_s=0.0, prompt_tokens=160)
STATE = ClusterState(ids=("a", "b"), running=(1, 2), waiting=(0, 0), queued_prefill_tokens=(0, 0), hit_tokens=(0, 128))


def refused(found: Detection) -> bool:
    """Whether the detector called the input inconsistent; then all that belongs to it must be there."""
    if found.found(Kind.INCONSISTENT_INPUT) is None:
        return False
    assert not found.safe
    assert found.choice is None
    for finding in found.findings:
        assert finding.kind is Kind.INCONSISTENT_INPUT
        assert finding.severity is Severity.CRITICAL
        assert {"field", "value", "expected"} == set(finding.evidence)
    assert msgspec.json.encode(found)
    return True


@given(anything(), anything() | st.just(REQUEST), anything() | st.none())
def test_whatever_is_looked_at_there_is_an_answer(state: Any, request: Any, traffic: Any) -> None:
    assert refused(detect(state, request, traffic=traffic))


@given(wild_states(), st.none() | st.just(REQUEST), st.booleans())
def test_wild_states_are_refused_exactly_if_a_check_refuses_them(state: Any, request: Any, trusted: bool) -> None:
    found = Detector().look(state, request, trusted=trusted)
    assert isinstance(found, Detection)
    if trusted:
        return
    try:
        state.checked()
        if request is not None:
            checked_hits(state, request)
    except (BadInput, RuntimeError):
        assert refused(found)
    else:
        assert not refused(found)


@given(broken_states())
def test_one_fault_is_found_and_named(broken: Broken) -> None:
    found = detect(broken.state, broken.request)
    assert refused(found)
    if "or" not in broken.field.split():
        assert any(finding.evidence["field"] == broken.field for finding in found.findings)


@given(situations(complete=False, loose=True), st.data())
def test_sane_input_is_never_called_inconsistent(situation: tuple[ClusterState, Request], data: st.DataObject) -> None:
    state, request = situation
    traffic = data.draw(class_traffic(len(state)))
    assert sane_state(state) is not None
    assert not refused(detect(state, request, traffic=traffic))
    assert not refused(detect(state, traffic=traffic))


@given(st.sampled_from(list(INSTANCE_DOMAINS)), st.data())
def test_the_message_names_field_value_and_domain(name: str, data: st.DataObject) -> None:
    domain = INSTANCE_DOMAINS[name]
    value = data.draw(outside(domain))
    columns: dict[str, Any] = dict.fromkeys(REQUIRED_COLUMNS, (0, 0))
    columns[name] = (value, value)
    finding = detect(ClusterState(ids=("a", "b"), **columns), REQUEST).findings[0]
    assert finding.evidence == {
        "field": f"instances[0].{name}",
        "value": shown(value),
        "expected": domain.describe(),
    }
    assert finding.instances == ("a", "b")
    assert all(part in finding.explanation for part in (name, shown(value), domain.describe()))


def test_numbers_of_numpy_and_whole_floats_are_numbers() -> None:
    columns: dict[str, Any] = {"running": tuple(np.arange(2)), "waiting": (0.0, 2.0), "hit_tokens": (0, 128)}
    state = ClusterState(ids=("a", "b"), queued_prefill_tokens=(0, 0), **columns)
    plain = ClusterState(
        ids=("a", "b"), running=(0, 1), waiting=(0, 2), queued_prefill_tokens=(0, 0), hit_tokens=(0, 128)
    )
    assert detect(state, REQUEST) == detect(plain, REQUEST)
    assert not refused(detect(state, REQUEST))


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (ClassTraffic(name="c", share=math.nan), "traffic[0].share"),
        (ClassTraffic(name="c", share=0.5, work_share=2.0), "traffic[0].work_share"),
        (ClassTraffic(name="c", share=0.5, window_requests=-1), "traffic[0].window_requests"),
        (ClassTraffic(name="c", share=0.5, holders=(2,)), "traffic[0].holders[0]"),
        (ClassTraffic(name="c", share=0.5, holders=(0, 0)), "traffic[0].holders[1]"),
        (ClassTraffic(name="c", share=0.5, holders=3), "traffic[0].holders"),  # type: ignore[arg-type]
        (ClassTraffic(name=7, share=0.5), "traffic[0].class"),  # type: ignore[arg-type]
        (ClassTraffic(name="c", share=0.5, applies=1), "traffic[0].applies"),  # type: ignore[arg-type]
        ("c", "traffic[0]"),
    ],
)
def test_insane_traffic_is_named(row: Any, field: str) -> None:
    found = detect(STATE, REQUEST, traffic=[row])
    assert refused(found)
    assert found.findings[0].evidence["field"] == field


def test_an_id_that_two_instances_have_is_named() -> None:
    found = detect(msgspec.structs.replace(STATE, ids=("a", "a")), REQUEST)
    assert refused(found)
    assert (found.findings[0].evidence["field"], found.findings[0].instances) == ("instances[1].id", ("a",))


def test_an_insane_belief_of_the_output_length_is_named() -> None:
    found = Detector().look(STATE, REQUEST, expected_output_tokens=math.nan)
    assert refused(found)
    assert found.findings[0].evidence["field"] == "expected_output_tokens"


def test_a_column_that_the_rule_reads_must_be_there() -> None:
    found = detect(STATE, REQUEST, config=DetectConfig(policy="dynamo"))
    assert refused(found)
    assert found.findings[0].evidence["field"] == "instances[*].active_blocks"


def test_a_view_of_the_router_that_is_broken_is_a_finding_too() -> None:
    assert refused(Detector().look(Rude(), REQUEST, trusted=True))


@pytest.mark.parametrize("name", list(CONFIG_DOMAINS))
@pytest.mark.parametrize("value", [-1, math.nan, "1", True])
def test_a_bad_threshold_is_refused(name: str, value: Any) -> None:
    with pytest.raises(BadInput, match=rf"config\.{name}"):
        DetectConfig(**{name: value})


@pytest.mark.parametrize(
    "fields",
    [
        {"policy": 7},
        {"policy": "lmetrik"},
        {"policy": "linear:weight=2"},
        {"error": None},
        {"weight_range": (2.0, 1.0)},
        {"weight_range": [1.0, 2.0]},
        {"weight_range": (1.0, math.nan)},
    ],
)
def test_a_bad_configuration_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        DetectConfig(**fields)


@pytest.mark.parametrize("config", ["lmetric", 7, Rude()], ids=["text", "number", "rude"])
def test_what_is_no_configuration_is_refused(config: Any) -> None:
    with pytest.raises(BadInput, match="config"):
        detect(STATE, REQUEST, config=config)


@pytest.mark.parametrize("value", [10**5000, -(10**5000), "x" * 999, Rude(), [10**5000]], ids=str.split("a b c d e"))
def test_every_value_can_be_shown_on_one_short_line(value: Any) -> None:
    message = str(BadInput("field", value, "a thing"))
    assert message.startswith("field: expected a thing, got ")
    assert len(shown(value)) <= LETTERS_SHOWN


def test_what_is_believed_of_the_output_is_checked_and_named() -> None:
    (found,) = Detector().look(STATE, REQUEST, expected_output_tokens=-1.0).findings
    assert found.evidence == {
        "field": "expected_output_tokens",
        "value": "-1.0",
        "expected": "a finite number >= 0 and <= 2147483648 [token]",
    }


def test_what_raises_while_it_is_read_is_named() -> None:
    class Sour:
        ids, running, queued_prefill_tokens, hit_tokens = ("a",), (1,), (0,), (0,)

        @property
        def waiting(self) -> Any:
            raise RuntimeError("no news")

    (found,) = Detector().look(Sour(), REQUEST, trusted=True).findings
    assert found.explanation == "state is RuntimeError('no news'), expected numbers that can be read."
