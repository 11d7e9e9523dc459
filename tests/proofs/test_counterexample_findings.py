"""Every saved state yields the findings that its file expects, and its safe twin none of them."""

from __future__ import annotations

import msgspec
import pytest

from proofs.search import Counterexample, counterexamples
from scheduler import StateFile
from scheduler.detect_config import DetectConfig
from scheduler.detection import detect
from scheduler.finding import Detection, Kind

SAVED = {saved.name: saved for saved in counterexamples()}


def looked_at(saved: Counterexample, file: StateFile) -> Detection:
    """What the detector says under the rule of the file."""
    return detect(file.state, file.request, traffic=file.traffic, config=DetectConfig(policy=saved.policy))


def kinds(found: Detection) -> set[str]:
    """The kinds of all findings."""
    return {finding.kind.value for finding in found.findings}


@pytest.mark.parametrize("name", list(SAVED))
def test_a_saved_state_yields_its_findings_and_its_twin_none_of_them(name: str) -> None:
    saved = SAVED[name]
    expected = set(saved.expected_findings)
    assert expected <= kinds(looked_at(saved, saved.state))
    assert expected & kinds(looked_at(saved, saved.safe_twin)) == set()


@pytest.mark.parametrize("name", [name for name in SAVED if SAVED[name].provenance["kind"] != "sequence"])
def test_the_choice_is_the_one_of_the_provenance(name: str) -> None:
    choice = looked_at(SAVED[name], SAVED[name].state).choice
    assert choice is None or choice.instance == SAVED[name].provenance["chosen"]


@pytest.mark.parametrize("name", list(SAVED))
def test_no_saved_state_is_inconsistent_and_every_answer_can_be_written(name: str) -> None:
    for file in (SAVED[name].state, SAVED[name].safe_twin):
        found = looked_at(SAVED[name], file)
        assert found.found(Kind.INCONSISTENT_INPUT) is None
        assert msgspec.json.decode(msgspec.json.encode(found), type=Detection).safe is found.safe


def test_some_file_expects_something() -> None:
    assert {kind for saved in SAVED.values() for kind in saved.expected_findings} <= {kind.value for kind in Kind}
    assert sum(bool(saved.expected_findings) for saved in SAVED.values()) >= 10
