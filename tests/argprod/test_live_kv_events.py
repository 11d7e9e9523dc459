"""What a live replay tells of KV events: of its own runs alone, and of events that are not their instance's."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.argprod.test_live_replay import COMMAND, SOURCE
from tests.replay.kv_publisher import Publisher, stored
from tests.replay.mock_openai import MockOpenAI


@contextlib.contextmanager
def published(batches: int) -> Iterator[str]:
    """The address of somebody who published so many batches before anybody came, and repeats them."""
    ready, stop, told = threading.Event(), threading.Event(), list[str]()

    async def main() -> None:
        publisher = Publisher()
        for number in range(batches):
            await publisher.publish(stored((number,)))
        told.append(f"{publisher.endpoint},{publisher.replay}")
        ready.set()
        await asyncio.to_thread(stop.wait)
        await publisher.close()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    try:
        assert ready.wait(10)
        yield told[0]
    finally:
        stop.set()
        thread.join(10)


def test_events_are_counted_from_the_first_run_on_and_those_of_somebody_else_are_noticed(tmp_path: Path) -> None:
    with MockOpenAI() as mock, published(90) as events:
        name = mock.url.removeprefix("http://")
        command = [
            *COMMAND, SOURCE.format(12), "--engine", "http:vocabulary=1000", "--endpoint", mock.url,
            "--kv-events", events, "-p", "round_robin", "--open-loop", "--log", str(tmp_path),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        assert f"KV events of {name}: 0 batches read, 0 blocks stored.\n" in done.stdout
        told = (
            f"KV events of {name} tell of 0 of 12 prompts that it was sent: is that address of its --kv-events its own?"
        )
        assert told in done.stdout
    with MockOpenAI(port=int(name.rpartition(":")[2])) as mock, published(3) as events:  # all started anew elsewhere
        command[command.index("--kv-events") + 1] = events
        again = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert again.returncode == 0, again.stderr
        assert mock.finished == 0
    assert "1 of 1 runs taken from the log\n" in again.stdout
    assert "KV events of" not in again.stdout  # nothing was run, so nothing was heard
