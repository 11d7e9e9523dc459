"""A measured serving run simulated: so many clients, each of which sends its next request when it has its answer.

That is how serving is measured at a fixed concurrency: prompts share nothing, and are equally long, as answers are. The
mean times to first token and between tokens come out of the simulator that replays traces, on one instance.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from replay.sim.cluster import Cluster
from replay.sim.cost_model import (
    ACTIVATION_BYTES,
    BYTES,
    COMPUTE_EFFICIENCY,
    MEMORY_EFFICIENCY,
    MEMORY_SHARE,
    OVERHEAD_S,
    find,
    step_time,
)
from replay.sim.run import simulate
from replay.sim.ticks import to_seconds
from scheduler import Request, policy
from scheduler.cost import StepTime
from scheduler.state import End

#: Requests of each client.
ROUNDS = 10
#: Tokens and requests of a step: what current engines take by default on these GPUs.
BATCH_TOKENS, MAX_BATCH = 8192, 1024
BLOCK = 16


@dataclass(frozen=True)
class Constants:
    """The free constants of the cost model; the defaults are its own.

    The cost model has no term for what GPUs of one instance tell each other; this benchmark tries one. In each layer
    two sums over all GPUs are taken, each of which costs ``collective_s`` and moves ``2 (n - 1) / n`` times the hidden
    state of every token at ``link_bytes_per_s``. None leaves the term out.
    """

    compute_efficiency: float = COMPUTE_EFFICIENCY
    memory_efficiency: float = MEMORY_EFFICIENCY
    overhead_s: float = OVERHEAD_S
    link_bytes_per_s: float | None = None
    collective_s: float = 0.0


@dataclass(frozen=True)
class Engine:
    """One instance: a model on GPUs of a kind; ``fp8`` halves the bytes of a weight and doubles the FLOP/s.

    The cost model knows BF16 alone; FP8 is this benchmark's own addition to it. Keys and values stay BF16.
    """

    model: str
    gpu: str
    tensor_parallel: int
    fp8: bool = False

    def step_time(self, constants: Constants) -> StepTime:
        """The cost model's step time with other constants: each part grows with what it is divided by."""
        plain = step_time(self.model, self.gpu, self.tensor_parallel)
        weight = 0.5 if self.fp8 else 1.0
        compute = weight * COMPUTE_EFFICIENCY / constants.compute_efficiency
        memory = MEMORY_EFFICIENCY / constants.memory_efficiency
        attention = COMPUTE_EFFICIENCY / constants.compute_efficiency
        wait_s, token_s = self._communication(constants)
        return StepTime(
            base_s=constants.overhead_s + wait_s + weight * memory * (plain.base_s - OVERHEAD_S),
            prefill_s_per_token=token_s + compute * plain.prefill_s_per_token,
            decode_s_per_request=token_s + compute * plain.decode_s_per_request,
            kv_s_per_token=memory * plain.kv_s_per_token,
            attention_s_per_pair=attention * plain.attention_s_per_pair,
        )

    def _communication(self, constants: Constants) -> tuple[float, float]:
        """What it adds to a step, and to a token [s]."""
        gpus = self.tensor_parallel
        if gpus == 1 or constants.link_bytes_per_s is None:
            return 0.0, 0.0
        shape, _, _ = find(self.model, self.gpu, gpus)
        sums = 2 * shape.layers
        moved = sums * shape.hidden * BYTES * 2 * (gpus - 1) / gpus
        return sums * constants.collective_s, moved / constants.link_bytes_per_s

    def kv_tokens(self) -> int:
        """Capacity of the KV cache [token]; may be negative, where the weights do not fit."""
        shape, card, gpus = find(self.model, self.gpu, self.tensor_parallel)
        weights = shape.parameters * (0.5 if self.fp8 else 1.0) * BYTES
        free = gpus * (card.memory_bytes * MEMORY_SHARE - ACTIVATION_BYTES) - weights
        return int(free // (shape.kv_bytes_per_token * max(1.0, gpus / shape.kv_heads)))


@dataclass(frozen=True)
class Load:
    """What the clients do."""

    concurrency: int
    prompt_tokens: int
    output_tokens: int
    spread: float = 0.0

    def requests(self, rounds: int = ROUNDS) -> list[Request]:
        """All requests; those of a client follow each other, and lengths lie so far around their mean."""
        rng = random.Random(0)

        def near(tokens: int) -> int:
            return max(1, round(tokens * rng.uniform(1 - self.spread, 1 + self.spread)))

        return [
            Request(
                id=turn * self.concurrency + client,
                arrival_s=0.0,
                prompt_tokens=near(self.prompt_tokens),
                output_tokens=near(self.output_tokens),
                block_tokens=BLOCK,
                after=None if turn == 0 else (turn - 1) * self.concurrency + client,
            )
            for turn in range(rounds)
            for client in range(self.concurrency)
        ]


@dataclass(frozen=True)
class Served:
    """Means over all requests [s]."""

    ttft_s: float
    tpot_s: float


def served(time: StepTime, kv_tokens: int, load: Load, rounds: int = ROUNDS) -> Served | None:
    """Simulate a load on one instance; None if a request can never fit its cache."""
    if kv_tokens < (1 + load.spread) * (load.prompt_tokens + load.output_tokens) + BLOCK:
        return None
    cluster = Cluster((time,), kv_tokens, batch_tokens=BATCH_TOKENS, max_batch=MAX_BATCH)
    record = simulate(load.requests(rounds), policy("round_robin"), cluster, closed_loop=True)
    first, between = 0.0, 0.0
    for sim in record.sims:
        assert sim.end is End.FINISHED
        assert sim.first_at is not None
        assert sim.last_at is not None
        first += to_seconds(sim.first_at - sim.arrival)
        between += to_seconds(sim.last_at - sim.first_at) / max(1, sim.output - 1)
    return Served(first / len(record.sims), between / len(record.sims))
