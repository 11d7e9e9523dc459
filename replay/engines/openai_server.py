"""A server over HTTP: questions with short answers, and posts whose answer is a stream. Only this file knows httpx.

Whatever goes wrong on the way is an :class:`EngineFailure` that names the engine and says what happened; no exception
of httpx gets out. What is under way is given up by the scopes of anyio, on which httpx stands: they let it put its
connections in order, while a task that is cancelled by asyncio right then leaves them open and lost.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from replay.engines.openai_stream import ServerBroke, said
from scheduler.errors import BadInput, EngineFailure, JobRefused

if TYPE_CHECKING:
    import httpx
    from anyio import CancelScope

#: How long an idle connection is kept: less than servers keep it (uvicorn: 5 s), or a request would meet its end [s].
IDLE_S = 2.0
#: How much of a body that should not be there is read for its message [byte].
BODY_BYTES_READ = 65_536
#: What a server answers that works, but will not do what this one request asks for.
_REFUSALS = (400, 413, 422)


class Server:
    """One server.

    Requests never wait for each other here: there are as many connections as requests. Proxies that the environment
    names are left out. If the environment has an OPENAI_API_KEY, it is sent; it stands in no log and no message.

    Args:
        name: of the engine, for messages.
        url: where it is, ``http://HOST:PORT``; a ``/v1`` at the end is left out.
        connect_s: a connection takes no longer [s].
        ask_s: an answer to :meth:`ask` takes no longer [s].

    Raises:
        BadInput: for an address that cannot be.
    """

    def __init__(self, name: str, url: str, *, connect_s: float, ask_s: float) -> None:
        self.name, self.url = name, address(url)
        self.connect_s, self.ask_s = connect_s, ask_s
        self._client: httpx.AsyncClient | None = None
        self._closed = False

    def open(self) -> None:
        """Be ready to connect; nothing is sent.

        Raises:
            EngineFailure: if httpx is not installed.
            BadInput: for an address that cannot be.
        """
        try:
            import httpx
        except ImportError as fault:
            raise EngineFailure(f"{fault.name} is missing: install argprod[full]") from None
        if self._client is not None:
            return
        wait = httpx.Timeout(self.ask_s, connect=self.connect_s, pool=None)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=IDLE_S)
        # Without TLS an empty context does: httpx's own reads all certificates of the world, 24 ms an engine.
        secure = self.url.startswith("https:")
        trusted = ssl.create_default_context() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            self._client = httpx.AsyncClient(
                base_url=self.url, headers=_key(), timeout=wait, limits=limits, trust_env=False, verify=trusted
            )
        except (httpx.InvalidURL, ValueError) as fault:
            raise BadInput("url", self.url, f"http://HOST:PORT ({fault})") from None
        self._closed = False

    async def close(self) -> None:
        """Give all connections back."""
        self._closed = True
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _opened(self) -> httpx.AsyncClient:
        if self._client is None:
            raise EngineFailure(f"{self.name} {'was closed' if self._closed else 'was not started'}")
        return self._client

    async def ask(self, method: str, path: str) -> tuple[int, bytes]:
        """Ask for something short; its status and its body.

        Raises:
            EngineFailure: if there is no answer.
        """
        client = self._opened()
        with self._plainly():
            answer = await client.request(method, path, follow_redirects=method == "GET")
            return answer.status_code, answer.content

    async def stream(
        self, path: str, body: bytes, kind: str, progress: Callable[[], str]
    ) -> AsyncGenerator[bytes, None]:
        """Post JSON; the bytes of the answer as they come, however long they are silent in between.

        To close it early closes the connection.

        Args:
            path: where to.
            body: what.
            kind: what the answer should be (``text/event-stream``).
            progress: says how far it has come, if it breaks off.

        Raises:
            EngineFailure: from the iteration, if the answer is an error or of another kind, or breaks off.
        """
        import httpx

        client = self._opened()
        headers = {"accept": kind, "accept-encoding": "identity", "content-type": "application/json"}
        forever = httpx.Timeout(None, connect=self.connect_s)
        asked = client.build_request("POST", path, content=body, headers=headers, timeout=forever)
        with self._plainly():
            response = await client.send(asked, stream=True)
        try:
            with self._plainly(progress):
                await self._check(response, path, kind)
                async for piece in response.aiter_bytes():
                    yield piece
        finally:
            await response.aclose()

    async def _check(self, response: httpx.Response, path: str, kind: str) -> None:
        """Whether the answer is what was asked for."""
        status, found = response.status_code, response.headers.get("content-type", "no content-type")
        if status == 200 and found.partition(";")[0].strip().lower() == kind:
            return
        import anyio

        body = b""
        with anyio.move_on_after(self.ask_s):
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > BODY_BYTES_READ:
                    break
        if status in _REFUSALS:
            raise JobRefused(f"{self.name} answered {status} to {path}: {said(body)}")
        if status >= 400:
            fault = ServerBroke if status >= 500 else EngineFailure
            raise fault(f"{self.name} answered {status} to {path}: {said(body)}")
        raise EngineFailure(f"{self.name} answered {status} with {found} to {path}, not 200 with {kind}: {said(body)}")

    @contextlib.contextmanager
    def _plainly(self, progress: Callable[[], str] | None = None) -> Iterator[None]:
        """Say what httpx says in the words of an engine; ``progress`` if an answer has begun."""
        import httpx

        try:
            yield
        except httpx.ConnectTimeout:
            fault = f"{self.name} took no connection at {self.url} within {self.connect_s:g} s"
        except httpx.ConnectError as failure:
            fault = f"{self.name} cannot be reached at {self.url}: {_reason(failure)}"
        except httpx.TimeoutException:
            fault = f"{self.name} did not answer within {self.ask_s:g} s"
        except httpx.HTTPError as failure:
            far = "before it answered" if progress is None else progress()
            raise ServerBroke(f"{self.name} broke off {far}: {_reason(failure)}") from None
        else:
            return
        raise EngineFailure(fault)


def cancel_scope() -> CancelScope:
    """What ends all that is awaited inside it, once it is cancelled."""
    import anyio

    return anyio.CancelScope()


async def drain(pieces: AsyncGenerator[bytes, None], wait_s: float) -> None:
    """Read to the end of a stream in which nothing is left to hear; how it ends tells nothing any more.

    Args:
        pieces: of the stream.
        wait_s: no longer than that [s].
    """
    import anyio

    with anyio.move_on_after(wait_s), contextlib.suppress(EngineFailure):
        async for _ in pieces:
            pass


def _key() -> dict[str, str]:
    """What says who we are, to servers that ask."""
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    return {"authorization": f"Bearer {key}"} if key else {}


def address(url: str) -> str:
    """The address of a server, without what is the same for all.

    Example:
        >>> address("http://127.0.0.1:8000/v1/")
        'http://127.0.0.1:8000'
    """
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        right = known and not parts.query and not parts.fragment
    except ValueError:  # a port that is no number
        right = False
    if not right:
        raise BadInput("url", url, "http://HOST:PORT")
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


def _reason(fault: BaseException) -> str:
    """What the system says of it, if it does; else what httpx says."""
    inner: BaseException | None = fault
    while inner is not None:
        if isinstance(inner, BaseExceptionGroup):  # one for each address of a name; they fail alike
            inner = inner.exceptions[0]
        if isinstance(inner, ssl.SSLError | socket.gaierror):  # these have numbers of their own
            return str(inner.strerror)
        if isinstance(inner, OSError) and inner.errno:
            return os.strerror(inner.errno)
        inner = inner.__cause__ or inner.__context__
    return str(fault) or type(fault).__name__
