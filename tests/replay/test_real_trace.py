"""The real conversation trace, end to end; skipped where ARGPROD_TRACES is unset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from replay.experiment import Plan, run_one
from replay.metrics import Summary
from replay.sim.cluster import roofline_cluster
from replay.sim.parts import PLAIN, QUICK, prepare
from replay.sim.run import simulate
from replay.sources import open_source
from scheduler import Level, Request, policy

POLICIES = ("lmetric", "join_shortest_queue", "vllm_v1", "bailian", "dynamo")


@pytest.fixture(scope="module")
def conversation(traces_dir: Path) -> Sequence[Request]:
    """All requests of the trace."""
    return list(open_source(str(traces_dir / "mooncake_conversation.jsonl"))[0])


@pytest.fixture(scope="module")
def summaries(conversation: Sequence[Request]) -> dict[str, Summary]:
    """The trace under five rules with the defaults of ``argprod replay``."""
    prepared = prepare(conversation)
    plan = Plan(POLICIES, (0,), roofline_cluster())
    return {name: run_one(name, prepared, plan, 0).summary for name in POLICIES}


def test_every_request_finishes_under_every_rule(summaries: dict[str, Summary]) -> None:
    for summary in summaries.values():
        assert (summary.finished, summary.rejected, summary.failed) == (12_031, 0, 0)


def test_the_product_is_clearly_ahead_of_load_only_rules_in_mean_ttft(summaries: dict[str, Summary]) -> None:
    product = summaries["lmetric"].ttft_s.mean
    assert product is not None
    for name in ("join_shortest_queue", "vllm_v1"):
        rival = summaries[name].ttft_s.mean
        assert rival is not None
        assert product < 0.8 * rival


def test_no_policy_beats_the_ceiling_of_an_infinite_cache(summaries: dict[str, Summary]) -> None:
    for summary in summaries.values():
        assert summary.hit_fraction is not None
        assert summary.hit_fraction < 0.366


@pytest.mark.parametrize("level", list(Level))
def test_quick_and_plain_parts_agree_on_the_real_trace(conversation: Sequence[Request], level: Level) -> None:
    cluster = roofline_cluster(4, level=level, kv_tokens=300_000)
    part: list[Request] = list(conversation[:250])
    runs = [simulate(prepare(part, parts), policy("lmetric"), cluster) for parts in (PLAIN, QUICK)]
    outcomes = [[sim.outcome() for sim in run.sims] for run in runs]
    assert outcomes[0] == outcomes[1]
    assert runs[0].imbalance == runs[1].imbalance
