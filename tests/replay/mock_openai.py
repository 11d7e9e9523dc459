"""A server of OpenAI's completions API for tests: it counts exactly, caches prefixes, and misbehaves when told to.

It listens on 127.0.0.1 and runs in threads of its own. What it does with the first, second, ... completion is given as
acts, in the order in which they arrive; ``rest`` is done with all others.

    with MockOpenAI("works", "hangs") as mock:
        engine = OpenAIEngine("a", mock.url)

Acts: ``works``; ``slow`` (20 ms a token), ``many`` (three tokens a chunk), ``no_usage``, ``bare`` (usage at the end
alone), ``shreds`` (one byte a packet), ``bos`` (counts one prompt token more); at once ``refuses`` (500), ``too_long``
(400) and ``page`` (200 with a web page); and, after half of the tokens, ``hangs``, ``crashes`` (the connection ends),
``dies`` (the whole server ends), ``cut`` (the stream ends well formed, without a word of its end), ``truncates`` (its
finish_reason is ``stop``), ``garbage`` (broken JSON), ``error`` (an error object). Several at once are joined by ``+``.

Styles: ``vllm``; ``sglang`` (its names, its endpoints; cached tokens are left out where there are none); ``plain``
(completions and models alone, no counts in between; events end with CR LF).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import select
import socket
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: Texts of tokens, in turn: with line separators that are none in a stream of events, and with nothing.
TEXTS = ("a", " b", "\u2028", "x\x85y", "", "é\x0c")
AT_ONCE = {"refuses", "page", "too_long"}
HALFWAY = {"hangs", "crashes", "dies", "cut", "truncates", "garbage", "error"}


class Gone(Exception):
    """The client has closed its connection, or the server ends."""


class MockOpenAI:
    """One server; a context manager.

    Args:
        acts: what is done with the first completions.
        rest: what is done with those after them.
        style: whose server it looks like.
        block_tokens, kv_blocks: of its cache; the blocks longest unused go first.
        max_batch: completions that run at once; others wait.
        token_s: time for a token [s].
        model: the one it serves.
        extra_models: others that it names.
        busy_resets: so many resets are answered that it is busy.
        port: where it listens; 0 for any free one.
    """

    def __init__(
        self,
        *acts: str,
        rest: str = "works",
        style: str = "vllm",
        block_tokens: int = 16,
        kv_blocks: int = 4096,
        max_batch: int = 256,
        token_s: float = 0.0,
        model: str = "mock",
        extra_models: tuple[str, ...] = (),
        busy_resets: int = 0,
        port: int = 0,
    ) -> None:
        self.acts, self.rest, self.style = list(acts), rest, style
        self.block_tokens, self.kv_blocks, self.max_batch = block_tokens, kv_blocks, max_batch
        self.token_s, self.models, self.busy_resets = token_s, (model, *extra_models), busy_resets
        self.asked: list[dict[str, Any]] = []  # the completions asked for
        self.keys: set[str] = set()  # what callers said who they are
        self.running = self.finished = self.aborted = self.resets = self.connections = 0
        self.queried_tokens = self.hit_tokens = 0
        self.faults: list[BaseException] = []
        self.changed = threading.Condition()
        self._queue: list[int] = []
        self._cached: OrderedDict[bytes, None] = OrderedDict()
        self._stop_reader, self._stop_writer = socket.socketpair()
        self._stopped = False
        self._server = _Server(self, port)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> MockOpenAI:
        self._thread.start()
        return self

    def __enter__(self) -> MockOpenAI:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()
        for fault in self.faults:  # of this server itself
            raise fault

    def close(self) -> None:
        """End it, with all connections and threads; to close twice changes nothing."""
        self.die()
        for thread in (self._thread, *self._server.threads):
            thread.join(10)
            assert not thread.is_alive()
        self._stop_reader.close()
        self._stop_writer.close()

    def die(self) -> None:
        """No connection is taken any more, and those that are open end."""
        with self.changed:
            if self._stopped:
                return
            self._stopped = True
            self.changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._stop_writer.send(b"x")  # never read, so that everybody who waits sees it
        self._server.break_connections()

    def until(self, condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
        """Wait until something has become true here."""
        with self.changed:
            assert self.changed.wait_for(condition, timeout_s), "it did not come about"

    def note(self, **more: int) -> None:
        """Count what has happened."""
        with self.changed:
            for name, count in more.items():
                setattr(self, name, getattr(self, name) + count)
            self.changed.notify_all()

    def next_act(self, asked: dict[str, Any]) -> tuple[set[str], int]:
        """What is done with a completion, and its number; it waits for its place from now on."""
        with self.changed:
            self.asked.append(asked)
            act, number = set((self.acts.pop(0) if self.acts else self.rest).split("+")), len(self.asked)
            if not act & AT_ONCE:
                self._queue.append(number)
            return act, number

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def open_connections(self) -> int:
        return len(self._server.connections)

    @contextlib.contextmanager
    def place(self, number: int) -> Iterator[None]:
        """A place in the batch, in the order of numbers."""
        with self.changed:
            self.changed.notify_all()
            self.changed.wait_for(lambda: (self._queue[0] == number and self.running < self.max_batch) or self._stopped)
            self._queue.remove(number)
            if self._stopped:
                self.aborted += 1
                raise Gone
            self.running += 1
            self.changed.notify_all()
        try:
            yield
        except (Gone, OSError):
            self.note(aborted=1)
        else:
            self.note(finished=1)
        finally:
            self.note(running=-1)

    def pause(self, connection: socket.socket, wait_s: float | None) -> None:
        """Wait; no longer than the client does."""
        ready, _, _ = select.select([connection, self._stop_reader], [], [], wait_s)
        if ready:
            raise Gone

    def prefill(self, ids: list[int]) -> int:
        """Take what is cached, and cache the rest; how many tokens were taken. The last token is always computed."""
        size, digest, digests = self.block_tokens, b"", []
        for start in range(0, len(ids) - size + 1, size):
            digest = hashlib.sha256(digest + json.dumps(ids[start : start + size]).encode()).digest()
            digests.append(digest)
        with self.changed:
            found = 0
            while found < min(len(digests), (len(ids) - 1) // size) and digests[found] in self._cached:
                found += 1
            for digest in reversed(digests):  # so that the end of a prompt goes before its beginning
                self._cached[digest] = None
                self._cached.move_to_end(digest)
            while len(self._cached) > self.kv_blocks:
                self._cached.popitem(last=False)
        self.note(queried_tokens=len(ids), hit_tokens=found * size)
        return found * size

    def reset(self) -> bool:
        """Empty the cache, unless it is busy."""
        with self.changed:
            if self.busy_resets:
                self.busy_resets -= 1
                return False
            self._cached.clear()
            self.resets += 1
            return True

    def metrics(self) -> str:
        """Gauges, in the names of its style, with what else stands in such a text."""
        blocks = {"block_size": self.block_tokens, "num_gpu_blocks": self.kv_blocks + 1, "note": 'a } b, "c"'}
        if self.style == "sglang":
            own = 'engine_type="unified",model_name="mock",tp_rank="0"'
            found = {
                f"sglang:num_running_reqs{{{own}}}": self.running,
                'sglang:num_running_reqs{model_name="mock",tp_rank="1"}': self.running,
                f"sglang:num_queue_reqs{{{own}}}": self.waiting,
                f"sglang:token_usage{{{own}}}": 0.25,
                'sglang:prompt_tokens_total{model_name="mock"}': self.queried_tokens,
                'sglang:cached_tokens_total{cache_source="device",model_name="mock"}': self.hit_tokens,
            }
        else:
            own = 'engine="0",model_name="mock"'
            labels = ",".join(f"{name}={json.dumps(str(value))}" for name, value in blocks.items())
            found = {
                f"vllm:cache_config_info{{{labels}}}": 1,
                f"vllm:num_requests_running{{{own}}}": self.running,
                f"vllm:num_requests_waiting{{{own}}}": self.waiting,
                f"vllm:kv_cache_usage_perc{{{own}}}": 0.25,
                f"vllm:prefix_cache_queries_total{{{own}}}": self.queried_tokens,
                f"vllm:prefix_cache_queries_created{{{own}}}": 1.7e9,
                f"vllm:prefix_cache_hits_total{{{own}}}": self.hit_tokens,
            }
        lines = ["# HELP python_info Version.", "# TYPE python_info gauge", 'python_info{version="3.11"} 1.0']
        return "\n".join(lines + [f"{name} {float(value)}" for name, value in found.items()]) + "\n"


def serve(port: int = 0, **options: Any) -> MockOpenAI:
    """A server that runs; the caller closes it."""
    return MockOpenAI(port=port, **options).start()


class _Server(ThreadingHTTPServer):
    daemon_threads, block_on_close, request_queue_size = True, False, 128

    def __init__(self, mock: MockOpenAI, port: int) -> None:
        self.mock = mock
        self.threads: list[threading.Thread] = []
        self.connections: set[Any] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(target=self.process_request_thread, args=(request, client_address), daemon=True)
        with self.mock.changed:
            self.connections.add(request)
            self.threads.append(thread)
        self.mock.note(connections=1)
        thread.start()

    def close_request(self, request: Any) -> None:
        with self.mock.changed:
            self.connections.discard(request)
            super().close_request(request)
            self.mock.changed.notify_all()

    def break_connections(self) -> None:
        with self.mock.changed:
            for request in self.connections:
                with contextlib.suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_: object) -> None:
        fault = sys.exc_info()[1]
        if fault is not None and not isinstance(fault, OSError | Gone):  # a client may go whenever it likes
            self.mock.faults.append(fault)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def _answer(self, status: int, body: Any, kind: str = "application/json") -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        mock = self.server.mock
        if self.path == "/v1/models":
            self._answer(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in mock.models]})
        elif self.path == "/health" and mock.style != "plain":
            self._answer(200, "", "text/plain")
        elif self.path == "/metrics" and mock.style != "plain":
            self._answer(200, mock.metrics(), "text/plain; version=0.0.4; charset=utf-8")
        elif self.path == "/version" and mock.style == "vllm":
            self._answer(200, {"version": "0.32"})
        elif self.path == "/server_info" and mock.style == "sglang":
            total = mock.kv_blocks * mock.block_tokens
            self._answer(200, {"page_size": mock.block_tokens, "max_total_num_tokens": total, "version": "0.5"})
        else:
            self._answer(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        mock = self.server.mock
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:
            raise Gone
        mock.keys.add(self.headers.get("Authorization") or "")
        if self.path == "/v1/completions":
            self._completion(json.loads(body))
        elif self.path == {"vllm": "/reset_prefix_cache", "sglang": "/flush_cache"}.get(mock.style):
            done = mock.reset()
            if mock.style == "vllm":  # whose status is 200 whatever came of it
                self._answer(200, {"success": done})
            else:
                self._answer(*((200, "") if done else (400, "requests run or wait")), "text/plain")
        else:
            self._answer(404, {"detail": "Not Found"})

    def _completion(self, asked: dict[str, Any]) -> None:
        mock = self.server.mock
        if asked["model"] not in mock.models:
            self._answer(404, {"error": {"message": f"The model `{asked['model']}` does not exist.", "code": 404}})
            return
        act, number = mock.next_act(asked)
        if "refuses" in act:
            self._answer(500, {"error": {"message": "the GPU is on fire", "type": "InternalServerError", "code": 500}})
        elif "too_long" in act:
            self._answer(400, {"error": {"message": "longer than the maximum model length", "code": 400}})
        elif "page" in act:
            self._answer(200, "<html>welcome</html>", "text/html")
        else:
            with mock.place(number):
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream; charset=utf-8")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self._stream(asked, act, mock.prefill(asked["prompt"]))

    def _stream(self, asked: dict[str, Any], act: set[str], cached: int) -> None:
        mock, wanted, made = self.server.mock, asked["max_tokens"], 0
        goal = wanted // 2 if act & HALFWAY else wanted
        prompt = len(asked["prompt"]) + ("bos" in act)
        told = asked["stream_options"] if "no_usage" not in act else {}
        continuous = told.get("continuous_usage_stats") and mock.style != "plain" and "bare" not in act
        delay_s = 0.02 if "slow" in act else mock.token_s
        self._shreds = "shreds" in act
        breaks = act & HALFWAY - {"truncates"}
        while made < goal:
            if delay_s:
                mock.pause(self.connection, delay_s)
            count = min(3 if "many" in act else 1, goal - made)
            texts = [TEXTS[(made + more) % len(TEXTS)] or ("" if continuous else "z") for more in range(count)]
            made += count
            ends = "stop" if goal < wanted else "length"
            reason = ends if made == goal and not breaks else None
            choice = {"index": 0, "text": "".join(texts), "logprobs": None, "finish_reason": reason}
            usage = _usage(prompt, made) if continuous else None
            self._event({"object": "text_completion", "choices": [choice], "usage": usage})
        if breaks:
            self._breaks(breaks.pop())
            return
        if told.get("include_usage"):
            self._event({"object": "text_completion", "choices": [], "usage": self._final(prompt, made, cached)})
        self._event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def _final(self, prompt: int, made: int, cached: int) -> dict[str, Any]:
        """The usage of a whole completion."""
        style, usage = self.server.mock.style, _usage(prompt, made)
        if style == "vllm" or (style == "sglang" and cached):
            usage["prompt_tokens_details"] = {"cached_tokens": cached}
        return usage | ({"reasoning_tokens": 0} if style == "sglang" else {})

    def _breaks(self, act: str) -> None:
        """What goes wrong halfway."""
        mock = self.server.mock
        if act == "hangs":
            mock.pause(self.connection, None)
        elif act in ("crashes", "dies"):
            if act == "dies":
                mock.die()
            self.connection.shutdown(socket.SHUT_RDWR)
            raise Gone
        elif act == "garbage":
            self._event('{"choices": [{"text": ')
        elif act == "error":
            self._event({"error": {"message": "the GPU fell off the bus", "type": "InternalServerError", "code": 500}})
            self._event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def _event(self, data: Any) -> None:
        text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
        event = f": so it goes\r\ndata:{text}\r\n\r\n" if self.server.mock.style == "plain" else f"data: {text}\n\n"
        for part in [bytes([byte]) for byte in event.encode()] if self._shreds else [event.encode()]:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))


def _usage(prompt: int, made: int) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "total_tokens": prompt + made, "completion_tokens": made}
