"""The steps of transformers' continuous batching: what each processed and how long it took.

The library tells nothing of its steps, so two methods of its batch processor are wrapped, which its thread calls in
turn: :meth:`prepare_next_batch` takes in requests, schedules and fills the input tensors; the forward pass and sampling
follow; :meth:`update_batch` hands the tokens out. So the version is pinned, and a test looks whether the wrap holds.

A step lasts from the end of the step before it to the end of its own :meth:`update_batch`, or, where the thread had
nothing to do in between, from the beginning of its own :meth:`prepare_next_batch`: the steps add up to the time the
engine was busy. On a GPU the forward pass is only launched when it returns; the library then waits for its stream
(``retrieve_device_outputs``) and copies the tokens to the host, both before :meth:`update_batch` has ended, so the time
of the kernels is in the step that launched them. That holds for synchronous batching, which is what it does for
``sdpa`` attention; with asynchronous batching a step would hand out the tokens of the one before, and is refused.

What is counted is what the simulator counts: of a request that decodes, the KV tokens with the one that it computes; of
a chunk of ``n`` prompt tokens behind ``c``, ``n * c + n * (n + 1) / 2`` pairs. What the attention really costs is
another matter: ``sdpa`` lays all requests of a step side by side and masks, so its work grows with (tokens of the step)
x (KV tokens of all its requests).
"""

from __future__ import annotations

import time
from typing import Any

from replay.engines.steps import StepRecord, StepSink
from scheduler.errors import EngineFailure


class StepWatch:
    """Tells a sink of every step of one batch processor, from the processor's thread.

    Args:
        name: of the engine, for the sink.
        sink: who is told.
        offset_s: what turns ``perf_counter`` into the clock that the sink shall hear of [s].
    """

    def __init__(self, name: str, sink: StepSink, offset_s: float = 0.0) -> None:
        self.name, self.sink, self.offset_s = name, sink, offset_s
        self._processor: Any = None
        self._prepare: Any = None
        self._update: Any = None
        self._ended_s: float | None = None  # end of the step before, if no idle time followed it
        self._began_s = 0.0
        self._counts: dict[str, int] = {}

    def wrap(self, processor: Any) -> None:
        """Listen to a batch processor.

        Raises:
            EngineFailure: if it hands out tokens a step late.
        """
        if processor.use_async_batching:
            raise EngineFailure(
                f"{self.name} batches asynchronously, so its steps overlap and have no time of their own "
                "(use_async_batching=False in its ContinuousBatchingConfig)"
            )
        self._processor = processor
        self._prepare, self._update = processor.prepare_next_batch, processor.update_batch
        processor.prepare_next_batch, processor.update_batch = self._prepared, self._updated

    def _prepared(self) -> bool:
        now_s = time.perf_counter()
        ready = bool(self._prepare())
        if ready:
            self._began_s = now_s if self._ended_s is None else self._ended_s
            self._counts = counts(self._processor.inputs_and_outputs.requests_in_batch)
        else:
            self._ended_s = None
        return ready

    def _updated(self) -> None:
        self._update()
        self._ended_s = time.perf_counter()
        record = StepRecord(at_s=self._began_s + self.offset_s, step_s=self._ended_s - self._began_s, **self._counts)
        self.sink(self.name, record)


def counts(batch: Any) -> dict[str, int]:
    """What a prepared batch will process, as the fields of :class:`replay.engines.steps.StepRecord`.

    Args:
        batch: the library's ``requests_in_batch``, whose states already stand behind the tokens of the step.
    """
    prefill_tokens = decode_requests = kv_tokens = pairs = 0
    for each in batch:
        length, tokens = each.state.position_offset, each.query_length
        if each.state.generated_tokens:
            decode_requests += 1
            kv_tokens += length
        else:
            prefill_tokens += tokens
            pairs += tokens * (length - tokens) + tokens * (tokens + 1) // 2
    return {
        "prefill_tokens": prefill_tokens,
        "decode_requests": decode_requests,
        "kv_tokens": kv_tokens,
        "pairs": pairs,
    }
