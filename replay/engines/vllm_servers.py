"""Starts several real vLLM servers on one machine's CPU, each with the same tiny model of random weights.

    python -m replay.engines.vllm_servers --count 3 --port 8100

prints where each of them is, where it tells of its cache, and a command that replays on them. It ends all of them when
it is stopped (Ctrl-C, or ``kill`` of its process), and when one of them ends. Nothing is downloaded: the model is a
configuration alone, and there is no tokenizer, so prompts are token ids. Nothing listens to other machines: KV events
go through files in a temporary folder, because vLLM binds its publisher to ``tcp://*`` (all addresses of the machine)
or to a file, and to nothing between. All that vLLM writes goes to that folder, which is gone afterwards; the log of a
server that failed is kept.

It needs vLLM for CPUs in the environment that runs it (``requirements/vllm.txt``).
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import msgspec

from replay.engines.vllm_hint import hint
from replay.engines.vllm_log import kept
from scheduler.domains import Domain
from scheduler.errors import Absent, ArgprodError, BadInput, EngineFailure

#: How long the servers may take until all are ready, and each to end once it is told to [s].
READY_S, STOP_S = 400.0, 15.0
#: How often a server is looked at [s].
POLL_S = 0.2

_COUNT = Domain(1, 16, integer=True, unit="server")
_PORT = Domain(0, 65_535, integer=True, unit="port")
_BLOCK = Domain(32, 1024, integer=True, unit="token")  # the kernels for CPUs take multiples of 32
_BLOCKS = Domain(2, 2**20, integer=True, unit="block")
_VOCABULARY = Domain(256, 2**20, integer=True, unit="token id")

#: One core a server, nothing from a network, equal hashes of blocks in all, an endpoint that empties the cache.
_ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "GLOO_SOCKET_IFNAME": "lo",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONUNBUFFERED": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_HOST_IP": "127.0.0.1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_SERVER_DEV_MODE": "1",
}
#: Where vLLM would write into the user's home, and leave some twenty sockets a start.
_FOLDERS = ("VLLM_CACHE_ROOT", "VLLM_CONFIG_ROOT", "VLLM_RPC_BASE_PATH", "TMPDIR")


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What the servers serve.

    Args:
        block_tokens: tokens in a KV block, a multiple of 32 [token].
        kv_blocks: KV blocks, of which vLLM keeps one for itself [block].
        context: longest sequence; None: what fits the cache, at most 4096 [token].
        vocabulary: token ids run below it; a server that is sent others breaks. As many as the client takes unless told
            otherwise (``replay.engines.openai_http.HttpOptions``).
        layers: of the model.
    """

    block_tokens: int = 32
    kv_blocks: int = 1024
    context: int | None = None
    vocabulary: int = 32_000
    layers: int = 2

    def checked(self) -> Shape:
        """The shape itself, if it can be.

        Raises:
            BadInput: naming the field.
        """
        _BLOCK.check("block_tokens", self.block_tokens)
        if self.block_tokens % 32:
            raise BadInput("block_tokens", self.block_tokens, "a multiple of 32")
        _BLOCKS.check("kv_blocks", self.kv_blocks)
        _VOCABULARY.check("vocabulary", self.vocabulary)
        _COUNT.check("layers", self.layers)
        if self.context is not None and not 1 <= self.context <= self.capacity_tokens:
            raise BadInput(
                "context", self.context, f"an integer from 1 to {self.capacity_tokens}, what the cache holds"
            )
        return self

    @property
    def capacity_tokens(self) -> int:
        """Tokens that the cache holds [token]."""
        return (self.kv_blocks - 1) * self.block_tokens

    def config(self) -> dict[str, object]:
        """The model's configuration; 32 is the smallest size of a head that the kernels for CPUs know."""
        return {
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "vocab_size": self.vocabulary,
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_hidden_layers": self.layers,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": self.longest,
            "tie_word_embeddings": True,
            "torch_dtype": "float32",
            "bos_token_id": 0,
            "eos_token_id": 1,
        }

    @property
    def longest(self) -> int:
        """Longest sequence [token]."""
        return min(4096, self.capacity_tokens) if self.context is None else self.context


@dataclass(frozen=True, slots=True)
class Server:
    """One that runs.

    Args:
        url: where it takes requests.
        events: where it publishes what its cache does, to connect to.
        replay: where it repeats that.
        log: the file with what it says.
        process: itself, the leader of a group of its own.
    """

    url: str
    events: str
    replay: str
    log: Path
    process: subprocess.Popen[bytes]


