"""
One request passed on and its answer handed back, both as streams: nothing is kept, whatever its size.

Redirects are never followed: a backend must not choose whom the apiserver talks to next.
Source: k8s.io/apimachinery, pkg/util/proxy (UpgradeAwareHandler).
"""

import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from cluster.apiserver import responses
from cluster.apiserver.proxy import headers as proxied
from cluster.apiserver.proxy.tunnel import tunnel
from cluster.machinery.dialled import Dial, DialledConnector
from cluster.machinery.status_errors import ApiError

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
REDIRECT_REFUSED = "the backend attempted to redirect this request, which is not permitted"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes."""

    scheme: str
    host: str
    """Address that is dialled; IPv6 without brackets."""
    port: int
    path: str
    """Path and query, encoded, as they go on the wire."""
    tls: ssl.SSLContext | None = None
    """For https."""
    server_name: str = ""
    """Whose certificate is expected; by default the host's."""
    host_header: str = ""
    """By default host and port."""
    dial: Dial | None = None
    """Makes the connections, where host and port are no way to go."""

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Rewriter(Protocol):
    """Changes an answer on its way back."""

    def location(self, url: str) -> str: ...

    def body(self, headers: CIMultiDict[str]) -> "Filter | None":
        """None when the body stays as it is; else it may change the headers to what the filter makes."""


class Filter(Protocol):
    def feed(self, chunk: bytes) -> bytes: ...

    def end(self) -> bytes: ...


Failure = Callable[[Target, str], ApiError | web.Response]
"""What the client is told when the target cannot be reached: (target, why)."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a request is passed on, apart from where."""

    failure: Failure
    total_seconds: float | None = None
    """For the whole exchange; None lets it run."""
    refuse_redirects: bool = False
    rewriter: Rewriter | None = None
    session: aiohttp.ClientSession | None = None
    """Connections that are kept; by default one is made for this request alone."""


async def forward(
    request: web.BaseRequest, target: Target, headers: CIMultiDict[str], manner: Manner
) -> web.StreamResponse:
    """
    The backend's answer, or what `manner.failure` makes of its absence.

    Args:
        headers: all that go on, from `headers.onward`.
    """
    headers["Host"] = target.host_header or target.authority
    if proxied.is_upgrade(request.headers):
        try:
            return await tunnel(
                request, target, headers, CONNECT_SECONDS, REDIRECT_REFUSED if manner.refuse_redirects else ""
            )
        except (OSError, TimeoutError) as fault:
            return _failed(manner, target, fault)
    if manner.session is not None:
        return await _exchange(manner.session, request, target, headers, manner)
    async with new_session(target.dial) as session:
        return await _exchange(session, request, target, headers, manner)


def new_session(dial: Dial | None = None) -> aiohttp.ClientSession:
    """Connections for `forward`; cookies of one client must never reach another one's request."""
    return aiohttp.ClientSession(
        # Watches hold connections: a limit would keep the next request waiting for one of them to end.
        connector=aiohttp.TCPConnector(limit=0) if dial is None else DialledConnector(dial),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
    )


async def _exchange(
    session: aiohttp.ClientSession,
    request: web.BaseRequest,
    target: Target,
    headers: CIMultiDict[str],
    manner: Manner,
) -> web.StreamResponse:
    response: web.StreamResponse | None = None
    try:
        async with session.request(
            request.method,
            URL(f"{target.scheme}://{target.authority}{target.path}", encoded=True),
            data=_body(request, headers),
            headers=headers,
            ssl=target.tls or True,
            server_hostname=(target.server_name or None) if target.scheme == "https" else None,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=manner.total_seconds, sock_connect=CONNECT_SECONDS),
        ) as answer:
            if manner.refuse_redirects and 300 <= answer.status <= 399 and answer.headers.get("Location"):
                return responses.text(REDIRECT_REFUSED, HTTPStatus.BAD_GATEWAY)
            response = web.StreamResponse(status=answer.status, reason=answer.reason)
            await _hand_back(request, answer, response, manner.rewriter)
            return response
    except (aiohttp.ClientError, TimeoutError, OSError) as fault:
        if response is None or not response.prepared:
            return _failed(manner, target, fault)
        # Half an answer must not look like a whole one.
        log.debug("the answer of %s broke off: %s", target.authority, fault)
        if request.transport is not None:
            request.transport.abort()
        return response


def _body(request: web.BaseRequest, headers: CIMultiDict[str]) -> aiohttp.StreamReader | None:
    if not request.can_read_body:
        return None
    if "Content-Encoding" in headers:
        # aiohttp has unpacked it: length and encoding are those of before.
        del headers["Content-Encoding"]
        headers.popall("Content-Length", None)
    return request.content


async def _hand_back(
    request: web.BaseRequest, answer: aiohttp.ClientResponse, response: web.StreamResponse, rewriter: Rewriter | None
) -> None:
    kept = proxied.back(answer.headers)
    change = None
    if rewriter is not None:
        if "Location" in kept:
            kept["Location"] = rewriter.location(kept["Location"])
        elif request.method != "HEAD":
            change = rewriter.body(kept)
    response.headers.extend(kept)
    writer = await response.prepare(request)
    if writer is not None:
        writer.send_headers()
    async for chunk in answer.content.iter_any():
        shown = change.feed(chunk) if change else chunk
        if shown:
            await response.write(shown)
    if change and (rest := change.end()):
        await response.write(rest)
    await response.write_eof()


def _failed(manner: Manner, target: Target, fault: BaseException) -> web.StreamResponse:
    told = manner.failure(target, reason_of(target, fault))
    if isinstance(told, ApiError):
        raise told from None
    return told


def reason_of(target: Target, fault: BaseException) -> str:
    """In the words of Go's net package, which people look for."""
    if isinstance(fault, aiohttp.ConnectionTimeoutError):
        return f"dial tcp {target.authority}: i/o timeout"
    if isinstance(fault, TimeoutError):
        return "context deadline exceeded"
    if isinstance(fault, aiohttp.ClientConnectorCertificateError):
        return f"tls: failed to verify certificate: {fault.certificate_error}"
    if isinstance(fault, aiohttp.ServerDisconnectedError):
        return "EOF"
    cause = fault.os_error if isinstance(fault, aiohttp.ClientConnectorError) else fault
    if isinstance(cause, ConnectionRefusedError):
        return f"dial tcp {target.authority}: connect: connection refused"
    if isinstance(cause, ssl.SSLError):
        return f"tls: {cause.reason or cause}"
    if isinstance(cause, OSError) and cause.strerror:
        return f"dial tcp {target.authority}: {cause.strerror.lower()}"
    return f"dial tcp {target.authority}: {str(fault) or type(fault).__name__}"
