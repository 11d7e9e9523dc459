"""What an engine's process and its parent say to each other: messages in msgpack, each behind its length.

Both ends are protocols of their event loops, so neither waits for the other. ``Submit``, ``Abort``, ``Reset`` and
``Close`` go to the child, the others come from it.
"""

from __future__ import annotations

import asyncio
import typing
from collections.abc import Callable
from typing import Any

import msgspec

from replay.engines.protocol import Event, Job
from replay.engines.steps import StepRecord

_LENGTH_BYTES = 4


class Submit(msgspec.Struct, frozen=True, tag="submit", array_like=True):
    """A job, and the number by which messages speak of it."""

    number: int
    job: Job


class Abort(msgspec.Struct, frozen=True, tag="abort", array_like=True):
    """Nobody waits for a job any more."""

    number: int


class Reset(msgspec.Struct, frozen=True, tag="reset", array_like=True):
    """Forget what is cached."""


class Close(msgspec.Struct, frozen=True, tag="close", array_like=True):
    """Close the engine, and end."""


class Ready(msgspec.Struct, frozen=True, tag="ready", array_like=True):
    """The engine takes jobs; what it says of itself, and the time of the child's loop."""

    block_tokens: int
    kv_blocks: int | None
    resets: bool
    about: dict[str, str]
    now_s: float


class Unready(msgspec.Struct, frozen=True, tag="unready", array_like=True):
    """The engine could not be made ready."""

    reason: str


class Told(msgspec.Struct, frozen=True, tag="told", array_like=True):
    """An event of a job; ``kind`` is its place in the union of events."""

    number: int
    kind: int
    event: msgspec.Raw


class Ended(msgspec.Struct, frozen=True, tag="ended", array_like=True):
    """No more of a job; with a reason if the engine broke."""

    number: int
    reason: str | None = None


class Emptied(msgspec.Struct, frozen=True, tag="emptied", array_like=True):
    """The cache is empty, or the reason why it is not."""

    reason: str | None = None


class Step(msgspec.Struct, frozen=True, tag="step", array_like=True):
    """The engine made a step."""

    record: StepRecord


class Cached(msgspec.Struct, frozen=True, tag="cached", array_like=True):
    """The engine's cache changed; see :data:`replay.engines.protocol.CacheSink`."""

    stored: tuple[int, ...]
    after: int | None
    removed: tuple[int, ...]


_EVENTS: tuple[Any, ...] = typing.get_args(Event)
_KINDS = {kind: place for place, kind in enumerate(_EVENTS)}
_DECODERS = [msgspec.msgpack.Decoder(kind) for kind in _EVENTS]
#: Read what the other end wrote.
TO_CHILD = msgspec.msgpack.Decoder(Submit | Abort | Reset | Close)
TO_PARENT = msgspec.msgpack.Decoder(Ready | Unready | Told | Ended | Emptied | Step | Cached)


def told(number: int, event: Event) -> Told:
    """The message that carries an event of a job."""
    return Told(number, _KINDS[type(event)], msgspec.Raw(msgspec.msgpack.encode(event)))


def event_of(message: Told) -> Event:
    """The event in such a message.

    Example:
        >>> from replay.engines.protocol import Tokens
        >>> event_of(told(7, Tokens(at_s=1.5)))
        Tokens(at_s=1.5, count=1)
    """
    event: Event = _DECODERS[message.kind].decode(message.event)
    return event


class Wire(asyncio.Protocol):
    """One end of the socket.

    Args:
        decoder: reads what comes.
        heard: told of each message.
        lost: told when the other end is gone.
    """

    def __init__(self, decoder: Any, heard: Callable[[Any], None], lost: Callable[[], None]) -> None:
        self._decoder, self._heard, self._lost = decoder, heard, lost
        self._encoder, self._buffer = msgspec.msgpack.Encoder(), bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The loop serves the socket from now on."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Some bytes came: no message, or several, or part of one."""
        buffer, at = self._buffer, 0
        buffer += data
        while len(buffer) - at >= _LENGTH_BYTES:
            begin = at + _LENGTH_BYTES
            end = begin + int.from_bytes(buffer[at:begin], "little")
            if len(buffer) < end:
                break
            message = self._decoder.decode(bytes(buffer[begin:end]))
            at = end
            self._heard(message)
        del buffer[:at]

    def connection_lost(self, _: Exception | None) -> None:
        """The other end is gone, or this one was closed."""
        self._lost()

    def send(self, message: Any) -> None:
        """Write a message, without waiting; nothing if the other end is gone."""
        if self._transport is not None and not self._transport.is_closing():
            data = self._encoder.encode(message)
            self._transport.write(len(data).to_bytes(_LENGTH_BYTES, "little") + data)

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()
