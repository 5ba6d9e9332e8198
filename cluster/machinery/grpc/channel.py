"""
A channel to one server: a connection that is made when first needed and made anew when it is gone.

While connecting fails, calls fail at once with the last reason until the pause is over.
"""

import asyncio
import random
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cluster.machinery.grpc.calls import StreamCall, UnaryCall
from cluster.machinery.grpc.connection import Connection
from cluster.machinery.grpc.errors import GrpcError
from cluster.machinery.grpc.headers import request_block

CONNECT_TIMEOUT = 5.0
"""Seconds for the TCP and TLS handshakes and the first frame."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
CLOSE_TIMEOUT = 0.2
"""Seconds that the other side has for its part of the goodbye."""
DEFAULT_MAX_MESSAGE = 16 << 20


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files, read at every connect so that a renewed certificate is used. An empty `ca` trusts the system's."""

    ca: str = ""
    cert: str = ""
    key: str = ""

    def context(self) -> ssl.SSLContext:
        """Raises OSError (ssl.SSLError too) for files that are missing or no PEM."""
        context = ssl.create_default_context(cafile=self.ca or None)
        if self.cert:
            context.load_cert_chain(self.cert, self.key or None)
        context.set_alpn_protocols(["h2"])
        return context


class Channel:
    """Call from one event loop; `close` when done. `target` is HOST:PORT or unix:///PATH."""

    def __init__(
        self,
        target: str,
        tls: TlsFiles | None = None,
        *,
        max_message: int = DEFAULT_MAX_MESSAGE,
        keepalive: float = 0.0,
    ) -> None:
        """
        Args:
            tls: None means plain text.
            max_message: Bytes of one message that comes.
            keepalive: Seconds of silence, while calls are open, after which a ping asks whether the other side is
                there; 0 never asks. Servers end connections that ask more often than they allow: etcd every 5 s, most
                others every 5 min.
        """
        self._keepalive = keepalive
        self.target = target
        self._tls = tls
        self._max_message = max_message
        self._socket = Path(target.removeprefix("unix://")) if target.startswith("unix:") else None
        self._authority = "localhost" if self._socket is not None else target
        self._blocks: dict[str, bytes] = {}
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._open: set[Connection] = set()
        """All that are not closed, with those that only end what they have begun."""
        self._pause = 0.0
        self._retry_at = 0.0
        self._last_fault = ""
        self._closed = False

    async def unary(self, path: str, request: bytes, seconds: float | None) -> bytes:
        """One call, like /package.Service/Method. Raises GrpcError; `seconds` None waits for ever."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds if seconds is not None else 0.0
        while True:
            known = self._connection
            connection = known or await self._connected(deadline)
            call = UnaryCall(self._block(path), request, deadline, self._max_message, loop)
            connection.start(call)
            try:
                return await call.answer
            except GrpcError as fault:
                # An idle connection may be closing as we speak; a new one gets a try.
                if fault.processed or fault.code != "UNAVAILABLE" or known is None or known.usable:
                    raise
            except asyncio.CancelledError:
                connection.cancel(call)
                raise

    async def stream(
        self, path: str, request: bytes, seconds: float, *, ends: bool = False, metadata: Sequence[tuple[str, str]] = ()
    ) -> StreamCall:
        """
        Open a stream with its first message. Cancel it when done.

        Args:
            seconds: To connect; the stream itself has no deadline.
            ends: Whether `request` is all that we say.
        """
        connection = self._connection or await self._connected(asyncio.get_running_loop().time() + seconds)
        call = StreamCall(self._block(path, metadata), request, self._max_message, ends=ends)
        connection.start(call)
        return call

    def _block(self, path: str, metadata: Sequence[tuple[str, str]] = ()) -> bytes:
        block = self._blocks.get(path)
        if block is None or metadata:
            block = request_block(path, self._authority, secure=self._tls is not None, metadata=metadata)
            if not metadata:
                self._blocks[path] = block
        return block

    async def _connected(self, deadline: float) -> Connection:
        """Raises GrpcError."""
        while self._connection is None:
            if self._closed:
                raise GrpcError("UNAVAILABLE", f"the channel to {self.target} is closed", processed=False)
            loop = asyncio.get_running_loop()
            if self._connecting is None:
                if loop.time() < self._retry_at:
                    raise self._unreachable()
                self._connecting = loop.create_task(self._connect(), name=f"connect {self.target}")
            try:
                async with asyncio.timeout_at(deadline or None):
                    await asyncio.wait([self._connecting])
            except TimeoutError:
                why = f"no connection to {self.target} came in time"
                raise GrpcError("DEADLINE_EXCEEDED", why, processed=False) from None
            if self._last_fault:
                raise self._unreachable()
        return self._connection

    def _unreachable(self) -> GrpcError:
        return GrpcError("UNAVAILABLE", f"failed to connect to {self.target}: {self._last_fault}", processed=False)

    async def _connect(self) -> None:
        """Sets `_connection`, or `_last_fault` and the time before which nobody tries again."""
        loop = asyncio.get_running_loop()
        connection = Connection(loop, self.target, self._on_unusable, self._keepalive)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await self._dial(loop, connection)
                await connection.settled
        except (OSError, GrpcError, TimeoutError) as fault:
            connection.abort()
            self._failed(_reason(fault))
        except asyncio.CancelledError:
            connection.abort()
            raise
        else:
            if connection.usable:
                self._last_fault, self._pause, self._retry_at = "", 0.0, 0.0
                self._connection = connection
            else:
                self._failed("it takes no calls")
        finally:
            self._connecting = None

    def _failed(self, why: str) -> None:
        self._last_fault = why
        self._pause = min(max(self._pause * 2, FIRST_PAUSE), LONGEST_PAUSE)
        self._retry_at = asyncio.get_running_loop().time() + self._pause * random.uniform(0.8, 1.2)  # noqa: S311

    async def _dial(self, loop: asyncio.AbstractEventLoop, connection: Connection) -> None:
        if self._socket is not None:
            await loop.create_unix_connection(lambda: connection, str(self._socket))
        else:
            host, port = _host_and_port(self.target)
            if self._tls is None:
                await loop.create_connection(lambda: connection, host, port)
            else:
                context = self._tls.context()
                transport, _ = await loop.create_connection(
                    lambda: connection, host, port, ssl=context, server_hostname=host,
                    ssl_handshake_timeout=CONNECT_TIMEOUT, ssl_shutdown_timeout=CLOSE_TIMEOUT,
                )  # fmt: skip
                if transport.get_extra_info("ssl_object").selected_alpn_protocol() != "h2":
                    raise GrpcError("UNAVAILABLE", "it does not speak HTTP/2", processed=False)
        self._open.add(connection)
        connection.closed.add_done_callback(lambda _: self._open.discard(connection))

    def _on_unusable(self, connection: Connection) -> None:
        if self._connection is connection:
            self._connection = None

    def renew(self, grace: float) -> None:
        """The next call connects anew; those that run have `grace` seconds."""
        if self._connecting is not None:  # perhaps with what the files held before
            self._connecting.add_done_callback(lambda _: self._retire_all(grace))
        self._retire_all(grace)

    def _retire_all(self, grace: float) -> None:
        loop = asyncio.get_running_loop()
        for connection in tuple(self._open):
            connection.retire()
            ending = loop.call_later(grace, connection.close, "its time was over")
            connection.closed.add_done_callback(partial(_cancel, ending))

    async def close(self) -> None:
        """Ends all calls."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        connections = tuple(self._open)
        for connection in connections:
            connection.close(f"the channel to {self.target} was closed")
        if connections:
            await asyncio.wait([connection.closed for connection in connections], timeout=CLOSE_TIMEOUT)
        for connection in connections:
            connection.abort()


def _host_and_port(target: str) -> tuple[str, int]:
    host, _, port = target.rpartition(":")
    return host.strip("[]"), int(port)


def _cancel(ending: asyncio.TimerHandle, _: object) -> None:
    ending.cancel()


def _reason(fault: Exception) -> str:
    if isinstance(fault, GrpcError):
        return fault.details
    if isinstance(fault, TimeoutError):
        return f"no answer within {CONNECT_TIMEOUT:g} s"
    return str(fault) or type(fault).__name__
