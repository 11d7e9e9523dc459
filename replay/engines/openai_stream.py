"""What an OpenAI-compatible server says of one completion: server-sent events, and the tokens they tell of.

The bytes of a reply come cut anywhere. :class:`EventStream` cuts them into events by the rules for server-sent events,
:class:`Reply` reads these as what an engine tells (:mod:`replay.engines.protocol`). Both know neither sockets nor
clocks: bytes and the times at which they arrived are arguments.

Lines are cut here, and on bytes, because httpx's ``aiter_lines`` also cuts at U+2028 and other separators, which JSON
may leave bare in its strings; here a line ends at CR, LF or CR LF alone. A package for it (httpx-sse) would decode each
event to text first and hide when its bytes arrived, for the forty lines that it saves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from replay.engines.protocol import Event, Finished, Tokens
from scheduler.errors import EngineFailure

#: An event that is longer is none that tells of tokens [byte].
EVENT_BYTES_MAX = 4 * 2**20
#: Letters of what a server says that a message shows.
LETTERS_SAID = 200

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class ServerBroke(EngineFailure):
    """A server says itself that it failed, or its connection ended."""


class EventStream:
    r"""Cuts bytes into the data of events, by https://html.spec.whatwg.org/multipage/server-sent-events.html.

    An event ends with an empty line; its ``data`` lines are joined by line feeds; comments and other fields say nothing
    here; what has no end when the stream ends is no event. ``pending_bytes`` wait for the end of theirs.

    Example:
        >>> stream = EventStream()
        >>> stream.feed(b": hello\r\ndata: one\r"), stream.feed(b"\ndata: two\r\n\r"), stream.feed(b"\ndata:three")
        ([], [b'one\ntwo'], [])
        >>> stream.pending_bytes
        10
    """

    def __init__(self) -> None:
        self._rest: list[bytes] = []  # of a line whose end has not come
        self._after_cr = False  # the line feed that may come next belongs to the line end before it
        self._begun = False
        self._data: list[bytes] = []
        self.pending_bytes = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The data of the events that these bytes complete."""
        if not data:
            return []
        if self._after_cr and data[:1] == b"\n":
            data = data[1:]
        self._after_cr = data.endswith(b"\r")
        first, *others = _LINE_END.split(data)
        self._rest.append(first)
        self.pending_bytes += len(first)
        if not others:
            return []
        lines = [b"".join(self._rest), *others[:-1]]
        self._rest = others[-1:]
        found: list[bytes] = []
        for line in lines:
            if not self._begun:
                self._begun = True
                line = line.removeprefix(_BYTE_ORDER_MARK)
            field, _, value = line.partition(b":")
            if field == b"data":
                self._data.append(value.removeprefix(b" "))
            elif not line and self._data:
                found.append(b"\n".join(self._data))
                self._data.clear()
        self.pending_bytes = sum(map(len, self._data)) + len(others[-1])
        return found


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None


class _Choice(msgspec.Struct):
    text: str | None = None
    token_ids: list[int] | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    """What is read of a chunk; servers say more, each its own."""

    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None
    object: str = ""


_DECODER = msgspec.json.Decoder(_Chunk)


