"""What the detector says, word by word: a state for every branch of every finding, and its whole answer in a file.

The laws of the other files say when a finding must be there; this one keeps its sentences and numbers from changing
unseen. After a wanted change run ``python tests/scheduler/test_golden_findings.py`` and read what git shows.
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
from scheduler.finding import Detection

FILE = Path(__file__).with_suffix(".txt")
ZEROS = ("waiting", "queued_prefill_tokens", "hit_tokens")
PROMPT = Request(id=0, arrival_s=0.0, prompt_tokens=1088)
EVEN: dict[str, Any] = {"prefill_s_per_token": 1e-4, "decode_s_per_request": 2e-5}


def cluster(times: int = 1, **columns: Any) -> ClusterState:
    """Columns of some instances, so many times over; what is not told is 0, one value stands for all."""
    count = len(columns["running"]) * times
    whole: dict[str, Any] = dict.fromkeys(ZEROS, (0,) * count)
    for name, value in columns.items():
        alone = name == "now_s"
        whole[name] = value if alone else value * times if isinstance(value, tuple) else (value,) * count
    return ClusterState(ids=tuple(f"i{index}" for index in range(count)), **whole)


def traffic(share: float, *holders: int, name: Any = "hot", **more: Any) -> ClassTraffic:
    """A class counted over 400 requests, to which the request at hand belongs."""
    return ClassTraffic(name=name, share=share, holders=holders, **{"window_requests": 400, "applies": True, **more})


def asked(**changes: Any) -> Request:
    return msgspec.structs.replace(PROMPT, **changes)


BUSY = cluster(running=(9, 2, 2, 3), hit_tokens=(1024, 0, 0, 0))
OLD: dict[str, Any] = {"now_s": 100.0, "updated_s": (99.0, 98.0), "prefill_s_per_token": 1e-3}
SILENT: dict[str, Any] = {"now_s": 100.0, "prefill_s_per_token": 1e-3, "running": (2, 1, 0), "waiting": (1, 2, 0)}
QUEUES: dict[str, Any] = {"running": (1, 0), "waiting": (0, 1), "queued_prefill_tokens": (0, 2), "hit_tokens": (0, 1)}

#: State, request (None: none), traffic and configuration, by name.
CASES: dict[str, tuple[Any, Request | None, tuple[ClassTraffic, ...], dict[str, Any]]] = {
    # ---- collapses
    "zero collapse": (cluster(running=(150, 0), hit_tokens=(1088, 1000)), PROMPT, (), {"policy": "lmetric_paper"}),
    "zero collapse, gravely": (
        cluster(running=(4000, 0), hit_tokens=(1088, 0)), PROMPT, (), {"policy": "lmetric_paper"},
    ),
    "zero collapse, two tied apart": (
        cluster(running=(3, 5), hit_tokens=(1088, 1088)), PROMPT, (), {"policy": "lmetric_paper"},
    ),
    "a zero that is right": (cluster(running=(0, 3), hit_tokens=(1088, 0)), PROMPT, (), {"policy": "lmetric_paper"}),
    "idle collapse": (cluster(running=(0, 1), hit_tokens=(0, 1024)), PROMPT, (), {"policy": "lmetric_no_self"}),
    "idle collapse, three of them": (
        cluster(running=(0, 0, 0, 1), hit_tokens=(0, 0, 0, 1024)), PROMPT, (), {"policy": "lmetric_no_self"},
    ),
    "idle collapse, mildly": (
        cluster(running=(0, 1), hit_tokens=(0, 600)), PROMPT, (), {"policy": "lmetric_no_self"},
    ),
    # ---- hot spots
    "hot spot by requests": (BUSY, PROMPT, (traffic(0.6, 0),), {}),
    "hot spot by work": (BUSY, PROMPT, (traffic(0.3, 0, work_share=0.7, resident_requests=80),), {}),
    "hot spot confirmed": (BUSY, PROMPT, (traffic(0.6, 0, streak=2),), {}),
    "hot spot not confirmed yet": (BUSY, PROMPT, (traffic(0.6, 0, streak=1),), {}),
    "hot spot without a request": (BUSY, None, (traffic(0.6, 0, prefix_tokens=1024),), {}),
    "hot spot of all traffic": (BUSY, PROMPT, (traffic(1.0, 0, 1),), {}),
    "hot spot of another class": (BUSY, PROMPT, (traffic(0.6, 0, applies=False, prefix_tokens=1024),), {}),
    "hot spot of the group": (BUSY, asked(group="hot"), (traffic(0.6, 0, applies=None),), {}),
    "hot spot known without error": (BUSY, PROMPT, (traffic(0.4, 0, window_requests=None),), {}),
    "hot spot in alarm": (BUSY, PROMPT, (traffic(0.4, 0, alarmed=True, copies_missing=2),), {}),
    "hot spot in alarm, covered but for others": (
        BUSY, PROMPT, (traffic(0.2, 0, alarmed=True, copies_missing=1),), {},
    ),
    "hot spot in alarm, covered": (BUSY, PROMPT, (traffic(0.2, 0, alarmed=True, copies_missing=0),), {}),
    "hot spot in alarm by work": (
        BUSY, PROMPT, (traffic(0.2, 0, alarmed=True, work_share=0.8, resident_requests=60),), {},
    ),
    "hot spot with few residents": (
        cluster(running=(3, 0, 0, 0), hit_tokens=(1024, 0, 0, 0)), PROMPT, (traffic(0.9, 0),), {},
    ),
    "two classes together": (
        BUSY, PROMPT,
        (traffic(0.2, 0, window_requests=4000), traffic(0.2, 0, name="too", applies=False, window_requests=4000)), {},
    ),
    "two classes together, one within the holders of the other": (
        BUSY, PROMPT,
        (traffic(0.4, 0, 1, window_requests=4000), traffic(0.24, 0, name="too", applies=False, window_requests=4000)),
        {},
    ),
    "many requests, little work": (BUSY, PROMPT, (traffic(0.6, 0, work_share=0.01, resident_requests=4000),), {}),
    "beyond its part, not beyond chance": (BUSY, PROMPT, (traffic(0.4, 0, window_requests=20),), {}),
    "no more than allowed": (BUSY, PROMPT, (traffic(0.4, 0),), {"imbalance_allowed": 3.0}),
    "a hit that buys nothing": (BUSY, asked(prompt_tokens=8000), (traffic(0.6, 0),), {}),
    "to a rule that does not follow the cache": (BUSY, PROMPT, (traffic(0.6, 0),), {"policy": "join_shortest_queue"}),
    "to least harm": (BUSY, PROMPT, (traffic(0.6, 0),), {"policy": "marginal_delay"}),
    # ---- harm
    "cross term": (
        cluster(running=(0, 3), waiting=(0, 1), queued_prefill_tokens=(0, 300), hit_tokens=(0, 1024)), PROMPT, (), {},
    ),
    "cross term, gravely": (
        cluster(running=(0, 8), waiting=(1, 2), queued_prefill_tokens=(2000, 900), hit_tokens=(0, 1080)), PROMPT, (),
        {},
    ),
    "cross term among many": (
        cluster(
            12, running=(0, 8, 9, 7), waiting=(1, 2, 2, 2), queued_prefill_tokens=(2000, 900, 1900, 3000),
            hit_tokens=(0, 1080, 0, 0),
        ), PROMPT, (), {},
    ),
    "leverage": (cluster(running=(9, 0), hit_tokens=(1024, 0), **EVEN), asked(expected_output_tokens=500.0), (), {}),
    "leverage, mildly": (cluster(running=(9, 0), hit_tokens=(1024, 0)), PROMPT, (), {"kappa_tokens": 300.0}),
    "leverage in the noise": (cluster(running=(9, 0), hit_tokens=(1024, 0)), PROMPT, (), {"kappa_tokens": 60.0}),
    "leverage among many": (
        cluster(20, running=(9, 1, 9), hit_tokens=(1024, 0, 0)), PROMPT, (), {"kappa_tokens": 500.0},
    ),
    # ---- starvation
    "starvation": (cluster(running=(5, 0, 0), hit_tokens=(1024, 0, 0)), PROMPT, (), {}),
    "starvation, gravely": (cluster(running=(5, 0), hit_tokens=(1024, 0)), PROMPT, (), {"kappa_tokens": 2000.0}),
    "starvation behind a colder index": (cluster(running=(0, 5), hit_tokens=(0, 1024)), PROMPT, (), {}),
    "no starvation beside an idle warm one": (cluster(running=(1, 0, 0), hit_tokens=(1060, 16, 0)), PROMPT, (), {}),
    # ---- capacity
    "saturated by batch": (cluster(running=(256, 3), hit_tokens=(0, 0)), PROMPT, (), {}),
    "saturated by cache": (cluster(running=(1, 3), kv_used_fraction=(0.5, 0.95)), PROMPT, (), {}),
    "saturated choice": (cluster(running=(1, 3), kv_used_fraction=(1.0, 0.5)), PROMPT, (), {}),
    "saturated everywhere": (cluster(running=(300, 3), kv_used_fraction=(0.2, 0.96)), PROMPT, (), {}),
    "saturated everywhere, no request": (cluster(running=(4, 4)), None, (), {"max_batch": 4}),
    "nearly saturated": (cluster(running=(255, 3), kv_used_fraction=(0.94, 0.949)), PROMPT, (), {}),
    "unequal speeds": (cluster(running=(0, 0), prefill_s_per_token=(3e-4, 1e-4)), PROMPT, (), {}),
    "unequal speeds, mildly": (cluster(running=(0, 0), prefill_s_per_token=(1.5e-4, 1e-4)), PROMPT, (), {}),
    "unequal speeds, in the noise": (cluster(running=(0, 0), prefill_s_per_token=(1.2e-4, 1e-4)), PROMPT, (), {}),
    # ---- age
    "stale by work elsewhere": (cluster(**QUEUES, **OLD), asked(prompt_tokens=64), (), {}),
    "stale among many": (
        cluster(24, **QUEUES, **{**OLD, "updated_s": (99.9, 99.5)}), asked(prompt_tokens=64), (), {},
    ),
    "stale by what others sent": (
        cluster(**QUEUES, **{**OLD, "updated_s": (99.9, 99.5)}), asked(prompt_tokens=64), (),
        {"routers": 3, "arrival_rate_per_s": 10.0},
    ),
    "stale, and speeds are unknown": (
        cluster(**QUEUES, now_s=100.0, updated_s=(99.0, 98.0)), asked(prompt_tokens=64), (),
        {"routers": 2, "arrival_rate_per_s": 1.0},
    ),
    "fresh": (cluster(**QUEUES, **{**OLD, "updated_s": (100.0, 100.0)}), asked(prompt_tokens=64), (), {}),
    "stale by half a second": (
        cluster(running=(1, 0), waiting=(0, 1), queued_prefill_tokens=(0, 5010), hit_tokens=(0, 64),
                **{**OLD, "updated_s": (99.9, 99.5), "prefill_s_per_token": 1e-4}), asked(prompt_tokens=2600), (), {},
    ),
    "stale by half a second among many": (
        cluster(24, running=(1, 0), waiting=(0, 1), queued_prefill_tokens=(0, 5010), hit_tokens=(0, 64),
                **{**OLD, "updated_s": (99.9, 99.5), "prefill_s_per_token": 1e-4}), asked(prompt_tokens=2600), (), {},
    ),
    "no queue can have moved": (
        cluster(running=(150, 0), hit_tokens=(1088, 1000), **OLD), PROMPT, (), {"policy": "lmetric_paper"},
    ),
    "no queue can have moved where it matters": (
        cluster(running=(150, 0, 9), hit_tokens=(1088, 1000, 0), waiting=(0, 0, 1), queued_prefill_tokens=(0, 0, 9),
                **{**OLD, "updated_s": (99.0, 98.0, 98.0)}), PROMPT, (), {"policy": "lmetric_paper"},
    ),
    "no queue can have moved among many": (
        cluster(20, running=(150, 0, 9), hit_tokens=(1088, 1000, 0), waiting=(0, 0, 1), queued_prefill_tokens=(0, 0, 9),
                **{**OLD, "updated_s": (99.0, 98.0, 98.0)}), PROMPT, (), {"policy": "lmetric_paper"},
    ),
    "stalled elsewhere": (cluster(**SILENT, updated_s=(95.0, 60.0, 10.0)), PROMPT, (), {}),
    "stalled, the last one longest": (
        cluster(**{**SILENT, "waiting": (3, 4, 5)}, updated_s=(80.0, 70.0, 60.0)), None, (), {},
    ),
    "stalled, the first one longest": (
        cluster(**{**SILENT, "waiting": (3, 4, 5)}, updated_s=(60.0, 70.0, 80.0)), None, (), {},
    ),
    "stalled choice": (
        cluster(**{**SILENT, "waiting": (3, 1, 1)}, updated_s=(95.0, 90.0, 60.0)),
        asked(prompt_tokens=10), (), {"policy": "lmetric"},
    ),
    "stalled without a request": (cluster(**SILENT, updated_s=(80.0, 60.0, 10.0)), None, (), {}),
    "silence that context explains": (
        cluster(**SILENT, updated_s=(95.0, 60.0, 10.0), context_tokens=(0, 8000, 0)), PROMPT, (), {},
    ),
    "silence up to the grace": (cluster(**SILENT, updated_s=(90.0, 90.0, 10.0)), PROMPT, (), {}),
    # ---- contested
    "contested by noise": (cluster(running=(1, 3), hit_tokens=(0, 560)), PROMPT, (), {}),
    "contested by an equal product": (cluster(running=(0, 1), hit_tokens=(0, 544)), PROMPT, (), {}),
    "equal pairs contest nothing": (cluster(running=(1, 1, 9)), PROMPT, (), {}),
    "contested behind equal pairs": (cluster(running=(1, 1, 3), hit_tokens=(0, 0, 500)), PROMPT, (), {}),
    "contested by weight, below": (
        cluster(running=(1, 4), hit_tokens=(0, 900)), PROMPT, (), {"weight_range": (400.0, 500.0)},
    ),
    "contested by weight, above": (
        cluster(running=(1, 28), hit_tokens=(700, 1060)), PROMPT, (), {"weight_range": (0.0, 5.0)},
    ),
    "within the weights": (cluster(running=(4, 0), hit_tokens=(1024, 0)), PROMPT, (), {"weight_range": (0.0, 900.0)}),
    "contested for a line": (
        cluster(running=(1, 3), hit_tokens=(0, 700)), PROMPT, (), {"policy": "linear:form=p_token,weight=0.3"},
    ),
    # ---- rules of other kinds
    "a rule with a filter": (
        cluster(running=(9, 0), hit_tokens=(1024, 0), context_tokens=100, kv_used_fraction=0.1), PROMPT, (),
        {"policy": "aibrix_prefix_cache"},
    ),
    "a rule with a filter and a memory": (BUSY, PROMPT, (), {"policy": "sglang_cache_aware"}),
    "a rule with a filter that lets one through": (
        cluster(running=(0, 30, 30), hit_tokens=(1024, 0, 0)), PROMPT, (), {"policy": "aibrix_prefix_cache"},
    ),
    "least requests": (BUSY, PROMPT, (), {"policy": "join_shortest_queue"}),
    "a rule that draws": (BUSY, PROMPT, (), {"policy": "random"}),
    "one instance": (cluster(running=(3,)), PROMPT, (), {}),
    # ---- what cannot be
    "more cached than there is": (cluster(running=(0, 0, 1), hit_tokens=(2000, 3, 1089)), PROMPT, (), {}),
    "negative": (cluster(running=(0, -1, -2)), PROMPT, (), {}),
    "no whole number": (cluster(running=(0.5, 1)), PROMPT, (), {}),
    "not a number": (cluster(running=(float("nan"), 1)), PROMPT, (), {}),
    "a column too short": (
        SimpleNamespace(ids=("a", "b"), now_s=0.0, running=(1,), waiting=(0, 0), queued_prefill_tokens=(0, 0),
                        hit_tokens=3), PROMPT, (), {},
    ),
    "a time that cannot be": (cluster(running=(1, 1), now_s=-1.0), PROMPT, (), {}),
    "no state": (7, PROMPT, (), {}),
    "ids are no texts": (SimpleNamespace(ids=("a", 3)), PROMPT, (), {}),
    "ids are no column": (SimpleNamespace(ids="ab"), PROMPT, (), {}),
    "ids twice": (SimpleNamespace(ids=("a", "b", "a")), PROMPT, (), {}),
    "no instance": (SimpleNamespace(ids=()), PROMPT, (), {}),
    "an empty prompt": (BUSY, asked(prompt_tokens=0), (), {}),
    "no blocks, and an output that cannot be": (BUSY, asked(block_tokens=0, expected_output_tokens=-1.0), (), {}),
    "a group that is no text": (BUSY, asked(group=3), (), {}),
    "a request that is none": (BUSY, "request", (), {}),  # type: ignore[dict-item]
    "traffic that is none": (BUSY, PROMPT, 3, {}),  # type: ignore[dict-item]
    "a class that is none": (BUSY, PROMPT, (3,), {}),  # type: ignore[dict-item]
    "a class with all wrong": (
        BUSY, PROMPT,
        (traffic(1.5, 0, 0, 4, -1, name=3, work_share=-1, window_requests=0.5, streak=-1, applies="yes", alarmed=1),),
        {},
    ),
    "holders that are no column": (BUSY, PROMPT, (ClassTraffic(name="x", share=0.5, holders=3),), {}),  # type: ignore[arg-type]
}  # fmt: skip


def told(name: str) -> str:
    """The whole answer to a case."""
    state, request, rows, settings = CASES[name]
    return text(detect(state, request, traffic=rows, config=DetectConfig(**settings)))


def text(found: Detection) -> str:
    """A detection as lines."""
    choice = "no choice"
    if found.choice is not None:
        choice = (
            f"takes {found.choice.instance}, score {number(found.choice.score)}, margin {number(found.choice.margin)}"
        )
    lines = [f"{'safe' if found.safe else 'unsafe'}, {choice}"]
    for one in found.findings:
        lines += [
            f"{one.severity.value} {one.kind.value} [{', '.join(one.instances)}] (claim {one.claim})",
            f"    {one.explanation}",
            f"    {one.advice}",
            "    " + ", ".join(f"{key}={number(value)}" for key, value in one.evidence.items()),
        ]
    return "\n".join(lines)


def number(value: Any) -> str:
    """A number to as many digits as all machines agree on; what is no number as it is."""
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def saved() -> dict[str, str]:
    """The file, by name of the case."""
    blocks = FILE.read_text(encoding="utf-8").removeprefix("== ").split("\n\n== ")
    return {block.partition("\n")[0]: block.partition("\n")[2].rstrip("\n") for block in blocks}


@pytest.mark.parametrize("name", list(CASES))
def test_the_detector_says_what_it_said(name: str) -> None:
    assert told(name) == saved()[name]


def test_the_file_holds_these_cases_and_no_others() -> None:
    assert list(saved()) == list(CASES)


if __name__ == "__main__":
    FILE.write_text("\n\n".join(f"== {name}\n{told(name)}" for name in CASES) + "\n", encoding="utf-8")