@contextlib.contextmanager
def servers(
    count: int = 1, *, port: int = 0, shape: Shape | None = None, ready_s: float = READY_S
) -> Iterator[list[Server]]:
    """Servers that are ready, started side by side; all are ended with the block, whatever ends it.

    Args:
        count: how many.
        port: of the first; the others count up from it. 0: any that are free.
        shape: what they serve.
        ready_s: until all are ready [s].

    Raises:
        BadInput: for numbers that cannot be, or if vLLM is missing.
        EngineFailure: if one of them ends or is not ready in time: what it said.
    """
    settled = Shape() if shape is None else shape
    _check_start(count, port, settled)
    ports = list(range(port, port + count)) if port else _free_ports(count)
    with tempfile.TemporaryDirectory(prefix="argprod-vllm-") as folder, contextlib.ExitStack() as stack:
        model = Path(folder) / "model"
        model.mkdir()
        (model / "config.json").write_bytes(msgspec.json.encode(settled.config()))
        started: list[Server] = []
        for place in ports:
            started.append(_started(Path(folder), place, settled))
            stack.callback(_end, started[-1].process)
        stack.callback(_tell_to_end, started)  # all at once; then the stack waits for each
        _wait(started, time.monotonic() + ready_s)
        yield started


def _check_start(count: int, port: int, shape: Shape) -> None:
    """Whether they can be started."""
    _COUNT.check("count", count)
    _PORT.check("port", port)
    shape.checked()
    if importlib.util.find_spec("vllm") is None:
        where = f"in {sys.prefix}; make .venv-vllm/.ready, then .venv-vllm/bin/python"
        raise BadInput("vllm", Absent.MISSING, "to be installed", where)


def _free_ports(count: int) -> list[int]:
    """Ports that are free now; held together until all are found, so that none comes twice."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in held]


def _started(folder: Path, port: int, shape: Shape) -> Server:
    events, replay = (f"ipc://{folder}/{port}.{kind}" for kind in ("events", "replay"))
    told = {"enable_kv_cache_events": True, "publisher": "zmq", "endpoint": events, "replay_endpoint": replay}
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server",
        "--model", str(folder / "model"), "--served-model-name", "tiny", "--skip-tokenizer-init",
        "--load-format", "dummy", "--dtype", "float32", "--enforce-eager",
        "--host", "127.0.0.1", "--port", str(port),
        "--block-size", str(shape.block_tokens), "--num-gpu-blocks-override", str(shape.kv_blocks),
        "--max-model-len", str(shape.longest),
        "--enable-prompt-tokens-details", "--kv-events-config", msgspec.json.encode(told).decode(),
    ]  # fmt: skip
    log = folder / f"argprod-vllm-{port}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **_ENVIRONMENT, **{name: str(folder) for name in _FOLDERS}},
            start_new_session=True,
        )
    return Server(f"http://127.0.0.1:{port}", events, replay, log, process)


def _wait(started: Sequence[Server], deadline: float) -> None:
    """Until all are ready."""
    waiting = list(started)
    while waiting:
        for server in started:
            _check(server)
        waiting = [server for server in waiting if not _answers(server)]
        if waiting and time.monotonic() > deadline:
            raise EngineFailure(f"vLLM at {waiting[0].url} was not ready in time; {kept(waiting[0].log)}")
        time.sleep(POLL_S if waiting else 0)


def _check(server: Server) -> None:
    """Whether it still runs."""
    if server.process.poll() is not None:
        raise EngineFailure(f"vLLM at {server.url} ended ({server.process.returncode}); {kept(server.log)}")


def _answers(server: Server) -> bool:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _tell_to_end(started: Sequence[Server]) -> None:
    for server in started:
        server.process.terminate()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for one that was told to end; then kill whatever is left of its group."""
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Run servers until Ctrl-C or SIGTERM; 0 then, 1 if one of them failed, 2 for numbers that cannot be."""
    default = Shape()
    parser = argparse.ArgumentParser(
        prog="python -m replay.engines.vllm_servers",
        description=f"{(__doc__ or '').split('.')[0]}. Stop it by Ctrl-C or kill; if one server ends, all are ended.",
    )
    parser.add_argument("--count", type=int, default=3, help="how many (3)")
    parser.add_argument("--port", type=int, default=8100, help="of the first; the others count up; 0: any free (8100)")
    for name, what in (
        ("block_tokens", "tokens in a KV block, a multiple of 32"),
        ("kv_blocks", "KV blocks of each"),
        ("vocabulary", "token ids run below it"),
    ):
        value = getattr(default, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value, help=f"{what} ({value})")
    given = parser.parse_args(arguments)
    shape = Shape(block_tokens=given.block_tokens, kv_blocks=given.kv_blocks, vocabulary=given.vocabulary)
    for number in (signal.SIGTERM, signal.SIGINT):  # what a shell starts in the background is told to ignore SIGINT
        signal.signal(number, _stop)
    try:
        _check_start(given.count, given.port, shape)
        sys.stderr.write(f"starting {given.count} vLLM servers; that takes a minute or two\n")
        with servers(given.count, port=given.port, shape=shape) as started:
            sys.stdout.write(hint([(one.url, one.events, one.replay) for one in started], shape.vocabulary) + "\n")
            sys.stdout.flush()
            while True:
                time.sleep(POLL_S)
                for server in started:
                    _check(server)
    except KeyboardInterrupt:
        return 0
    except ArgprodError as fault:
        sys.stderr.write(f"{fault}\n")
        return 2 if isinstance(fault, BadInput) else 1


if __name__ == "__main__":
    sys.exit(main())