class Reply:
    r"""The reply to one completion, as far as it has come.

    Tokens are counted by the server where it tells ``usage`` with each chunk, else one a chunk that has a text (or as
    many as it has token ids); what the usage at the end says beyond that is told with the last chunk. Admission is not
    told: an HTTP server says nothing of it.

    Args:
        name: of the engine, for messages.
        prompt_tokens: how many were sent [token].
        wanted_tokens: how many were asked for [token].

    Example:
        >>> reply = Reply("a", 3, 2)
        >>> for text in (b'"x"}]}', b'"y","finish_reason":"length"}]}'):
        ...     print(*reply.hear(b'data: {"choices":[{"text":' + text + b"\n\n", at_s=1.5))
        Tokens(at_s=1.5, count=1)
        Tokens(at_s=1.5, count=1)
        >>> list(reply.hear(b'data: {"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\ndata: [DONE]\n\n', at_s=2.0))
        []
        >>> print(reply.done, *reply.end())
        True Finished(at_s=1.5, output_tokens=2, cached_tokens=None)
    """

    def __init__(self, name: str, prompt_tokens: int, wanted_tokens: int) -> None:
        self.name, self.prompt_tokens, self.wanted_tokens = name, prompt_tokens, wanted_tokens
        self.told_tokens = 0
        self.done = False
        self._events = EventStream()
        self._usage: _Usage | None = None
        self._finish_reason: str | None = None
        self._last_s = 0.0

    @property
    def progress(self) -> str:
        """How far it has come, for messages."""
        return f"after {self.told_tokens} of {self.wanted_tokens} tokens"

    def hear(self, data: bytes, at_s: float) -> Iterator[Event]:
        """What bytes tell that arrived at a time.

        Raises:
            EngineFailure: if the server says that it failed, counts another prompt than was sent, or says what nobody
                understands. What the bytes told before that is told first.
        """
        new_tokens, fault = 0, None
        try:
            for payload in self._events.feed(data):
                self.done = self.done or payload.strip() == b"[DONE]"
                if payload and not self.done:
                    new_tokens += self._chunk(payload, at_s)
            if self._events.pending_bytes > EVENT_BYTES_MAX:
                raise EngineFailure(f"{self.name} sent an event of more than {EVENT_BYTES_MAX} bytes {self.progress}")
        except EngineFailure as failure:
            fault = failure
        if new_tokens:
            yield Tokens(at_s=at_s, count=new_tokens)
        if fault is not None:
            raise fault

    def _chunk(self, payload: bytes, at_s: float) -> int:
        """Read a chunk; how many tokens it brings."""
        try:
            chunk = _DECODER.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise EngineFailure(f"{self.name} sent no chunk of a completion {self.progress}: {said(payload)}") from None
        if chunk.error or chunk.object == "error":
            raise ServerBroke(f"{self.name} failed {self.progress}: {said(payload)}")
        if chunk.usage is not None:
            self._usage = chunk.usage
            self._check_prompt(chunk.usage.prompt_tokens)
        if not chunk.choices:
            return 0
        choice, self._last_s = chunk.choices[0], at_s
        self._finish_reason = choice.finish_reason or self._finish_reason
        if chunk.usage is not None and chunk.usage.completion_tokens is not None:
            new_tokens = chunk.usage.completion_tokens - self.told_tokens
        else:
            new_tokens = len(choice.token_ids or ()) or (1 if choice.text else 0)
            new_tokens = min(new_tokens, self.wanted_tokens - self.told_tokens)  # a chunk need not be a whole token
        new_tokens = max(0, new_tokens)
        self.told_tokens += new_tokens
        return new_tokens

    def _check_prompt(self, counted_tokens: int | None) -> None:
        if counted_tokens is not None and counted_tokens != self.prompt_tokens:
            raise EngineFailure(
                f"{self.name} counted {counted_tokens} prompt tokens where {self.prompt_tokens} were sent: prompts are "
                "not those of the trace; if the server adds a token of its own (BOS), start it without"
            )

    def end(self) -> Iterator[Event]:
        """What is left to tell when nothing comes any more: tokens that no chunk told of, and the end.

        Raises:
            EngineFailure: if it broke off, or brought another number of tokens than was asked for.
        """
        if not self.done and self._finish_reason is None:
            raise EngineFailure(f"{self.name} broke off {self.progress}: its stream ended without a finish_reason")
        counted = None if self._usage is None else self._usage.completion_tokens
        came = self.told_tokens if counted is None else counted
        why = "without a finish_reason" if self._finish_reason is None else f"finish_reason {self._finish_reason!r}"
        if came != self.wanted_tokens and counted is None and self._finish_reason == "length":
            raise EngineFailure(
                f"{self.name} tells no usage, and its chunks show {came} of {self.wanted_tokens} tokens: when they "
                "came cannot be known; it has to obey stream_options.include_usage"
            )
        if came != self.wanted_tokens:
            raise EngineFailure(f"{self.name} ended after {came} of {self.wanted_tokens} tokens ({why})")
        if self.told_tokens > came:
            raise EngineFailure(f"{self.name} counted {self.told_tokens} tokens while they came and {came} at the end")
        if self.told_tokens < came:
            yield Tokens(at_s=self._last_s, count=came - self.told_tokens)
            self.told_tokens = came
        details = None if self._usage is None else self._usage.prompt_tokens_details
        cached = None if details is None else details.cached_tokens
        yield Finished(at_s=self._last_s, output_tokens=came, cached_tokens=cached)


def said(body: bytes) -> str:
    """What a server says of a fault, on one line of at most 200 letters: its own message, a page's title, or all of it.

    Example:
        >>> said(b'{"error": {"message": "no such model", "code": 404}}'), said(b"  Bad   Gateway "), said(b"")
        ('no such model', 'Bad Gateway', 'nothing')
    """
    text = _message(body) or body.decode(errors="replace")
    if text.lstrip().startswith("<"):  # a page for people, so no server of models: its title says enough
        title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
        text = f"a page of HTML, {title[1]!r}" if title else "a page of HTML"
    text = " ".join(text.split()) or "nothing"
    return text if len(text) <= LETTERS_SAID else text[: LETTERS_SAID - 3] + "..."


def _message(body: bytes) -> str | None:
    """The message in an error of OpenAI's form, of vLLM's older form, or of FastAPI; None if it is none of these."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    for key in ("error", "message", "detail"):
        inner = found.get(key) if isinstance(found, dict) else None
        if inner:
            inner = inner.get("message") or inner if isinstance(inner, dict) else inner
            return inner if isinstance(inner, str) else msgspec.json.encode(inner).decode()
    return None
