"""The models that are measured, what they need of memory, and engines of them.

Shapes are those of the published Qwen2 configurations; weights are random, and the output head has weights of its own
(the published models of 0.5 and 1.5 billion share them with the embedding, which costs no time).
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from replay.calibration.plan import Reach
from replay.engines.catalogue import torch_engine
from replay.engines.protocol import Engine
from replay.engines.steps import StepSink
from replay.engines.torch_here import cores, threads_of_each
from replay.engines.transformers_cb import Shape
from scheduler.errors import BadInput, unknown_name

#: Longest sequence, and requests in a batch: ``sdpa`` attends to all tokens of a batch, so both are kept small.
CONTEXT_TOKENS, MAX_BATCH, BLOCK_TOKENS = 2048, 32, 16
_GPU = Shape(context=4096, kv_blocks=2048, batch_tokens=1024, max_batch=MAX_BATCH, block_tokens=BLOCK_TOKENS)
_half = replace(_GPU, layers=24, hidden=896, intermediate=4864, heads=14, kv_heads=2, vocabulary=151_936)
_one_and_half = replace(_GPU, layers=28, hidden=1536, intermediate=8960, heads=12, kv_heads=2, vocabulary=151_936)
_seven = replace(_GPU, layers=28, hidden=3584, intermediate=18_944, heads=28, kv_heads=4, vocabulary=152_064)
SHAPES: dict[str, Shape] = {
    "tiny": Shape(kv_blocks=1024, max_batch=MAX_BATCH, block_tokens=BLOCK_TOKENS),
    "qwen2-0.5b": _half,
    "qwen2-1.5b": _one_and_half,
    "qwen2-7b": _seven,
}
#: What an engine takes beside weights and cache: context of the driver, workspaces, masks, one layer's keys [byte].
BESIDE_BYTES = 2_000_000_000


def shape_of(name: str, device: str) -> Shape:
    """The shape of a name, on a device; on a GPU in bfloat16."""
    if name not in SHAPES:
        raise unknown_name("--shape", name, SHAPES)
    return replace(SHAPES[name], device=device, dtype="float32" if device == "cpu" else "bfloat16")


def memory_bytes(shape: Shape) -> int:
    """What an engine of this shape takes of a GPU [byte]."""
    kv_width = shape.hidden // shape.heads * shape.kv_heads
    layer = 2 * shape.hidden * (shape.hidden + kv_width) + 3 * shape.hidden * shape.intermediate
    weights = 2 * shape.vocabulary * shape.hidden + shape.layers * layer
    cache = 2 * shape.layers * kv_width * shape.kv_blocks * shape.block_tokens
    size = 4 if shape.dtype == "float32" else 2
    return size * (weights + cache) + BESIDE_BYTES


def check_memory(shape: Shape, instances: int, free_bytes: int) -> None:
    """Whether so many fit.

    Raises:
        BadInput: if not, with the number that does.
    """
    fit = free_bytes // memory_bytes(shape)
    if fit < instances:
        need = f"{memory_bytes(shape) / 1e9:.1f} GB each of {free_bytes / 1e9:.1f} GB that are free"
        raise BadInput("--instances", instances, f"at most {fit} of this shape", need)


def reach_of(shape: Shape) -> Reach:
    """What such an engine can be asked while it is measured."""
    return Reach(
        batch_tokens=shape.batch_tokens,
        max_batch=shape.max_batch,
        kv_tokens=shape.kv_blocks * shape.block_tokens,
        context_tokens=CONTEXT_TOKENS,
        block_tokens=shape.block_tokens,
        vocabulary=shape.vocabulary,
    )


def engines_of(shape: Shape, sinks: Sequence[StepSink], processes: bool, ready_s: float) -> list[Engine]:
    """One engine a sink, not started yet; they share the cores evenly.

    Args:
        shape: of all.
        sinks: told of the steps of each.
        processes: whether each has a process of its own.
        ready_s: how long one may take to be ready [s].
    """
    shape = replace(shape, threads=threads_of_each(len(sinks), cores()))
    return [
        torch_engine(str(place), shape, processes=processes, step_sink=sink, ready_s=ready_s)
        for place, sink in enumerate(sinks)
    ]
