"""What aiconfigurator-core ships and predicts, told by that peer's own interpreter; prints one JSON line.

Points: measured serving runs of its ``systems/silicon_sample.csv`` (one engine, ``mode`` ``agg``) of the models and
GPUs that the cost model has too, each with the peer's own prediction. Steps: the peer's latencies of single steps, from
kernels it measured, for every engine of these points; in milliseconds.
"""

import csv
import json
from importlib import metadata, resources
from typing import Any

from aiconfigurator_core.sdk.backends.factory import get_backend  # type: ignore[import-not-found] # the peer runs this
from aiconfigurator_core.sdk.config import RuntimeConfig  # type: ignore[import-not-found]
from aiconfigurator_core.sdk.config_builders import build_model_config  # type: ignore[import-not-found]
from aiconfigurator_core.sdk.engine import EngineHandle  # type: ignore[import-not-found]
from aiconfigurator_core.sdk.models import get_model  # type: ignore[import-not-found]
from aiconfigurator_core.sdk.perf_database import get_database_view  # type: ignore[import-not-found]

#: Models of the sample: what they are called in the cost model, and in the configurations that the peer ships.
MODELS = {
    "meta-llama/Llama-3.1-8B-Instruct": ("Llama-3.1-8B", "meta-llama/Meta-Llama-3.1-8B"),
    "nvidia/Llama-3.1-8B-Instruct-FP8": ("Llama-3.1-8B", "meta-llama/Meta-Llama-3.1-8B"),
    "meta-llama/Llama-3.1-70B": ("Llama-3.1-70B", "meta-llama/Meta-Llama-3.1-70B"),
    "Qwen/Qwen3-32B": ("Qwen3-32B", "Qwen/Qwen3-32B"),
}
GPUS = {"h100_sxm": "H100", "h200_sxm": "H200"}
#: Shapes of single steps.
BATCHES, CONTEXTS, CHUNKS = (1, 4, 16, 64, 128), (256, 1024, 4096, 8192), (1, 2, 4)


def points() -> list[dict[str, Any]]:
    """Rows of the sample."""
    found = []
    sample = resources.files("aiconfigurator_core") / "systems" / "silicon_sample.csv"
    with sample.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            known = row["mode"] == "agg" and row["model_path"] in MODELS and row["system"] in GPUS
            if not known or float(row["pp_size"] or 1) != 1 or float(row["attention_dp_size"] or 1) != 1:
                continue
            facts = dict(part.strip().split("=", 1) for part in row["silicon_data_source"].split(";") if "=" in part)
            found.append(
                {
                    "id": row["id"],
                    "model": MODELS[row["model_path"]][0],
                    "path": MODELS[row["model_path"]][1],
                    "system": row["system"],
                    "gpu": GPUS[row["system"]],
                    "backend": row["backend"],
                    "backend_version": row["backend_version"],
                    "quant": row["gemm_quant_mode"],  # none: the checkpoint's own, BF16 of all of these
                    "tensor_parallel": int(float(row["tp_size"])),
                    "concurrency": int(facts.get("silicon_concurrency", float(row["batch_size"]))),
                    "prompt_tokens": int(row["isl"]),
                    "output_tokens": int(row["osl"]),
                    "ttft_ms": float(row["silicon_ttft_ms"]),
                    "tpot_ms": float(row["silicon_tpot_ms"]),
                }
            )
    return found


def predicted(point: dict[str, Any]) -> dict[str, Any]:
    """The peer's model of a serving run; a step takes in one prompt, as the peer says of vLLM."""
    model = get_model(point["path"], _config(point), point["backend"])
    database = get_database_view(point["system"], point["backend"], "current")
    run = RuntimeConfig(batch_size=point["concurrency"], isl=point["prompt_tokens"], osl=point["output_tokens"])
    summary = get_backend(point["backend"]).run_agg(model, database, run, ctx_tokens=point["prompt_tokens"])
    result = summary.get_result_dict()
    return {"ttft_ms": float(result["ttft"]), "tpot_ms": float(result["tpot"]), "database": database.version}


def _config(point: dict[str, Any]) -> Any:
    return build_model_config(point["tensor_parallel"], 1, 1, 1, 1, gemm_quant_mode=point["quant"] or None)


def steps(point: dict[str, Any]) -> list[dict[str, float]]:
    """Latencies of single steps of the engine of a point."""
    engine = EngineHandle.compile(
        point["path"],
        point["system"],
        point["backend"],
        backend_version="current",
        tp_size=point["tensor_parallel"],
        gemm_quant_mode=point["quant"] or None,
    )
    found = []
    for context in CONTEXTS:
        for batch in (0, *BATCHES):
            for prompts in (0, *CHUNKS):
                tokens = prompts * context
                if tokens > 8192 or not (batch or prompts):
                    continue
                if prompts and batch:
                    latency_ms = engine.mixed_step_latency(tokens, batch, context, 2)
                elif prompts:
                    latency_ms = engine.predict_prefill_latency(prompts, context)
                else:
                    latency_ms = engine.decode_step_latency(batch, context, 2)
                found.append({"context": context, "batch": batch, "prompts": prompts, "step_ms": latency_ms})
    return found


def main() -> None:
    """All of it."""
    rows = points()
    engines: dict[str, Any] = {}
    failed: dict[str, int] = {}
    for row in rows:
        try:
            row["predicted"] = predicted(row)
            name = "/".join(str(row[key]) for key in ("path", "system", "backend", "quant", "tensor_parallel"))
            if name not in engines:
                engines[name] = steps(row)
            row["engine"] = name
        except Exception as fault:  # noqa: BLE001 - whatever it is, this point has no prediction, and that is told
            failed[f"{type(fault).__name__}: {str(fault)[:100]}"] = failed.get(f"{type(fault).__name__}", 0) + 1
    version = metadata.version("aiconfigurator-core")
    print(json.dumps({"version": version, "points": rows, "engines": engines, "failed": failed}))


if __name__ == "__main__":
    main()
