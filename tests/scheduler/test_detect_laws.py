"""Laws of every detection: order, safety, sentences, claims, and that names and places do not matter."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

import scheduler.findings
from scheduler import ClassTraffic, ClusterState, Request
from scheduler.detect_config import DetectConfig
from scheduler.detection import Detector, detect
from scheduler.finding import Detection, Finding, Kind, Severity
from scheduler.policies.product import RULES
from scheduler.testing.insane import class_traffic
from scheduler.testing.strategies import situations
from theory.registry import claims

Situation = tuple[ClusterState, Request]
GRAVITY = list(Severity)
CLAIMS = set(claims())
FOLDER = Path(next(iter(scheduler.findings.__path__)))


@st.composite
def lively(draw: st.DrawFn) -> tuple[ClusterState, Request, tuple[ClassTraffic, ...], DetectConfig]:
    """Situations with traffic under a product rule and settings that bring much up."""
    loose = draw(st.booleans())
    state, request = draw(situations(complete=False, loose=loose))
    config = DetectConfig(
        policy=draw(st.sampled_from([rule.name for rule in RULES])),
        kappa_tokens=draw(st.none() | st.floats(0, 1000)),
        weight_range=draw(st.none() | st.just((16.0, 64.0))),
        max_batch=draw(st.sampled_from([8, 32, 256])),
        routers=draw(st.integers(1, 3)),
        arrival_rate_per_s=draw(st.none() | st.just(1.0)),
    )
    return state, request, draw(class_traffic(len(state))), config


LIVELY = lively()


@given(LIVELY, st.booleans())
def test_findings_come_gravest_first_and_safe_means_nothing_above_info(given_: Any, with_request: bool) -> None:
    state, request, traffic, config = given_
    found = detect(state, request if with_request else None, traffic=traffic, config=config)
    order = [(-GRAVITY.index(finding.severity), list(Kind).index(finding.kind)) for finding in found.findings]
    assert order == sorted(order)
    assert found.safe is all(finding.severity is Severity.INFO for finding in found.findings)
    assert (found.choice is not None) is with_request
    assert all(found.found(finding.kind) is not None for finding in found.findings)


@given(LIVELY)
def test_every_finding_is_complete_and_can_be_written(given_: Any) -> None:
    state, request, traffic, config = given_
    found = detect(state, request, traffic=traffic, config=config)
    for finding in found.findings:
        check(finding, state)
    read = msgspec.json.decode(msgspec.json.encode(found), type=Detection)
    assert msgspec.json.encode(read) == msgspec.json.encode(found)
    assert read.findings == found.findings


def check(finding: Finding, state: ClusterState) -> None:
    """One sentence with numbers and ids, advice, a claim that exists, plain evidence."""
    assert finding.instances
    assert set(finding.instances) <= set(state.ids)
    assert finding.explanation.endswith(".")
    assert finding.advice.endswith(".")
    assert "\n" not in finding.explanation + finding.advice
    assert any(name in finding.explanation for name in finding.instances)
    assert re.search(r"\d", finding.explanation)
    assert finding.claim in CLAIMS
    assert {type(value) for value in finding.evidence.values()} <= {int, float, str, bool, type(None)}


@given(LIVELY)
def test_looking_twice_gives_the_same_and_changes_nothing(given_: Any) -> None:
    state, request, traffic, config = given_
    before = msgspec.json.encode((state, request, traffic))
    assert detect(state, request, traffic=traffic, config=config) == Detector(config).look(state, request, traffic)
    assert msgspec.json.encode((state, request, traffic)) == before


@given(LIVELY, st.randoms(use_true_random=False))
def test_names_and_places_of_instances_do_not_matter(given_: Any, rng: Any) -> None:
    state, request, traffic, config = given_
    order = list(range(len(state)))
    rng.shuffle(order)
    places = {old: new for new, old in enumerate(order)}
    columns = {
        name: tuple(getattr(state, name)[old] for old in order)
        for name in type(state).__struct_fields__
        if name not in ("now_s", "ids") and getattr(state, name) is not None
    }
    ids = tuple(f"new {state.ids[old]}" for old in order)
    moved = msgspec.structs.replace(state, ids=ids, **columns)
    rows = tuple(msgspec.structs.replace(row, holders=tuple(places[i] for i in row.holders)) for row in traffic)
    one = detect(state, request, traffic=traffic, config=config)
    other = detect(moved, request, traffic=rows, config=config)
    assert one.choice is not None
    assert other.choice is not None
    assert one.choice.score == other.choice.score
    if one.choice.score > 0 and one.choice.margin != 0:  # a score of 0 has no margin, and may be a tie
        assert other.choice.instance == f"new {one.choice.instance}"
        assert [brief(finding) for finding in other.findings] == [brief(finding) for finding in one.findings]
    hot = [{f"new {name}" for name in finding.instances} for finding in one.findings if finding.kind is Kind.HOT_SPOT]
    assert [set(f.instances) for f in other.findings if f.kind is Kind.HOT_SPOT] == hot


def brief(finding: Finding) -> tuple[Any, ...]:
    """What of a finding does not depend on which of several equals is named."""
    return finding.kind, finding.severity, len(finding.instances)


def test_every_kind_comes_up_and_names_one_of_its_claims() -> None:
    """The claims that the code names literally exist, and each kind is made somewhere."""
    named, made = set(), set()
    for path in FOLDER.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        named |= cited_in(text)
        made |= {kind for node in ast.walk(ast.parse(text)) for kind in _kind_of(node)}
    assert len(named) >= 15
    assert named <= CLAIMS
    assert made == {kind.name for kind in Kind}


def _kind_of(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Kind":
        return [node.attr]
    return []


def cited_in(text: str) -> set[str]:
    """The names after the word claim or claims."""
    cited = re.findall(r"[Cc]laims?\s+((?:``\w+``(?:,|\s|and)*)+)", text)
    return {name for group in cited for name in re.findall(r"``(\w+)``", group)}


def test_the_claims_of_the_configuration_exist() -> None:
    named = cited_in(DetectConfig.__doc__ or "")
    assert len(named) >= 10
    assert named <= CLAIMS
