"""One turn of ai-dynamo-runtime's ``SelectionService.select``, run by that peer's own interpreter; one JSON line.

Its index is fed as an engine would feed it, by KV events over a socket on the loopback interface; then one decision
after the other is asked for, with ready hashes, nothing booked.
"""

import asyncio
import json
import random
import struct
import sys
import time

import zmq  # the peer runs this, in its own environment
from dynamo import _core  # type: ignore[import-not-found]

BLOCK = 16
CHAINS, LENGTH = 100, 1000
WORKERS_OF_CHAIN = 1
DECISIONS = 600


def packed(value: object) -> bytes:
    """MessagePack of the few types that an event has."""
    if value is None:
        return b"\xc0"
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, int):
        return b"\xcf" + struct.pack(">Q", value)
    if isinstance(value, str):
        return b"\xdb" + struct.pack(">I", len(value)) + value.encode()
    assert isinstance(value, list)
    return b"\xdd" + struct.pack(">I", len(value)) + b"".join(map(packed, value))


async def fed(service: object, workers: int, first_port: int) -> list[list[int]]:
    """Register the workers, publish what they hold; returns the tokens of every chain."""
    context = zmq.Context()
    sockets = []
    for worker in range(workers):
        socket = context.socket(zmq.PUB)
        socket.set_hwm(0)
        socket.bind(f"tcp://127.0.0.1:{first_port + worker}")
        sockets.append(socket)
        await service.upsert_worker(  # type: ignore[attr-defined]
            {
                "worker_id": worker,
                "model_name": "m",
                "endpoint": f"http://127.0.0.1:{first_port + 1000 + worker}",
                "block_size": BLOCK,
                "kv_events_endpoints": {0: f"tcp://127.0.0.1:{first_port + worker}"},
                "total_kv_blocks": 1_000_000,
            }
        )
    await asyncio.sleep(2)
    rng = random.Random(0)
    chains, sequence = [], [0] * workers
    for number in range(CHAINS):
        tokens = [rng.randrange(100_000) for _ in range(LENGTH * BLOCK)]
        chains.append(tokens)
        for worker in rng.sample(range(workers), WORKERS_OF_CHAIN):
            hashes = [number * LENGTH + i + 1 for i in range(LENGTH)]
            event = ["BlockStored", hashes, None, tokens, BLOCK, None, "GPU"]
            batch = [time.time(), [event], 0]
            sockets[worker].send_multipart([b"", struct.pack(">Q", sequence[worker]), packed(batch)])
            sequence[worker] += 1
    await asyncio.sleep(3)
    return chains


async def main(workers: int, first_port: int) -> None:
    """Time ``DECISIONS`` decisions, each on its own."""
    service = _core.SelectionService(indexer_threads=1)
    chains = await fed(service, workers, first_port)
    asked = []
    for tokens in chains:
        # The service takes them as signed numbers.
        hashes = [h - 2**64 if h >= 2**63 else h for h in _core.compute_block_hash_for_seq(tokens, BLOCK)]
        asked.append({"model_name": "m", "block_hashes": hashes, "sequence_hashes": hashes, "isl_tokens": len(tokens)})
    matched = [(await service.select(request))["overlap"]["longest_matched"] for request in asked]
    times = []
    for number in range(DECISIONS):
        request = asked[number % len(asked)]
        started = time.perf_counter()
        await service.select(request)
        times.append((time.perf_counter() - started) * 1e6)
    service.shutdown()
    print(json.dumps({"select_us": times, "hits": sum(blocks > 0 for blocks in matched), "asked": len(asked)}))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
