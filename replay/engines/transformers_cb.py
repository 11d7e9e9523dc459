"""Transformers' continuous batching in process: a real model with a real paged KV cache, on CPU or GPU.

The model comes from a configuration alone: random weights, nothing is downloaded. What it says means nothing; what it
costs is what a model of that shape costs. Each engine has a model and a cache of its own, and a thread that steps it.

The library tells each token (``streaming``), but neither what it took from its cache nor when it admits a request: both
are told by wrapping one method of its cache, :meth:`search_prefix_match`, which is called once a request is tried. Nor
does it tell its steps (:mod:`replay.engines.transformers_steps`), or forget who waits for a request that was cancelled:
one method of its scheduler is wrapped for that. So the version is pinned (``requirements/engines.txt``) and tests look
whether the wraps still hold.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable
from importlib.metadata import version
from typing import Any

import msgspec

from replay.engines.protocol import Admitted, Event, Finished, Job, Tokens
from replay.engines.steps import StepSink
from replay.engines.torch_here import LIBRARIES, REMEDY, check_device
from replay.engines.transformers_steps import StepWatch
from scheduler.domains import Domain
from scheduler.errors import BadInput, EngineFailure

_COUNT = Domain(1, 2**20, integer=True, unit="1")
#: Two engines that start at once must not import the libraries at once, nor draw weights from one generator.
_IMPORTING = threading.Lock()
#: How long an engine may take to be ready, and to stop [s].
READY_S, STOP_S = 120.0, 30.0


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """A Qwen2 model and how it is run; the default is a toy that steps in about a millisecond on one core.

    Args:
        layers, hidden, intermediate, heads, kv_heads, vocabulary: of the model.
        context: longest sequence [token].
        block_tokens: tokens in a KV block, >= 4 [token].
        kv_blocks: KV blocks [block].
        batch_tokens: tokens that one step may process [token].
        max_batch: requests that one step may hold [request].
        device: ``cpu`` or ``cuda``.
        dtype: ``float32`` or ``bfloat16``.
        seed: of the weights.
        threads: of the CPU, for a step; None: a share of all cores but one for ``--engine torch``, else as PyTorch
            chooses [thread].
    """

    layers: int = 2
    hidden: int = 64
    intermediate: int = 128
    heads: int = 4
    kv_heads: int = 2
    vocabulary: int = 1000
    context: int = 8192
    block_tokens: int = 16
    kv_blocks: int = 1024
    batch_tokens: int = 512
    max_batch: int = 64
    device: str = "cpu"
    dtype: str = "float32"
    seed: int = 0
    threads: int | None = None

    def checked(self) -> Shape:
        """The shape itself, if it can be.

        Raises:
            BadInput: naming the field.
        """
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if name in ("device", "dtype", "seed") or (name == "threads" and value is None):
                continue
            _COUNT.check(name, value)
        if self.hidden % self.heads or self.heads % self.kv_heads:
            raise BadInput("heads", self.heads, "a divisor of hidden, and a multiple of kv_heads")
        if self.block_tokens < 4:
            raise BadInput("block_tokens", self.block_tokens, "an integer >= 4")
        if self.device not in ("cpu", "cuda"):
            raise BadInput("device", self.device, "cpu or cuda")
        if self.dtype not in ("float32", "bfloat16"):
            raise BadInput("dtype", self.dtype, "float32 or bfloat16")
        return self


class TransformersEngine:
    """One model with its cache, stepped by a thread of its own.

    Args:
        name: id of the instance.
        shape: of the model.
        step_sink: told of every step, in the engine's thread; times are those of the event loop's clock.

    Raises:
        BadInput: for a shape that cannot be.
    """

    resets = True

    def __init__(self, name: str, shape: Shape | None = None, step_sink: StepSink | None = None) -> None:
        self.name, self.shape = name, (Shape() if shape is None else shape).checked()
        self._step_sink = step_sink
        self.block_tokens, self.kv_blocks = self.shape.block_tokens, self.shape.kv_blocks
        self.about: dict[str, str] = {}
        self._model: Any = None
        self._manager: Any = None
        self._queues: dict[str, asyncio.Queue[Event | EngineFailure]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._offset_s = 0.0
        self._jobs = 0

    async def start(self) -> None:
        """Build the model and let its thread run; see :class:`replay.engines.protocol.Engine`."""
        self._loop = asyncio.get_running_loop()
        self._offset_s = self._loop.time() - time.perf_counter()
        try:
            self._model = await asyncio.to_thread(model_of, self.shape)
        except ImportError as fault:
            raise EngineFailure(f"{fault.name} is missing: {REMEDY}") from None
        except (RuntimeError, MemoryError) as fault:
            raise EngineFailure(f"{self.name} could not make its model: {_first_line(fault)}") from None
        self.about = {package: version(package) for package in LIBRARIES}
        await self._run()

    async def _run(self) -> None:
        """A new manager with an empty cache."""
        self._manager = manager_of(self._model, self.shape)
        self._manager.start()
        deadline = time.monotonic() + READY_S
        while self._manager.batch_processor is None:
            if time.monotonic() > deadline or not self._manager.is_running():
                raise EngineFailure(f"{self.name} was not ready: {self._fault() or f'waited {READY_S:g} s'}")
            await asyncio.sleep(0.005)
        processor = self._manager.batch_processor
        processor.cache.search_prefix_match = self._wrapped(processor.cache.search_prefix_match)
        processor.scheduler.clear_cancelled_requests = _forgetting(self._manager, processor.scheduler)
        if self._step_sink is not None:
            StepWatch(self.name, self._step_sink, self._offset_s).wrap(processor)

    def _wrapped(self, search: Callable[[str, list[int]], int]) -> Callable[[str, list[int]], int]:
        """The method of the cache, telling what it found."""

        def told(request_id: str, prompt_ids: list[int]) -> int:
            found = int(search(request_id, prompt_ids))
            at_s = time.perf_counter() + self._offset_s
            cached = min(found, len(prompt_ids) - 1)  # the last token is always computed
            event = Admitted(at_s=at_s, new_tokens=len(prompt_ids) - cached, cached_tokens=cached)
            assert self._loop is not None
            self._loop.call_soon_threadsafe(self._tell, request_id, event)
            return found

        return told

    def _tell(self, request_id: str, event: Event | EngineFailure) -> None:
        queue = self._queues.get(request_id)
        if queue is not None:
            queue.put_nowait(event)

    def _fault(self) -> str:
        status = getattr(self._manager, "background_thread_status", None)
        error = getattr(status, "fatal_error", None)
        return "" if error is None else str(error)

    async def submit(self, job: Job) -> AsyncGenerator[Event, None]:
        """The events of a job; see :class:`replay.engines.protocol.Engine`."""
        self._jobs += 1
        name, wanted = f"{job.request.id}-{self._jobs}", job.request.output_tokens
        queue = self._queues[name] = asyncio.Queue()
        seen = 0

        def heard(output: Any) -> None:
            nonlocal seen
            times = output.timestamps or []
            for at_s in times[seen:]:
                queue.put_nowait(Tokens(at_s=at_s + self._offset_s))
            seen = len(times)
            if output.error:
                queue.put_nowait(EngineFailure(f"{self.name}: {output.error}"))
            elif output.is_finished():
                last_s = times[-1] + self._offset_s if times else 0.0
                queue.put_nowait(Finished(at_s=last_s, output_tokens=len(output.generated_tokens)))

        ended = False
        try:
            self._manager.register_result_handler(name, heard)
            taken = self._manager.add_request(
                list(job.prompt_ids),
                request_id=name,
                max_new_tokens=wanted,
                streaming=True,
                record_timestamps=True,
                eos_token_id=-1,  # never: exactly so many tokens
            )
            if taken is None:
                ended = True
                raise EngineFailure(f"{self.name} takes no requests: {self._fault() or 'it has stopped'}")
            while not ended:
                event = await queue.get()
                if isinstance(event, EngineFailure):
                    ended = True
                    raise event
                ended = isinstance(event, Finished)
                yield event
        finally:
            self._queues.pop(name, None)
            if not ended and self._manager is not None:
                self._manager.cancel_request(name)

    async def reset_cache(self) -> None:
        """Another manager takes over, with an empty cache."""
        if self._queues:
            raise EngineFailure(f"{self.name} has open jobs, so its cache cannot be reset")
        await self._stop()
        await self._run()

    async def _stop(self) -> None:
        manager, self._manager = self._manager, None
        if manager is not None:
            await asyncio.to_thread(manager.stop, block=True, timeout=STOP_S)

    async def close(self) -> None:
        """Stop the thread; open jobs fail."""
        for queue in self._queues.values():
            queue.put_nowait(EngineFailure(f"{self.name} was closed"))
        await self._stop()


def _first_line(fault: BaseException) -> str:
    return (str(fault).strip() or type(fault).__name__).splitlines()[0]


def _forgetting(manager: Any, scheduler: Any) -> Callable[[], list[Any]]:
    """The method of the scheduler that drops cancelled requests; whoever listened to them is dropped too."""
    clear = scheduler.clear_cancelled_requests

    def cleared() -> list[Any]:
        states: list[Any] = clear()
        for state in states:  # its thread hands out nothing more of them
            manager.output_router.result_handlers.pop(state.request_id, None)
        return states

    return cleared


def model_of(shape: Shape) -> Any:
    """The model with random weights, drawn where it will compute: billions of them on a CPU would take minutes.

    Args:
        shape: of the model.

    Raises:
        BadInput: for a device that is not there.
    """
    with _IMPORTING:
        import torch
        from transformers import AutoModelForCausalLM, Qwen2Config

    check_device(shape.device)
    if shape.threads is not None:
        torch.set_num_threads(shape.threads)  # before the first step; threads that step take it over
    config = Qwen2Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=shape.context,
    )
    with _IMPORTING, torch.device(shape.device):  # the seed and the default device are the whole process's
        torch.manual_seed(shape.seed)
        # Plain sdpa would become flash attention where that is installed, which batches in another way.
        model = AutoModelForCausalLM.from_config(
            config, attn_implementation="paged|sdpa", dtype=getattr(torch, shape.dtype)
        )
    return model.eval()


def manager_of(model: Any, shape: Shape, *, sharing: bool = True) -> Any:
    """What steps a model, with a cache of its own.

    Args:
        model: from :func:`model_of`.
        shape: of it, and how it is run.
        sharing: whether prompts share blocks.
    """
    from transformers import ContinuousBatchingConfig, GenerationConfig

    return model.init_continuous_batching(
        generation_config=GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=0, max_new_tokens=16),
        continuous_batching_config=ContinuousBatchingConfig(
            block_size=shape.block_tokens,
            num_blocks=shape.kv_blocks,
            max_batch_tokens=shape.batch_tokens,
            max_requests_per_batch=shape.max_batch,
            allow_block_sharing=sharing,
        ),
    )
