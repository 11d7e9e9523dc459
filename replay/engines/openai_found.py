"""What is found out of a server before its first completion: that it is there, its model, its KV cache."""

from __future__ import annotations

import asyncio
import socket
from urllib.parse import urlsplit

import msgspec

from replay.engines.openai_metrics import CacheShape, read_cache_shape, read_server_info
from replay.engines.openai_server import Server
from replay.engines.openai_stream import said
from scheduler.errors import BadInput, EngineFailure

#: How often a server is asked again that is not ready yet [s].
POLL_S = 0.05


async def until_ready(server: Server, ready_s: float) -> None:
    """Wait for a server that does not listen yet, or says that it is not ready.

    Args:
        server: an open one.
        ready_s: no longer than that [s].

    Raises:
        EngineFailure: if it is not ready then.
        BadInput: at once, if there is no such host.
    """
    loop = asyncio.get_running_loop()
    where = urlsplit(server.url)
    try:
        await loop.getaddrinfo(where.hostname, where.port or where.scheme)
    except socket.gaierror as unknown:
        if unknown.errno == socket.EAI_NONAME:  # else a name service that may yet answer
            raise BadInput("--endpoint", server.url, "a host that has an address", "is its name right?") from None
    deadline = loop.time() + ready_s
    while True:
        try:
            status, body = await server.ask("GET", "/health")
            if status < 500:  # servers without that path are ready when they answer
                return
            fault = f"{server.name} at {server.url} is not ready: /health answered {status}: {said(body)}"
        except EngineFailure as failure:
            fault = f"{failure}; is the server running there?"
        if loop.time() + POLL_S > deadline:
            raise EngineFailure(f"{fault} (waited {ready_s:g} s)")
        await asyncio.sleep(POLL_S)


async def find_model(server: Server) -> str:
    """The only model that a server names.

    Raises:
        EngineFailure: if it names none, or several.
    """
    status, body = await server.ask("GET", "/v1/models")
    try:
        found = [str(model["id"]) for model in msgspec.json.decode(body)["data"]]
    except (msgspec.DecodeError, UnicodeDecodeError, LookupError, TypeError):
        told = f"{server.name} answered {status} to /v1/models, and no list of models: {said(body)}"
        raise EngineFailure(f"{told}; if it has OpenAI's API all the same, name the model") from None
    if len(found) != 1:
        raise EngineFailure(f"{server.name} serves {', '.join(found) or 'no model'}: name the model")
    return found[0]


async def find_cache_shape(server: Server) -> CacheShape:
    """The KV cache, as far as a server tells of it."""
    status, body = await server.ask("GET", "/metrics")
    shape = read_cache_shape(body.decode(errors="replace")) if status < 400 else CacheShape()
    for path in ("/server_info", "/get_server_info"):  # SGLang's, now and formerly
        if shape.block_tokens is None:
            status, body = await server.ask("GET", path)
            shape = read_server_info(body) if status < 400 else shape
    return shape


async def find_version(server: Server) -> dict[str, str]:
    """The server's own version, if it tells: ``{"server": VERSION}``; who does not is used all the same."""
    for path in ("/version", "/server_info"):  # vLLM's, SGLang's
        try:
            status, body = await server.ask("GET", path)
            found = msgspec.json.decode(body) if status < 400 else None
        except (EngineFailure, msgspec.DecodeError, UnicodeDecodeError):
            continue
        if isinstance(found, dict) and isinstance(found.get("version"), str):
            return {"server": found["version"]}
    return {}
