"""What a user meets who names the wrong host, or a server that serves no models: one plain line, and soon."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from replay.calibration.file import read_calibration
from replay.engines.catalogue import engines_of, read_engine
from replay.engines.openai_http import OpenAIEngine
from replay.engines.openai_stream import said
from scheduler.errors import BadInput, BadTrace


def test_a_host_that_does_not_exist_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*given: Any, **options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    engine = OpenAIEngine("a", "http://gpu-hots:8000")

    async def main() -> None:
        try:
            await engine.start()
        finally:
            await engine.close()

    began = time.monotonic()
    with pytest.raises(BadInput, match=r"^--endpoint: expected a host that has an address, got 'http://gpu-hots:8000'"):
        asyncio.run(main())
    assert time.monotonic() - began < 5  # the ten seconds are for servers that are not ready yet


def test_of_a_page_of_html_the_title_is_told() -> None:
    page = (
        b"<!DOCTYPE html>\n<html><head>\n<title>Welcome to nginx!</title><style>a{}</style></head><body>x</body></html>"
    )
    assert said(page) == "a page of HTML, 'Welcome to nginx!'"
    assert said(b"<html><body>no title</body></html>") == "a page of HTML"
    assert said(b"1 < 2") == "1 < 2"


def test_the_server_that_was_named_twice_is_named() -> None:
    urls = ["http://a:1", "http://b:1", "http://a:1/v1"]
    with pytest.raises(BadInput, match=r"^--endpoint: expected each server once, got 'http://a:1/v1' \(this one was"):
        engines_of(read_engine("http"), 3, urls)
    with pytest.raises(BadInput, match="--endpoint: expected the address of each server, it is missing"):
        engines_of(read_engine("http"), 0, [])


@pytest.mark.parametrize(
    ("data", "got"),
    [(b"", "''"), (b'{"a":\n 1}', """'{"a": 1}'"""), (b"hello there", "'hello there'"), (b"\xff\xfe", "'��'")],
)
def test_what_stands_in_place_of_a_calibration_is_shown(data: bytes, got: str, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_bytes(data)
    with pytest.raises(BadTrace) as fault:
        read_calibration(path)
    assert f"expected a calibration file of argprod calibrate, got {got} (" in str(fault.value)
