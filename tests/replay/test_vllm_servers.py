"""Starting and ending servers, with a stand-in for vLLM that listens, breaks, hangs or will not end."""

from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from replay.engines import vllm_servers
from replay.engines.catalogue import read_engine
from replay.engines.kv_sockets import checked_address
from replay.engines.openai_http import HttpOptions
from replay.engines.vllm_hint import hint
from replay.engines.vllm_servers import Shape, main, servers
from replay.sources import open_source
from scheduler.errors import BadInput, EngineFailure

ROOT = Path(__file__).parent.parent.parent
STAND_IN = """
import http.server, os, pathlib, signal, subprocess, sys, tempfile
arguments = [word for word in sys.argv[1:] if word not in ("--skip-tokenizer-init", "--enforce-eager",
             "--enable-prompt-tokens-details")]
told = dict(zip(arguments[::2], arguments[1::2]))
kind = os.environ.get("STAND_IN", "")
notes = pathlib.Path(os.environ["NOTES"])
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
(notes / told["--port"]).write_text(f"{os.getpid()} {child.pid} {told['--host']} {os.environ['PYTHONHASHSEED']}")
(notes / "config.json").write_bytes((pathlib.Path(told["--model"]) / "config.json").read_bytes())
(notes / "told.json").write_text(told["--kv-events-config"])
tempfile.mkstemp()  # left behind
(pathlib.Path(os.environ["VLLM_RPC_BASE_PATH"]) / f"{told['--port']} socket").touch()
if kind == "breaks":
    print("(A pid=1) WARNING 11-29 01:47:53 [u.py:2] Found ulimit of 20000, which can cause `OSError: [Errno 24] ...`")
    print("(A pid=1) WARNING 11-29 01:47:53 [u.py:2] ValueError: Tokenizer not available")
    print("(B pid=2) ERROR 11-29 01:47:54 [m.py:1063] Traceback (most recent call last):")
    print("(B pid=2) ERROR 11-29 01:47:54 [m.py:1063] ValueError: the cache is too small")
    print("Traceback (most recent call last):\\nRuntimeError: see above\\nINFO:     Finished server process [1]")
    print("resource_tracker.py:254: UserWarning: resource_tracker: There appear to be 1 leaked shared_memory objects")
    print("  warnings.warn('resource_tracker: There appear to be %d '")
    sys.exit(1)
if kind == "hangs":
    signal.pause()
if kind == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()
        if self.path == "/die":
            os._exit(3)

http.server.HTTPServer((told["--host"], int(told["--port"])), Answers).serve_forever()
"""


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment in which the stand-in is vLLM; where it leaves what it was told."""
    place = tmp_path / "packages" / "vllm" / "entrypoints" / "openai"
    place.mkdir(parents=True)
    for folder in (place, place.parent, place.parent.parent):
        (folder / "__init__.py").touch()
    (place / "api_server.py").write_text(STAND_IN, encoding="utf-8")
    found = tmp_path / "notes"
    found.mkdir()
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "packages"), str(ROOT)]))
    monkeypatch.setenv("NOTES", str(found))
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return found


def processes(notes: Path) -> list[int]:
    return [int(word) for note in notes.glob("[0-9]*") for word in note.read_text(encoding="utf-8").split()[:2]]


def runs(process: int) -> bool:
    """Whether it is there, and not merely waiting for somebody to ask how it ended."""
    try:
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except ProcessLookupError:
        return False
    except FileNotFoundError:
        return not Path("/proc/self").exists()
    return state.rpartition(")")[2].split()[0] != "Z"


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def gone(notes: Path) -> bool:
    found = processes(notes)
    assert found
    return not any(map(runs, found))


def asked(url: str, path: str) -> int:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def test_servers_are_ready_each_at_its_place_and_gone_afterwards(notes: Path) -> None:
    with servers(3, shape=Shape(kv_blocks=64)) as started:
        assert [asked(server.url, "/health") for server in started] == [200, 200, 200]
        assert len({place for server in started for place in (server.url, server.events, server.replay)}) == 9
        folder = started[0].log.parent
        assert all(runs(process) for process in processes(notes))
        told = json.loads((notes / "told.json").read_text(encoding="utf-8"))
        assert told["enable_kv_cache_events"] is True
        assert (told["endpoint"], told["replay_endpoint"]) in [(server.events, server.replay) for server in started]
        assert all(note.read_text(encoding="utf-8").split()[2:] == ["127.0.0.1", "0"] for note in notes.glob("[0-9]*"))
        assert json.loads((notes / "config.json").read_text(encoding="utf-8"))["max_position_embeddings"] == 63 * 32
    until(lambda: gone(notes))
    assert not folder.exists()


def test_what_servers_leave_behind_goes_with_them(notes: Path) -> None:
    with servers(2) as started:
        folder = started[0].log.parent
        assert len(list(folder.glob("* socket"))) == len(list(folder.glob("tmp*"))) == 2
        assert list(folder.parent.iterdir()) == [folder]
    assert list(folder.parent.iterdir()) == []


def test_what_breaks_in_the_block_ends_the_servers_too(notes: Path) -> None:
    with pytest.raises(ZeroDivisionError), servers(1):
        raise ZeroDivisionError
    until(lambda: gone(notes))


def test_a_server_that_breaks_is_told_with_its_first_error(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN", "breaks")
    said = (
        r"vLLM at http://127.0.0.1:\d+ ended \(1\); its error: ValueError: the cache is too small \| "
        r"RuntimeError: see above \(log: (\S+/argprod-vllm-\d+-\S+\.log)\)$"
    )
    with pytest.raises(EngineFailure, match=said) as fault, servers(2):
        pass
    until(lambda: gone(notes))
    found = re.search(said, str(fault.value))
    assert found is not None
    assert "warnings.warn" in Path(found[1]).read_text(encoding="utf-8")  # the whole of it, after all else is gone
    assert list(Path(tempfile.gettempdir()).iterdir()) == [Path(found[1])]


def test_a_server_that_is_not_ready_in_time_is_told(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN", "hangs")
    with (
        pytest.raises(EngineFailure, match=r"was not ready in time; the last that it said: nothing \(log: "),
        servers(ready_s=1.0),
    ):
        pass
    until(lambda: gone(notes))


def test_a_server_that_will_not_end_is_killed(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN", "stubborn")
    monkeypatch.setattr(vllm_servers, "STOP_S", 0.1)
    with servers(1) as (server,):
        assert server.process.poll() is None
    assert server.process.returncode == -signal.SIGKILL
    until(lambda: gone(notes))


def command(*more: str, ignoring: bool = False) -> subprocess.Popen[str]:
    """The command; if so wanted, as a shell starts it in the background: told to ignore SIGINT."""
    words = [sys.executable, "-m", "replay.engines.vllm_servers", *more]
    before = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh"] if ignoring else []
    return subprocess.Popen([*before, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_says_where_they_are_and_ends_them_when_it_is_stopped(notes: Path, number: signal.Signals) -> None:
    with command("--count", "2", "--port", "0", ignoring=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stderr.readline() == "starting 2 vLLM servers; that takes a minute or two\n"
        lines = [process.stdout.readline().split() for _ in range(2)]
        assert [asked(url, "/health") for url, _ in lines] == [200, 200]
        assert all(re.fullmatch(r"ipc://[^,]+events,ipc://[^,]+replay", events) for _, events in lines)
        process.send_signal(number)
        assert process.wait(20) == 0
        told = process.stdout.read()
    until(lambda: gone(notes))
    words = shlex.split(told[told.index(".venv/bin/argprod") :].replace("\\\n", " "))
    assert [words[place + 1] for place, word in enumerate(words) if word == "--endpoint"] == [url for url, _ in lines]
    assert [words[place + 1] for place, word in enumerate(words) if word == "--kv-events"] == [ev for _, ev in lines]


def test_the_command_that_is_told_can_be_pasted() -> None:
    places = [("http://127.0.0.1:8100", "ipc://a b/events", "ipc://a b/replay")]
    for vocabulary, engine in ((HttpOptions().vocabulary, "http"), (1000, "http:vocabulary=1000")):
        told = hint(places, vocabulary)
        words = shlex.split(told[told.index(".venv/bin/argprod") :].replace("\\\n", " "))
        options = dict(zip(words[3::2], words[4::2], strict=True))
        assert words[:2] == [".venv/bin/argprod", "replay"]
        assert read_engine(options["--engine"]).options.vocabulary == vocabulary
        assert options["--engine"] == engine
        assert [checked_address("", part) for part in options["--kv-events"].split(",")] == list(places[0][1:])
        requests = list(open_source(words[2])[0])
        assert max(one.prompt_tokens + one.output_tokens for one in requests) <= Shape().longest


def test_the_servers_know_the_token_ids_that_are_sent_unless_told_otherwise() -> None:
    assert Shape().config()["vocab_size"] == HttpOptions().vocabulary


def test_the_command_ends_when_a_server_does(notes: Path) -> None:
    with command("--count", "2", "--port", "0") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline().split()[0]
        asked(url, "/die")
        assert process.wait(20) == 1
        assert f"vLLM at {url} ended (3); the last that it said:" in process.stderr.read()
    until(lambda: gone(notes))


def test_without_vllm_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"vllm: .* it is missing \(in .*; make .venv-vllm/.ready, then"), servers(1):
        pass


def test_the_command_refuses_numbers_that_cannot_be(capsys: pytest.CaptureFixture[str]) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        assert main(["--count", "0"]) == 2
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert capsys.readouterr().err == "count: expected an integer >= 1 and <= 16 [server], got 0\n"


@pytest.mark.parametrize(
    "wrong",
    [
        {"block_tokens": 16},
        {"block_tokens": 48},
        {"kv_blocks": 1},
        {"vocabulary": 10},
        {"layers": 0},
        {"kv_blocks": 3, "context": 65},
        {"context": 0},
    ],
)
def test_a_shape_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=list(wrong)[-1]):
        Shape(**wrong).checked()


@pytest.mark.parametrize(("shape", "longest"), [({}, 4096), ({"kv_blocks": 3}, 64), ({"context": 500}, 500)])
def test_the_longest_sequence_fits_the_cache(shape: dict[str, int], longest: int) -> None:
    assert Shape(**shape).checked().longest == longest
