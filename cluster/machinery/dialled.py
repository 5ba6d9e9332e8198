"""
HTTP over connections that somebody else makes: for servers to which there is no address, but a way.
"""

import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.tracing import Trace

Dial = Callable[[], Awaitable[socket.socket]]
"""A new connection: a non-blocking socket, whoever gets it closes it. Raises OSError."""


class DialledConnector(aiohttp.BaseConnector):
    """aiohttp's pool over `dial`; host and port of a URL say nothing. There is no TLS: the way has its own."""

    allowed_protocol_schema_set = frozenset({"http"})

    def __init__(self, dial: Dial, *, limit: int = 0, keepalive_timeout: float = 15.0) -> None:
        super().__init__(limit=limit, keepalive_timeout=keepalive_timeout)
        self._dial = dial

    async def _create_connection(
        self,
        req: "ClientRequest",
        traces: list["Trace"],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp calls it so
    ) -> "ResponseHandler":
        try:
            made = await self._dial()
            _, protocol = await self._loop.create_connection(self._factory, sock=made)
        except OSError as fault:
            raise aiohttp.ClientConnectionError(str(fault)) from fault
        return protocol
