"""``argprod demo``: the main job in one command, from generated workloads, with nothing beside the clone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from argprod import options as opt
from argprod.replay_command import check_outputs, replay_and_show

#: The product, three rivals that blend by weights, two that look at load alone.
DEMO_POLICIES = ("lmetric", "dynamo", "llm_d_default", "bailian", "vllm_v1", "join_shortest_queue")
#: A load at which every one of these rules keeps up, though not equally well.
DEMO_SOURCE = "workload:chat:requests=6000,rate_per_s=2"
TRACES_HINT = """\
Public traces to go on with, on GitHub:
  Mooncake      kvcache-ai/Mooncake, folder FAST25-release/traces
  Qwen-Bailian  alibaba-edu/qwen-bailian-usagetraces-anon
Then: .venv/bin/argprod replay TRACE"""


def demo_command(
    report: Annotated[Path, typer.Option(help="Where to write the report.")] = Path("argprod-report.html"),
    jobs: opt.Jobs = 1,
) -> None:
    """Replay a generated chat workload under six routing rules and write a report."""
    check_outputs(report)
    cluster = opt.ClusterOptions(instances=8)
    plan = opt.read_plan(DEMO_POLICIES, 1, cluster, jobs=jobs, watched=True)
    replay_and_show(opt.SourceOptions(DEMO_SOURCE), plan, cluster, jobs=jobs, report=report)
    print(TRACES_HINT)
