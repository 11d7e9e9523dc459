"""The ZeroMQ side of listening to KV events: an address, a connection that is there, a replay.

Engines publish (PUB) and repeat what they published (ROUTER); this side connects to both and binds nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from scheduler.errors import BadInput, EngineFailure

if TYPE_CHECKING:
    import zmq.asyncio

#: Batches that may wait here to be read; engines keep as many [batch].
QUEUE_MAX = 100_000
#: Bytes of a batch's number, big-endian.
NUMBER_BYTES = 8
#: The last TCP port.
PORT_MAX = 65_535

_END = b"\xff" * NUMBER_BYTES  # where the number stands, behind the last batch of a replay


def checked_address(field: str, text: str) -> str:
    """An address that can be connected to.

    Args:
        field: what it is called.
        text: ``tcp://HOST:PORT`` or ``ipc://PATH``.

    Raises:
        BadInput: if it is none.

    Example:
        >>> checked_address("endpoint", "tcp://*:5557")
        Traceback (most recent call last):
        scheduler.errors.BadInput: endpoint: expected tcp://HOST:PORT or ipc://PATH, got 'tcp://*:5557' (an engine binds
        to *; to connect, name its host, such as 127.0.0.1)
    """
    scheme, _, rest = text.partition("://")
    host, _, port = rest.rpartition(":")
    hint = "an engine binds to *; to connect, name its host, such as 127.0.0.1" if host == "*" else ""
    whole = host not in ("", "*") and port.isdecimal() and len(port) <= 5 and 0 < int(port) <= PORT_MAX
    if not (scheme == "ipc" and rest) and not (scheme == "tcp" and whole):
        raise BadInput(field, text, "tcp://HOST:PORT or ipc://PATH", hint)
    return text


async def subscribed(context: zmq.asyncio.Context, address: str, topic: str, connect_s: float) -> zmq.asyncio.Socket:
    """A socket that hears what is published at an address, once somebody is there.

    ZeroMQ alone would wait for ever, and say nothing.

    Raises:
        BadInput: if ZeroMQ cannot use the address.
        EngineFailure: if nobody is there in time.
    """
    import zmq
    from zmq.utils.monitor import recv_monitor_message

    socket = context.socket(zmq.SUB)
    socket.rcvhwm = QUEUE_MAX
    socket.subscribe(topic)
    monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
    try:
        _connect(socket, "endpoint", address)
        async with asyncio.timeout(connect_s):
            heard: Any = recv_monitor_message(monitor)
            await heard
    except TimeoutError:
        raise EngineFailure(
            f"nobody publishes KV events at {address} (waited {connect_s:g} s): is the engine started with "
            "--kv-events-config, and does it bind there (tcp://*:PORT)?"
        ) from None
    finally:
        socket.disable_monitor()
        monitor.close(linger=0)
    return socket


async def repeated(
    context: zmq.asyncio.Context, address: str, first: int, silence_s: float
) -> AsyncGenerator[tuple[int, bytes], None]:
    """What an engine published, from a number on, as far as it still has it: numbers and batches, in order.

    The engine's queue holds 1000 messages and drops what does not fit, while it may keep 10,000 batches: holes are for
    the caller to find, and to ask for again.

    Raises:
        BadInput: if ZeroMQ cannot use the address.
        EngineFailure: if it is silent for too long before the end, or says what is no batch.
    """
    import zmq

    with context.socket(zmq.DEALER) as socket:
        socket.linger, socket.rcvhwm = 0, QUEUE_MAX
        _connect(socket, "replay", address)
        await socket.send_multipart([b"", first.to_bytes(NUMBER_BYTES, "big")])
        while True:
            try:
                async with asyncio.timeout(silence_s):
                    frames = await socket.recv_multipart()
            except TimeoutError:
                raise EngineFailure(f"nothing repeats KV events at {address} (silent for {silence_s:g} s)") from None
            # From vLLM 0.32 on a topic comes before the number, so both are counted from the end.
            if len(frames) < 3 or len(frames[-2]) != NUMBER_BYTES:
                raise EngineFailure(
                    f"{address} repeats no KV events: expected a number and a batch, got {sizes(frames)}"
                )
            if frames[-2] == _END:
                return
            yield int.from_bytes(frames[-2], "big"), frames[-1]


def sizes(frames: list[bytes]) -> str:
    """What a message consists of, for errors.

    Example:
        >>> sizes([b"", b"12345678"])
        'frames of 0, 8 bytes'
    """
    return f"frames of {', '.join(str(len(frame)) for frame in frames)} bytes"


def _connect(socket: zmq.asyncio.Socket, field: str, address: str) -> None:
    import zmq

    try:
        socket.connect(address)
    except zmq.ZMQError as fault:
        raise BadInput(field, address, "an address that ZeroMQ can connect to", str(fault)) from None
