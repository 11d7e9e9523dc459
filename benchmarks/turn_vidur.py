"""One turn of vidur's simulator, run by that peer's own interpreter; prints one JSON line.

vidur takes its step times from profiles that it fetches and forests that it fits to them. Here a small class with the
linear step time of ``scheduler.cost`` stands in. It adds up what a batch already knows, where vidur's own looks up a
dozen tables, so it is not what makes the peer slow: about 3% of the time of a replay is spent in it. Batches are formed
by vidur's scheduler with chunked prefill, decode first. Its metrics, plots, traces and log are off.
"""

import json
import logging
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from vidur import config  # type: ignore[import-not-found] # the peer runs this, in its own environment
from vidur.execution_time_predictor import ExecutionTimePredictorRegistry  # type: ignore[import-not-found]
from vidur.request_generator import RequestGeneratorRegistry  # type: ignore[import-not-found]
from vidur.request_generator.trace_replay_request_generator import (  # type: ignore[import-not-found]
    TraceReplayRequestGenerator,
)
from vidur.simulator import Simulator  # type: ignore[import-not-found]
from vidur.types import ExecutionTimePredictorType, RequestGeneratorType  # type: ignore[import-not-found]

#: Longer than any request of the trace; vidur cuts prompts that do not fit.
MAX_TOKENS = 10**6


@dataclass
class LinearConfig(config.BaseExecutionTimePredictorConfig):  # type: ignore[misc]
    """Coefficients of the step time, as in ``scheduler.cost.StepTime``."""

    base_s: float = 0.0
    prefill_s_per_token: float = 0.0
    decode_s_per_request: float = 0.0
    kv_s_per_token: float = 0.0
    attention_s_per_pair: float = 0.0

    @staticmethod
    def get_type() -> Any:
        return ExecutionTimePredictorType.DUMMY


class StepDuration(NamedTuple):
    """What the simulator reads of an execution time [s]."""

    total_time: float
    model_time: float


class LinearPredictor:
    """Stands in for the fitted predictor."""

    def __init__(self, predictor_config: LinearConfig, replica_config: Any, cache_config: Any) -> None:
        del replica_config, cache_config
        self.coefficients = predictor_config

    def get_execution_time(self, batch: Any, pipeline_stage: int) -> StepDuration:
        del pipeline_stage
        known = self.coefficients
        prefill_tokens, decoding = batch.num_prefill_tokens, batch.num_decode_tokens
        # vidur counts the token that is being made; its keys and values are not read yet.
        kv_tokens, pairs = batch.total_num_kv_tokens - decoding, 0
        if prefill_tokens:
            for request, tokens, context_tokens in zip(
                batch.requests, batch.num_q_tokens, batch.num_kv_tokens, strict=True
            ):
                if not request.is_prefill_complete:
                    pairs += tokens * (context_tokens - tokens) + tokens * (tokens + 1) // 2
                    kv_tokens -= context_tokens
        step_s = (
            known.base_s
            + known.prefill_s_per_token * prefill_tokens
            + known.decode_s_per_request * decoding
            + known.kv_s_per_token * kv_tokens
            + known.attention_s_per_pair * pairs
        )
        return StepDuration(step_s, step_s)


class KeptRequests(TraceReplayRequestGenerator):  # type: ignore[misc]
    """vidur's own reader; its requests are looked at when the run is over."""

    kept: list[Any]

    def generate(self) -> list[Any]:
        type(self).kept = super().generate()
        return self.kept


def configured(trace: str, scene: dict[str, Any], folder: str) -> Any:
    """What is to be simulated, with all output off."""
    cluster = config.ClusterConfig(
        num_replicas=scene["instances"],
        replica_config=config.ReplicaConfig(num_pipeline_stages=1, tensor_parallel_size=1),
        cache_config=config.CacheConfig(
            block_size=scene["block_tokens"], num_blocks=scene["kv_blocks"], watermark_blocks_fraction=0.0
        ),
        global_scheduler_config=config.RoundRobinGlobalSchedulerConfig(),
        replica_scheduler_config=config.SarathiSchedulerConfig(
            batch_size_cap=scene["max_batch"], chunk_size=scene["batch_tokens"]
        ),
    )
    requests = config.TraceRequestGeneratorConfig(
        trace_file=trace,
        date=scene["date"],
        prefill_scale_factor=1,
        decode_scale_factor=1,
        time_scale_factor=1,
        max_tokens=MAX_TOKENS,
    )
    metrics = config.MetricsConfig(
        write_metrics=False, enable_chrome_trace=False, store_plots=False, output_dir=f"{folder}/output"
    )
    return config.SimulationConfig(
        cluster_config=cluster,
        request_generator_config=requests,
        execution_time_predictor_config=LinearConfig(cache_dir=f"{folder}/cache", **scene["step_time"]),
        metrics_config=metrics,
    )


def main(trace: str, scene: dict[str, Any]) -> None:
    """Time the whole call (trace read, cluster built, replayed) and the replay alone."""
    logging.getLogger("vidur").setLevel(logging.ERROR)
    ExecutionTimePredictorRegistry.register(ExecutionTimePredictorType.DUMMY, LinearPredictor)
    RequestGeneratorRegistry.unregister(RequestGeneratorType.TRACE_REPLAY)
    RequestGeneratorRegistry.register(RequestGeneratorType.TRACE_REPLAY, KeptRequests)
    with tempfile.TemporaryDirectory() as folder:
        wanted = configured(trace, scene, folder)
        started = time.perf_counter()
        simulator = Simulator(wanted)
        ready = time.perf_counter()
        simulator.run()
        done = time.perf_counter()
    requests = KeptRequests.kept
    result = {
        "requests": sum(request.completed for request in requests),
        "restarts": sum(request.num_restarts for request in requests),
        "call_s": done - started,
        "replay_s": done - ready,
        "mean_ttft_s": statistics.fmean(request.prefill_completed_at - request.arrived_at for request in requests),
        "mean_e2e_s": statistics.fmean(request.e2e_time for request in requests),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(Path(sys.argv[2]).read_text()))
