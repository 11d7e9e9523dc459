"""Roofline cost model: step time and KV capacity of a model on a GPU, from published constants.

A step reads all weights once, computes ``2 x active parameters`` floating point operations per token (and the output
head for produced tokens), reads the keys and values of every decoding request, and computes attention of each prefill
token with all tokens before it. Compute and memory times are added, not overlapped, which keeps the model linear
(:class:`scheduler.cost.StepTime`) and errs to the slow side where both matter. Results are simulated, never to be
shown beside measured ones.

Sources: GPU rows from the vendor's data sheets (dense BF16, no sparsity); model rows from each model's published
configuration (config.json of Qwen/Qwen2-7B, Qwen/Qwen3-30B-A3B, Qwen/Qwen3-32B, meta-llama/Llama-3.1-8B and -70B). The
two efficiencies and the overhead are assumptions in the range reported for serving engines; they are to be replaced by
a fit to measurements (``argprod calibrate``). How far they are off on measured serving points:
``benchmarks/cost_model_fidelity.py``.
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
#: GPUs of one instance, at most: one machine.
MAX_GPUS = 8
#: Activations and buffers, bytes per GPU. Assumption; makes the capacity of Qwen2-7B on H20 that published for vLLM.
ACTIVATION_BYTES = 3e9


@dataclass(frozen=True, slots=True)
class Model:
    """Shape of a transformer.

    Args:
        parameters: all parameters, embeddings included.
        active_parameters: of those, what one token is multiplied with in the layers: neither embedding nor output head,
            and of a mixture of experts only the experts a token goes to.
        layers, heads, kv_heads, head_size: attention shape.
        hidden, vocabulary: width and rows of the output head, which only produced tokens go through.
        gpus: tensor-parallel degree it is served with by default.
    """

    parameters: float
    active_parameters: float
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    hidden: int
    vocabulary: int
    gpus: int = 1

    @property
    def kv_bytes_per_token(self) -> int:
        """Keys and values of one token in all layers [byte]."""
        return 2 * BYTES * self.layers * self.kv_heads * self.head_size


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU: dense BF16 FLOP/s, memory bytes/s, and memory as the driver reports it [byte]."""

    flops: float
    bytes_per_s: float
    memory_bytes: float


#: Model configurations as published with the weights (config.json of each); counts without embeddings follow.
MODELS: Mapping[str, Model] = MappingProxyType(
    {
        "Qwen2-7B": Model(7.616e9, 6.525e9, 28, heads=28, kv_heads=4, head_size=128, hidden=3584, vocabulary=152_064),
        # All experts are charged as read in every step: at 32 decoding requests 87% of them are touched.
        "Qwen3-30B-A3B": Model(
            30.53e9, 2.73e9, 48, heads=32, kv_heads=4, head_size=128, hidden=2048, vocabulary=151_936
        ),
        "Qwen3-32B": Model(
            32.76e9, 31.21e9, 64, heads=64, kv_heads=8, head_size=128, hidden=5120, vocabulary=151_936, gpus=2
        ),
        "Llama-3.1-8B": Model(8.03e9, 6.98e9, 32, heads=32, kv_heads=8, head_size=128, hidden=4096, vocabulary=128_256),
        "Llama-3.1-70B": Model(
            70.55e9, 68.45e9, 80, heads=64, kv_heads=8, head_size=128, hidden=8192, vocabulary=128_256, gpus=8
        ),
    }
)

_MIB = 2**20
#: FLOP/s and bandwidth from NVIDIA's data sheets: H20 (96 GB HBM3), A100 80 GB SXM, H100 SXM, H200 SXM.
GPUS: Mapping[str, Gpu] = MappingProxyType(
    {
        "H20": Gpu(148e12, 4.0e12, 97_871 * _MIB),
        "A100": Gpu(312e12, 2.039e12, 81_920 * _MIB),
        "H100": Gpu(989.4e12, 3.35e12, 81_559 * _MIB),
        "H200": Gpu(989.4e12, 4.8e12, 143_771 * _MIB),
    }
)


def find(model: str, gpu: str, tensor_parallel: int | None = None) -> tuple[Model, Gpu, int]:
    """Look both up by name, and settle on how many GPUs an instance has.

    Raises:
        BadInput: unknown name, with the nearest ones; a degree that does not split the attention heads evenly.
    """
    if model not in MODELS:
        raise unknown_name("model", model, MODELS)
    if gpu not in GPUS:
        raise unknown_name("gpu", gpu, GPUS)
    shape = MODELS[model]
    gpus = shape.gpus if tensor_parallel is None else tensor_parallel
    fitting = [
        n
        for n in range(1, MAX_GPUS + 1)
        if shape.heads % n == 0 and (shape.kv_heads % n == 0 or n % shape.kv_heads == 0)
    ]
    if gpus not in fitting:
        raise BadInput("tensor_parallel", gpus, f"one of {', '.join(map(str, fitting))} for {model}")
    return shape, GPUS[gpu], gpus


def step_time(model: str, gpu: str, tensor_parallel: int | None = None) -> StepTime:
    """Roofline step time of one instance.

    Args:
        model, gpu: names in :data:`MODELS`, :data:`GPUS`.
        tensor_parallel: GPUs of one instance; the model's default if None. Communication between them is not modelled.

    Example:
        >>> round(1e6 * step_time("Qwen2-7B", "H20").prefill_s_per_token)  # microseconds a prefill token
        147
    """
    shape, card, gpus = find(model, gpu, tensor_parallel)
    flops = card.flops * COMPUTE_EFFICIENCY * gpus
    rate = card.bytes_per_s * MEMORY_EFFICIENCY * gpus
    return StepTime(
        base_s=OVERHEAD_S + BYTES * shape.parameters / rate,
        prefill_s_per_token=2 * shape.active_parameters / flops,
        decode_s_per_request=2 * (shape.active_parameters + shape.hidden * shape.vocabulary) / flops,
        kv_s_per_token=shape.kv_bytes_per_token * _kv_copies(shape, gpus) / rate,
        attention_s_per_pair=4 * shape.layers * shape.heads * shape.head_size / flops,
    )


def _kv_copies(shape: Model, gpus: int) -> float:
    """More GPUs than KV heads keep copies of them."""
    return max(1.0, gpus / shape.kv_heads)


def kv_capacity_tokens(model: str, gpu: str, tensor_parallel: int | None = None) -> int:
    """Tokens whose keys and values fit beside the weights of one instance.

    Raises:
        BadInput: if the weights alone do not fit.

    Example:
        >>> kv_capacity_tokens("Qwen2-7B", "H20")  # vLLM was published to find 1,293,760
        1292736
    """
    shape, card, gpus = find(model, gpu, tensor_parallel)
    free = gpus * (card.memory_bytes * MEMORY_SHARE - ACTIVATION_BYTES) - BYTES * shape.parameters
    tokens = int(free // (shape.kv_bytes_per_token * _kv_copies(shape, gpus)))
    if tokens < 1:
        raise BadInput("model", f"{model} on {gpus} x {gpu}", "weights that fit into memory", "more GPUs per instance")
    return tokens
