"""Roofline cost model: step time and KV capacity of a model on a GPU, from published constants.

A step reads all weights once, computes ``2 x active parameters`` floating point operations per token (prefill or
decode), reads the keys and values of every decoding request, and computes attention of each prefill token with all
tokens before it. Compute and memory times are added, not overlapped, which keeps the model linear
(:class:`scheduler.cost.StepTime`) and errs to the slow side where both matter. Results are simulated, never to be
shown beside measured ones.

Sources: GPU rows from the vendor's data sheets (dense BF16, no sparsity); model rows from each model's published
configuration. The two efficiencies and the overhead are assumptions in the range reported for serving engines; they are
to be replaced by a fit to measurements (``argprod calibrate``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from scheduler.cost import StepTime
from scheduler.errors import BadInput, unknown_name

#: Bytes of a weight and of a cached value: BF16.
BYTES = 2
#: Share of the data-sheet FLOP/s that large matrix products reach. Assumption.
COMPUTE_EFFICIENCY = 0.60
#: Share of the data-sheet memory bandwidth that streaming reads reach. Assumption.
MEMORY_EFFICIENCY = 0.80
#: Launch, sampling and scheduling per step [s]. Assumption: one to a few milliseconds in current engines.
OVERHEAD_S = 0.002
#: Share of GPU memory an engine takes (vLLM's default gpu_memory_utilization; also the source paper's).
MEMORY_SHARE = 0.90
#: Activations and buffers, bytes per GPU. Assumption.
ACTIVATION_BYTES = 3e9


@dataclass(frozen=True, slots=True)
class Model:
    """Shape of a transformer.

    Args:
        parameters: all parameters.
        active_parameters: parameters used per token (fewer for a mixture of experts).
        layers, kv_heads, heads, head_size: attention shape.
        gpus: tensor-parallel degree it is served with by default.
    """

    parameters: float
    active_parameters: float
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    gpus: int = 1

    @property
    def kv_bytes_per_token(self) -> int:
        """Keys and values of one token in all layers [byte]."""
        return 2 * BYTES * self.layers * self.kv_heads * self.head_size


@dataclass(frozen=True, slots=True)
class Gpu:
    """Data-sheet figures of one GPU: dense BF16 FLOP/s, memory bytes/s, memory bytes."""

    flops: float
    bytes_per_s: float
    memory_bytes: float


#: Model configurations as published with the weights (config.json of each).
MODELS: Mapping[str, Model] = MappingProxyType(
    {
        "Qwen2-7B": Model(7.616e9, 7.616e9, layers=28, heads=28, kv_heads=4, head_size=128),
        # All experts are charged as read in every step: at 32 decoding requests 87% of them are touched.
        "Qwen3-30B-A3B": Model(30.53e9, 3.35e9, layers=48, heads=32, kv_heads=4, head_size=128),
        "Llama-3.1-8B": Model(8.03e9, 8.03e9, layers=32, heads=32, kv_heads=8, head_size=128),
        "Llama-3.1-70B": Model(70.55e9, 70.55e9, layers=80, heads=64, kv_heads=8, head_size=128, gpus=8),
    }
)

#: NVIDIA data sheets: H20 (96 GB HBM3), A100 80 GB SXM, H100 SXM, H200 SXM.
GPUS: Mapping[str, Gpu] = MappingProxyType(
    {
        "H20": Gpu(148e12, 4.0e12, 96e9),
        "A100": Gpu(312e12, 2.039e12, 80e9),
        "H100": Gpu(989.4e12, 3.35e12, 80e9),
        "H200": Gpu(989.4e12, 4.8e12, 141e9),
    }
)


def find(model: str, gpu: str) -> tuple[Model, Gpu]:
    """Look both up by name.

    Raises:
        BadInput: unknown name, with the nearest ones.
    """
    if model not in MODELS:
        raise unknown_name("model", model, MODELS)
    if gpu not in GPUS:
        raise unknown_name("gpu", gpu, GPUS)
    return MODELS[model], GPUS[gpu]


def step_time(model: str, gpu: str, tensor_parallel: int | None = None) -> StepTime:
    """Roofline step time of one instance.

    Args:
        model, gpu: names in :data:`MODELS`, :data:`GPUS`.
        tensor_parallel: GPUs of one instance; the model's default if None. Ideal speed-up is assumed.

    Example:
        >>> round(1e6 * step_time("Qwen2-7B", "H20").prefill_s_per_token)  # microseconds a prefill token
        172
    """
    shape, card = find(model, gpu)
    gpus = tensor_parallel or shape.gpus
    flops = card.flops * COMPUTE_EFFICIENCY * gpus
    rate = card.bytes_per_s * MEMORY_EFFICIENCY * gpus
    token_s = 2 * shape.active_parameters / flops
    return StepTime(
        base_s=OVERHEAD_S + BYTES * shape.parameters / rate,
        prefill_s_per_token=token_s,
        decode_s_per_request=token_s,
        kv_s_per_token=shape.kv_bytes_per_token / rate,
        attention_s_per_pair=4 * shape.layers * shape.heads * shape.head_size / flops,
    )


def kv_capacity_tokens(model: str, gpu: str, tensor_parallel: int | None = None) -> int:
    """Tokens whose keys and values fit beside the weights of one instance.

    Raises:
        BadInput: if the weights alone do not fit.

    Example:
        >>> kv_capacity_tokens("Qwen2-7B", "H20")
        1188755
    """
    shape, card = find(model, gpu)
    gpus = tensor_parallel or shape.gpus
    free = gpus * (card.memory_bytes * MEMORY_SHARE - ACTIVATION_BYTES) - BYTES * shape.parameters
    tokens = int(free // shape.kv_bytes_per_token)
    if tokens < 1:
        raise BadInput("model", f"{model} on {gpus} x {gpu}", "weights that fit into memory", "more GPUs per instance")
    return tokens
