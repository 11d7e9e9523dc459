"""The cluster to simulate: instances, what the router sees of them, and how late."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from replay.sim.cost_model import kv_capacity_tokens, step_time
from replay.sim.sequence import InstanceSpec
from replay.sim.ticks import StepTicks
from scheduler.accounting import Level
from scheduler.cost import StepTime
from scheduler.domains import TIME_DOMAIN, Domain
from scheduler.errors import BadInput

INSTANCES_DOMAIN = Domain(1, 4096, integer=True, unit="instance")
SPEED_DOMAIN = Domain(1e-3, 1e3, unit="relative speed")


@dataclass(frozen=True, slots=True)
class Cluster:
    """What is simulated.

    Args:
        step_times: step time of each instance; its length is the number of instances.
        kv_tokens: KV capacity of an instance [token].
        batch_tokens: tokens one step may process; 4096 in the source paper's set-up.
        max_batch: requests admitted at once.
        level: what the router sees.
        delay_s: how old what it sees is [s]; its own dispatches it knows at once.
        context_limit_tokens: prompts plus outputs longer than this are rejected; None for no limit.
    """

    step_times: tuple[StepTime, ...]
    kv_tokens: int
    batch_tokens: int = 4096
    max_batch: int = 256
    level: Level = Level.PROXY
    delay_s: float = 0.0
    context_limit_tokens: int | None = None

    def __post_init__(self) -> None:
        INSTANCES_DOMAIN.check("instances", len(self.step_times))
        TIME_DOMAIN.check("delay_s", self.delay_s)

    def __len__(self) -> int:
        return len(self.step_times)

    def specs(self, block_tokens: int) -> list[InstanceSpec]:
        """Shape of every instance for traces with blocks of so many tokens.

        Raises:
            BadInput: if the cache does not hold a single block.
        """
        blocks = self.kv_tokens // block_tokens
        if blocks < 1:
            raise BadInput("kv_tokens", self.kv_tokens, f"at least one block of {block_tokens} tokens")
        return [
            InstanceSpec(StepTicks.of(time), blocks, block_tokens, self.batch_tokens, self.max_batch)
            for time in self.step_times
        ]


def roofline_cluster(
    instances: int = 16,
    model: str = "Qwen2-7B",
    gpu: str = "H20",
    *,
    speeds: Sequence[float] | None = None,
    tensor_parallel: int | None = None,
    kv_tokens: int | None = None,
    batch_tokens: int = 4096,
    max_batch: int = 256,
    level: Level = Level.PROXY,
    delay_s: float = 0.0,
    context_limit_tokens: int | None = None,
) -> Cluster:
    """A cluster of instances of one model on one kind of GPU.

    Args:
        instances: how many, >= 1.
        model, gpu, tensor_parallel: see :mod:`replay.sim.cost_model`.
        speeds: relative speed of each instance (1 is the roofline), for unequal clusters; repeated if shorter.
        kv_tokens: KV capacity; from the roofline if None.
        batch_tokens: see :class:`Cluster`.
        max_batch: see :class:`Cluster`.
        level: see :class:`Cluster`.
        delay_s: see :class:`Cluster`.
        context_limit_tokens: see :class:`Cluster`.

    Raises:
        BadInput: for unknown names and values outside their domains.
    """
    INSTANCES_DOMAIN.check("instances", instances)
    time = step_time(model, gpu, tensor_parallel)
    factors = list(speeds or [1.0])
    for index, speed in enumerate(factors):
        SPEED_DOMAIN.check(f"speeds[{index}]", speed)
    times = tuple(time.scaled(1 / factors[i % len(factors)]) for i in range(instances))
    capacity = kv_capacity_tokens(model, gpu, tensor_parallel) if kv_tokens is None else kv_tokens
    return Cluster(times, capacity, batch_tokens, max_batch, level, delay_s, context_limit_tokens)
