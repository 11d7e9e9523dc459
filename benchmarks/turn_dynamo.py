"""One turn of ai-dynamo-runtime's trace replay, run by that peer's own interpreter; prints one JSON line."""

import json
import sys
import time

from dynamo import _core  # type: ignore[import-not-found] # the peer runs this, in its own environment


def main(trace: str, router_mode: str, workers: int) -> None:
    """Time the whole call; the peer also reports the wall time of its replay without reading."""
    started = time.perf_counter()
    report = _core.run_mocker_trace_replay([trace], num_workers=workers, router_mode=router_mode, trace_block_size=512)
    call_s = time.perf_counter() - started
    summary = report["summary"] if isinstance(report, dict) else report.summary
    result = {
        "requests": summary["completed_requests"],
        "call_s": call_s,
        "replay_s": summary["wall_time_ms"] / 1000,
        "mean_ttft_s": summary["mean_ttft_ms"] / 1000,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
