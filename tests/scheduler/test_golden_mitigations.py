"""What every mitigation does and says, word by word: a situation for every branch, and the whole answers in a file.

After a wanted change run ``python tests/scheduler/test_golden_mitigations.py`` and read what git shows.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from scheduler import ClassTraffic, ClusterState, Request
from scheduler.detect_config import DetectConfig
from scheduler.detection import detect
from scheduler.finding import Kind
from scheduler.mitigation import Mode, mitigate
from scheduler.remedies import Mitigation, Situation, by_copies, by_filter, by_least_load

FILE = Path(__file__).with_suffix(".txt")
PROMPT = Request(id=0, arrival_s=0.0, prompt_tokens=1088, group="hot")
LONG = msgspec.structs.replace(PROMPT, expected_output_tokens=500.0)
HOT = ClassTraffic(name="hot", share=0.9, window_requests=400, holders=(0,), streak=9)
WARM = {"running": (9, 2, 2, 3), "hit_tokens": (1024, 0, 0, 0)}
TIMES = {"prefill_s_per_token": 1e-4, "decode_s_per_request": 1e-3}
SILENT = {"now_s": 100.0, "updated_s": (99.0, 50.0), "prefill_s_per_token": 1e-4}


def cluster(**columns: Any) -> ClusterState:
    """What is not told is 0; one value stands for all instances."""
    count = len(columns["running"])
    whole: dict[str, Any] = dict.fromkeys(("waiting", "queued_prefill_tokens", "hit_tokens"), (0,) * count)
    for name, value in columns.items():
        whole[name] = value if isinstance(value, tuple) or name == "now_s" else (value,) * count
    return ClusterState(ids=tuple("abcdefgh"[:count]), **whole)


def hot(**changes: Any) -> tuple[ClassTraffic, ...]:
    return (msgspec.structs.replace(HOT, **changes),)


FULL = cluster(running=(9, 9, 9, 9), hit_tokens=(1024, 0, 0, 0))
COLD = cluster(running=(5, 0), hit_tokens=(1024, 0), **TIMES)
TWO_COLD = cluster(running=(5, 0, 0), waiting=(0, 0, 0), hit_tokens=(1024, 0, 0), **TIMES)

#: State, request, traffic, mode, policy and what else :func:`mitigate` is told, by name.
CASES: dict[str, tuple[Any, Request, tuple[ClassTraffic, ...], Mode, str, dict[str, Any]]] = {
    "none": (cluster(**WARM), PROMPT, hot(), Mode.NONE, "lmetric", {"keys": [640, 3264, 3264, 4352]}),
    "filter": (cluster(**WARM), PROMPT, hot(), Mode.FILTER, "lmetric", {}),
    "filter, nothing hot": (cluster(**WARM), PROMPT, (), Mode.FILTER, "lmetric", {}),
    "filter, all as full": (FULL, PROMPT, hot(), Mode.FILTER, "lmetric", {"chosen": 0}),
    "filter, one of two holders": (cluster(**WARM), PROMPT, hot(holders=(0, 3)), Mode.FILTER, "lmetric", {}),
    "replicate": (cluster(**WARM), PROMPT, hot(), Mode.REPLICATE, "lmetric", {}),
    "replicate, not confirmed": (cluster(**WARM), PROMPT, hot(streak=0), Mode.REPLICATE, "lmetric", {}),
    "replicate, nobody counts": (cluster(**WARM), PROMPT, hot(streak=None), Mode.REPLICATE, "lmetric", {}),
    "replicate, no copy asked": (
        cluster(**WARM), PROMPT, hot(share=0.3, holders=(0,), alarmed=True, copies_missing=0), Mode.REPLICATE,
        "lmetric", {},
    ),
    "replicate, the rule copies": (cluster(**WARM), PROMPT, hot(), Mode.REPLICATE, "lmetric", {"chosen": 1}),
    "replicate, all as full": (FULL, PROMPT, hot(), Mode.REPLICATE, "lmetric", {"chosen": 0}),
    "replicate, ties go to fewer tokens": (
        cluster(running=(9, 2, 1, 3), waiting=(0, 0, 1, 0), queued_prefill_tokens=(0, 0, 50, 0),
                hit_tokens=(1024, 0, 100, 0)), PROMPT, hot(), Mode.REPLICATE, "lmetric", {},
    ),
    "offset": (cluster(**WARM, **TIMES), LONG, (), Mode.OFFSET, "lmetric", {}),
    "offset with a given kappa": (cluster(**WARM), PROMPT, (), Mode.OFFSET, "lmetric", {"kappa_tokens": 900.0}),
    "offset, output told apart": (
        cluster(**WARM, **TIMES), PROMPT, (), Mode.OFFSET, "lmetric", {"expected_output_tokens": 500.0},
    ),
    "offset, no output": (cluster(**WARM, **TIMES), PROMPT, (), Mode.OFFSET, "lmetric", {}),
    "offset, no times": (cluster(**WARM), LONG, (), Mode.OFFSET, "lmetric", {}),
    "probe": (COLD, LONG, (), Mode.PROBE_COLD, "lmetric", {}),
    "probe, fair share had": (COLD, LONG, (), Mode.PROBE_COLD, "lmetric", {"recent": (5, 5)}),
    "probe, the one with less": (TWO_COLD, LONG, (), Mode.PROBE_COLD, "lmetric", {"recent": (20, 9, 3)}),
    "probe, nobody starves": (cluster(**WARM), PROMPT, (), Mode.PROBE_COLD, "lmetric", {}),
    "auto: replicate": (cluster(**WARM), PROMPT, hot(), Mode.AUTO, "lmetric", {}),
    "auto: probe": (COLD, LONG, (), Mode.AUTO, "lmetric", {"recent": (16, 6)}),
    "auto: chance": (COLD, LONG, (), Mode.AUTO, "lmetric", {"recent": (16, 7)}),
    "auto: starvation in the small": (
        cluster(running=(5, 0), hit_tokens=(1024, 0)), PROMPT, (), Mode.AUTO, "lmetric", {},
    ),
    "auto: nothing found": (cluster(running=(0, 0)), PROMPT, (), Mode.AUTO, "lmetric", {}),
    "auto: not of those that it acts on": (
        cluster(running=(0, 8), waiting=(1, 2), queued_prefill_tokens=(2000, 900), hit_tokens=(0, 1080)), PROMPT, (),
        Mode.AUTO, "lmetric", {},
    ),
    "auto: a rule that does not follow the cache": (
        cluster(**WARM), PROMPT, hot(), Mode.AUTO, "join_shortest_queue", {},
    ),
    "auto: floor, whole prompt cached": (
        cluster(running=(200, 0), hit_tokens=(1088, 1000)), PROMPT, (), Mode.AUTO, "lmetric_paper", {},
    ),
    "auto: floor, idle": (
        cluster(running=(0, 1), hit_tokens=(0, 1024)), PROMPT, (), Mode.AUTO, "lmetric_no_self", {},
    ),
    "auto: avoid": (
        cluster(running=(3, 1), waiting=(0, 1), **SILENT), PROMPT, (), Mode.AUTO, "lmetric", {"keys": (4352, 3264)},
    ),
    "auto: avoid, by load": (cluster(running=(3, 1), waiting=(0, 1), **SILENT), PROMPT, (), Mode.AUTO, "lmetric", {}),
    "auto: avoid, the choice makes progress": (
        cluster(running=(0, 1), waiting=(0, 1), **SILENT), PROMPT, (), Mode.AUTO, "lmetric", {},
    ),
    "auto: all are silent": (
        cluster(running=(3, 1), waiting=(1, 1), **{**SILENT, "updated_s": (50.0, 40.0)}), PROMPT, (), Mode.AUTO,
        "lmetric", {},
    ),
    "least load: nothing can be trusted": (
        cluster(running=(3, -1), waiting=(0, 1)), PROMPT, (), Mode.AUTO, "lmetric", {},
    ),
}  # fmt: skip

#: A state and ids that are passed over.
LAST_RESORT: dict[str, tuple[Any, tuple[str, ...]]] = {
    "least in flight": (cluster(running=(3, 1, 0), waiting=(0, 1, 4)), ()),
    "the first of equals": (cluster(running=(3, 1, 2), waiting=(0, 1, 0)), ()),
    "not the banned one": (cluster(running=(3, 1, 0), waiting=(0, 1, 4)), ("b",)),
    "all are banned": (cluster(running=(3, 1, 0), waiting=(0, 1, 4)), ("a", "b", "c")),
    "not the negative one": (cluster(running=(3, -5, 9)), ()),
    "not what is no number": (cluster(running=(3, float("nan"), 9), waiting=("x", 0, 0)), ()),
    "a column too short": (SimpleNamespace(ids=("a", "b"), running=(5,), waiting=(0, 0)), ()),
    "no columns": (SimpleNamespace(ids=("a", "b")), ("a",)),
}


def told(name: str) -> str:
    """The whole answer to a case."""
    state, request, rows, mode, policy, more = CASES[name]
    found = detect(state, request, traffic=rows, config=DetectConfig(policy=policy))
    return text(mitigate(state, request, found, mode=mode, policy=policy, **more))


def text(done: Mitigation) -> str:
    scores = ", ".join(f"{score:.9g}" if isinstance(score, float) else str(score) for score in done.scores)
    return (
        f"{done.kind}: {done.instance} of {list(done.candidates)}, price {done.price_tokens}, [{scores}]: {done.reason}"
    )


def test_a_filter_without_anybody_outside_changes_nothing() -> None:
    state, request, rows, _, policy, _ = CASES["filter"]
    found = detect(state, request, traffic=rows, config=DetectConfig(policy=policy)).found(Kind.HOT_SPOT)
    assert found is not None
    everywhere = msgspec.structs.replace(found, instances=state.ids)
    case = Situation(state, request, 0)
    assert by_filter(case, everywhere) == case.unchanged("every instance holds the prefix")
    assert by_copies(case, everywhere) == case.unchanged("every instance without the prefix is as full as the fullest")


def answers() -> str:
    """All of them."""
    lines = [f"{name}\n    {told(name)}\n" for name in CASES]
    lines += [f"last resort, {name}\n    {text(by_least_load(*case))}\n" for name, case in LAST_RESORT.items()]
    return "".join(lines)


def saved() -> dict[str, str]:
    lines = FILE.read_text(encoding="utf-8").splitlines()
    return {name: line.strip() for name, line in zip(lines[::2], lines[1::2], strict=True)}


@pytest.mark.parametrize("name", list(CASES))
def test_a_mitigation_does_what_it_did(name: str) -> None:
    assert told(name) == saved()[name]


@pytest.mark.parametrize("name", list(LAST_RESORT))
def test_the_last_resort_takes_what_it_took(name: str) -> None:
    assert text(by_least_load(*LAST_RESORT[name])) == saved()[f"last resort, {name}"]


def test_the_file_holds_these_cases_and_no_others() -> None:
    assert list(saved()) == [*CASES, *(f"last resort, {name}" for name in LAST_RESORT)]


if __name__ == "__main__":
    FILE.write_text(answers(), encoding="utf-8")
