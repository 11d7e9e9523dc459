"""The examples in docs/formats.md are read by the code they describe, and its tables name every field."""

import json
import re
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import Phase, settings

import scheduler
from argprod.claims_command import facts_of
from argprod.search_view import answer_facts
from proofs.search import Question, Verdict, rule_named, search
from proofs.search.saving import FOLDER
from replay.calibration.file import Calibration
from replay.calibration.fit import Coefficient, FitError
from replay.calibration.step_log import EngineFacts, Provenance
from replay.client_lag import ClientLag
from replay.engines.steps import StepRecord
from replay.experiment import ReplayResult
from replay.live_record import Line
from replay.live_result import LiveResult, LiveRun, Lost
from replay.metrics import TPOT_LIMIT_S, TTFT_BASE_S, TTFT_S_PER_PROMPT_TOKEN, Summary
from replay.prediction import Off, Prediction
from replay.run_log import Footer, Header
from replay.traces import ReadReport, read_trace
from replay.traces.own import OwnLine
from scheduler.domains import INSTANCE_DOMAINS, REQUEST_DOMAINS
from scheduler.state import OPTIONAL_COLUMNS, REQUIRED_COLUMNS
from scheduler.testing import laws
from scheduler.traffic import ClassTraffic
from theory.registry import claims

PAGES = Path(__file__).parent.parent
PAGE = (PAGES / "docs" / "formats.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text under a heading of the second level."""
    return re.split(rf"^## {title}$", PAGE, flags=re.MULTILINE)[1].split("\n## ")[0]


def example(title: str, language: str) -> str:
    """The one code block of a language in a section."""
    [block] = re.findall(rf"^```{language}\n(.*?)^```$", section(title), flags=re.MULTILINE | re.DOTALL)
    return str(block)


def rows(title: str) -> dict[str, list[str]]:
    """The cells of each table row of a section, by every name in the first cell."""
    found: dict[str, list[str]] = {}
    for line in section(title).splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split("|")]
        if line.startswith("| `"):
            found |= dict.fromkeys(re.findall(r"`([^`]+)`", cells[0]), cells)
    return found


def test_the_lines_of_a_trace_are_read(tmp_path: Path) -> None:
    path = tmp_path / "example.jsonl"
    path.write_text(example("Traces", "jsonl"), encoding="utf-8")
    report = ReadReport()
    first, second = read_trace(path, report=report)
    assert (report.lines, report.skipped, report.links_cut) == (2, 0, 0)
    assert (first.arrival_s, first.prompt_tokens, first.block_tokens) == (0.0, 1000, 512)
    assert second.block_keys[:2] == first.block_keys
    assert (second.after, second.think_s, second.session, second.group) == (0, 1.5, 3, "chat")


def test_the_table_of_the_log_names_every_field_of_a_line() -> None:
    lines: list[bytes] = []
    router = scheduler.Router(["A", "B"], "lmetric", seed=1, log_sink=lines.append)
    router.route(scheduler.Request(id=7, arrival_s=0.0, prompt_tokens=64), now_s=0.0)
    assert set(msgspec.json.decode(lines[0])) == set(rows("Decision log"))
    assert router.snapshot().startswith(b"argprod router ")


def test_the_example_of_a_state_is_read_and_complete() -> None:
    file = scheduler.read_state(example("State", "json"))
    assert all(getattr(file.state, column) is not None for column in INSTANCE_DOMAINS)
    assert file.policy == "lmetric"
    assert [row.holders for row in file.traffic] == [(1,)]
    assert scheduler.read_state(scheduler.write_state(file)) == file
    decision, _ = scheduler.decide(scheduler.policy(file.policy), file.state, file.request)
    assert decision.scores == (160, (96 + 32) * 4)


def test_the_table_of_a_trace_line_names_every_field() -> None:
    assert set(OwnLine.__struct_fields__) <= set(rows("Traces"))
    required = {field.encode_name for field in msgspec.structs.fields(OwnLine) if field.required}
    assert {name for name in OwnLine.__struct_fields__ if rows("Traces")[name][3] == "yes"} == required


def test_the_table_of_a_state_names_every_field() -> None:
    columns = {f"instances[].{name}": domain for name, domain in INSTANCE_DOMAINS.items()}
    request = {f"request.{name}": domain for name, domain in REQUEST_DOMAINS.items()}
    traffic = {f"traffic[].{'class' if name == 'name' else name}" for name in ClassTraffic.__struct_fields__}
    others = {"now_s", "policy", "request.class", "instances[].id"}
    table = rows("State")
    assert set(table) == {*columns, *request, *traffic, *others}
    assert {name: table[name][1] for name in (*columns, *request)} == {
        name: domain.unit for name, domain in (columns | request).items()
    }
    assert {name for name in table if table[name][3] == "yes"} == {
        "request.prompt_tokens",
        "instances[].id",
        *(f"instances[].{name}" for name in REQUIRED_COLUMNS),
    }
    assert {table[f"instances[].{name}"][3] for name in OPTIONAL_COLUMNS} == {"no"}


def test_the_tables_of_a_result_name_every_field() -> None:
    named = set(rows("Results"))
    assert set(Summary.__struct_fields__) <= named
    assert all(f"`{name}`" in section("Results") for name in ReplayResult.__struct_fields__)


def test_the_tables_of_a_live_run_name_every_field() -> None:
    text = section("Log of a live run")
    structs = (Line, Header, Footer, LiveResult, LiveRun, ClientLag, Prediction, Off, Lost)
    assert all(f"`{name}`" in text or f'"{name}"' in text for one in structs for name in one.__struct_fields__)


def test_the_table_of_a_calibration_names_every_field() -> None:
    text = section("Calibration")
    structs = (Calibration, Coefficient, FitError, EngineFacts, Provenance, StepRecord)
    assert all(f"`{name}`" in text for one in structs for name in one.__struct_fields__)


