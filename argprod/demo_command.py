"""``argprod demo``: the main job in one command, from generated workloads, with nothing beside the clone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from argprod import options as opt
from argprod.replay_command import check_outputs, replay_and_show

#: Product, two rivals that blend, two that look at load alone, one that looks at the cache alone.
DEMO_POLICIES = ("lmetric", "bailian", "dynamo", "join_shortest_queue", "vllm_v1", "most_hit")
#: About half of what the cluster can take, as in the source paper.
DEMO_SOURCE = "workload:chat:requests=6000,rate_per_s=12"
TRACES_HINT = (
    "Public traces to go on with: Mooncake (github.com/kvcache-ai/Mooncake, FAST25-release/traces) and Qwen-Bailian "
    "(github.com/alibaba-edu/qwen-bailian-usagetraces-anon). Then: argprod replay TRACE"
)


def demo_command(
    report: Annotated[Path, typer.Option(help="Where to write the report.")] = Path("argprod-report.html"),
    jobs: opt.Jobs = 1,
) -> None:
    """Replay a generated chat workload under six routing rules and write a report."""
    check_outputs(report)
    cluster = opt.ClusterOptions(instances=8)
    plan = opt.read_plan(DEMO_POLICIES, 1, cluster, jobs=jobs)
    replay_and_show(opt.SourceOptions(DEMO_SOURCE), plan, cluster, jobs=jobs, report=report)
    print(TRACES_HINT)