def test_the_table_of_a_claim_names_every_field() -> None:
    [claim] = list(claims().values())[:1]
    assert set(rows("Claims")) == set(facts_of(claim, None))


def test_the_table_of_a_counterexample_names_every_field() -> None:
    fields = {name: set(json.loads(path.read_bytes())) for name, path in saved_states().items()}
    assert fields
    assert all(found == set(rows("Counterexamples")) for found in fields.values())
    provenance = {key for path in saved_states().values() for key in json.loads(path.read_bytes())["provenance"]}
    assert all(f"`{key}`" in section("Counterexamples") for key in provenance)


def test_the_readme_counts_the_claims() -> None:
    readme = (PAGES / "README.md").read_text(encoding="utf-8")
    changes = (PAGES / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"(\d+) claims: what is proved", readme) == [str(len(claims()))]
    assert re.findall(r"registry of (\d+) claims", changes) == [str(len(claims()))]


def saved_states() -> dict[str, Path]:
    """The files of saved states, by name."""
    return {path.stem: path for path in FOLDER.glob("*.json")}


def test_the_service_objective_is_the_one_in_use() -> None:
    words = section("Results")
    assert f"({TTFT_BASE_S:g} s + {TTFT_S_PER_PROMPT_TOKEN * 1e6:g} ms per 1,000 tokens)" in words
    assert f"({TPOT_LIMIT_S * 1e3:g} ms;" in words


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)]+)\)", PAGE))
def test_links_lead_somewhere(link: str) -> None:
    name, _, anchor = link.partition("#")
    target = Path(__file__).parent.parent / "docs" / name
    assert f"\n## {anchor}\n" in target.read_text(encoding="utf-8")


LAWS_PAGE = (Path(__file__).parent.parent / "docs" / "laws.md").read_text(encoding="utf-8")


def law_examples() -> list[str]:
    """The Python examples of the page on laws: of a choice, and of a key."""
    return re.findall(r"^```python\n(.*?)^```$", LAWS_PAGE, flags=re.MULTILINE | re.DOTALL)


#: What is not made small is found soon.
UNSHRUNK = (Phase.generate,)


def run_example(suite: str, phases: Collection[Phase] = UNSHRUNK) -> None:
    """Run the example of the page on laws with one of the suites."""
    block = law_examples()[0]
    scope: dict[str, Any] = {}
    exec(block.replace("laws.EVERY_RULE", suite), scope)
    settings(max_examples=400, derandomize=True, deadline=None, phases=phases)(scope["test_my_rule"])()


def test_the_example_of_the_laws_runs() -> None:
    run_example("laws.EVERY_RULE")


def test_the_example_of_the_laws_fails_the_product_as_the_page_says() -> None:
    with pytest.raises((AssertionError, ExceptionGroup)) as found:  # one law, or several that the states drawn break
        run_example("laws.PRODUCT")
    faults = found.value.exceptions if isinstance(found.value, ExceptionGroup) else [found.value]
    assert {str(fault).partition(":")[0] for fault in faults} <= {law.__name__ for law in laws.PRODUCT}
    [message] = re.findall(r"^    AssertionError: (.*)$", LAWS_PAGE, flags=re.MULTILINE)
    # Where shrinking ends depends on the modules that are loaded, so the page's own state is asked for its words.
    state = scheduler.ClusterState(
        ids=("0", "1"), running=(1, 0), waiting=(0, 1), queued_prefill_tokens=(1, 0), hit_tokens=(0, 0)
    )
    scope: dict[str, Any] = {}
    exec(law_examples()[0], scope)
    request = scheduler.Request(id=0, arrival_s=0.0, prompt_tokens=1)
    with pytest.raises(AssertionError) as said:
        laws.check(laws.from_index(scope["my_rule"]), state, request, laws.PRODUCT)
    assert str(said.value) == message


@pytest.mark.slow
def test_a_broken_law_is_told_of_a_state_that_can_be_read() -> None:
    # In a process of its own, as a reader runs it: what is drawn depends on the modules that are loaded.
    call = "from tests.test_docs import *; run_example('laws.PRODUCT', set(Phase) - {Phase.explain, Phase.reuse})"
    done = subprocess.run([sys.executable, "-c", call], cwd=PAGES, capture_output=True, text=True, check=False)
    said = r"AssertionError: choice_is_never_dominated: chose \d with \(P, B\) = \(\d, \d\); \d has \(\d, \d\)"
    assert re.search(said, done.stderr), done.stderr[-2000:]


def test_the_example_of_a_key_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [module, function] = re.findall(r"argprod search --rule (\w+):(\w+)", LAWS_PAGE)[0]
    (tmp_path / f"{module}.py").write_text(law_examples()[1])
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, module, raising=False)
    answer = search(Question(rule_named(f"{module}:{function}"), against=rule_named("lmetric")))
    assert answer.verdict is Verdict.FOUND
    assert answer.best.policy == f"{module}:{function}"


def test_every_field_of_a_search_is_described() -> None:
    answer = search(Question(rule_named("linear")))
    facts = answer_facts(Question(rule_named("linear")), answer)
    assert all(f'"{name}"' in section("Searches") for name in facts)
    assert set(facts["states"][0]) == set(rows("Searches"))


def test_the_page_on_laws_names_every_law() -> None:
    page = re.findall(r"^\| `(\w+)` \|", LAWS_PAGE, flags=re.MULTILINE)
    others = {
        "EVERY_RULE",
        "PRODUCT",
        "Chosen",
        "Decide",
        "Law",
        "check",
        "decide_by",
        "from_index",
        "product_indicators",
    }
    assert set(page) == set(laws.__all__) - others
