"""
One group version that another server serves: requests are passed on to it, with the user's identity in headers.

Source: k8s.io/kube-aggregator, pkg/apiserver/handler_proxy.go; k8s.io/client-go, transport (SetAuthProxyHeaders).
"""

import ssl
import string
from collections.abc import AsyncIterator, Mapping

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from cluster.apiserver import responses
from cluster.apiserver.aggregation.api_services import Backend
from cluster.apiserver.options import Options
from cluster.apiserver.proxy import addresses, headers
from cluster.apiserver.proxy.forwarding import Manner, Target, forward, new_session
from cluster.apiserver.requests import UserInfo
from cluster.apiserver.router import Route
from cluster.apiserver.service_resolver import CannotRouteError, ServiceResolver
from cluster.machinery.status_errors import ApiError, BadRequest

DISCOVERY_SECONDS = 5.0
"""A group that is slow to tell what it serves shall not keep clients from using the others."""
REQUEST_SECONDS = 60.0
_PAGE_LIMIT = 32 << 20
_LONG_RUNNING = frozenset({"log", "exec", "attach", "portforward", "proxy"})
_IDENTITY = ("x-remote-user", "x-remote-uid", "x-remote-group", "x-remote-extra-")
_TOKEN = frozenset(string.ascii_letters + string.digits + "!#$&'*+-.^_`|~")
ITSELF = UserInfo("system:kube-aggregator", ("system:masters",))
"""Who asks when the apiserver wants to know something for itself."""


Answer = tuple[int, CIMultiDict[str], bytes]
"""Status, headers and body."""


class CannotConnectError(Exception):
    """The APIService or our own files do not say how to connect."""


def identity(user: UserInfo) -> dict[str, list[str]]:
    """The user in headers. Names of extra values may hold anything, names of headers may not."""
    found = {"X-Remote-User": [user.name]}
    if user.uid:
        found["X-Remote-Uid"] = [user.uid]
    if user.groups:
        found["X-Remote-Group"] = list(user.groups)
    for key, values in user.extra.items():
        found[f"X-Remote-Extra-{_escaped(key)}"] = list(values)
    return found


def _escaped(key: str) -> str:
    return "".join(chr(byte) if chr(byte) in _TOKEN else f"%{byte:02X}" for byte in key.encode())


class Remote:
    """`available` is what the APIService's status says; requests are refused without it."""

    def __init__(self, backend: Backend, options: Options, resolver: ServiceResolver) -> None:
        self.backend = backend
        self.available = False
        self._options = options
        self._resolver = resolver
        self._tls: dict[bool, ssl.SSLContext] = {}
        self._session: aiohttp.ClientSession | None = None

    # Requests of clients.

    async def serve(self, request: web.BaseRequest, found: Route, user: UserInfo) -> web.StreamResponse:
        if not self.available:
            return _refused("service unavailable")
        if ".." in found.path.split("/"):
            # What is allowed was decided by this path; who stands behind us might read it as another one.
            raise BadRequest(f"the path {found.path!r} holds a name that no object can have")
        try:
            target = await self.target(request.rel_url.raw_path_qs)
        except (ApiError, CannotRouteError):
            return _refused("service unavailable")
        except CannotConnectError as fault:
            return responses.text(f"{fault}\n", 500)
        onward = headers.onward(request.headers, request.remote or "")
        headers.with_only(onward, identity(user), _IDENTITY)
        manner = Manner(_unreachable, _allotted(found), refuse_redirects=True, session=self._connections())
        return await forward(request, target, onward, manner)

    # Requests of our own.

    async def ask(self, path: str, wanted: Mapping[str, str], target: Target) -> Answer:
        """
        GET a page as the apiserver itself: (status, headers, body).

        Raises CannotConnectError (also for a body that is too long), aiohttp.ClientError, TimeoutError.
        """
        sent = CIMultiDict(wanted)
        headers.with_only(sent, identity(ITSELF), _IDENTITY)
        async with self._connections().get(
            f"https://{target.authority}{path}",
            headers=sent,
            ssl=target.tls or True,
            server_hostname=target.server_name,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=DISCOVERY_SECONDS),
        ) as answer:
            body = b"".join([chunk async for chunk in _limited(answer.content)])
            return answer.status, CIMultiDict(answer.headers), body

    # Connections.

    async def target(self, path: str, *, checked: bool = True) -> Target:
        """
        Where a request goes now; never to this host itself, whatever a Service of type ExternalName says.

        Args:
            checked: Whether the server's certificate has to be good. Whether it is there at all does not depend on
                that.

        Raises NotFound, ServiceUnavailable, BadRequest, CannotRouteError, CannotConnectError.
        """
        found = self._resolver.resolve(self.backend.namespace, self.backend.service, self.backend.port)
        host = await addresses.resolve(found.host)
        return Target(
            "https", host, found.port, path, self._context(checked=checked), server_name=self.backend.server_name
        )

    def _context(self, *, checked: bool) -> ssl.SSLContext:
        known = self._tls.get(checked)
        if known is None:
            known = self._tls[checked] = self._new_context(checked=checked)
        return known

    def _new_context(self, *, checked: bool) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cadata=self.backend.authorities or None)
            if not checked or self.backend.insecure:
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            if self._options.proxy_client_cert_file:
                context.load_cert_chain(self._options.proxy_client_cert_file, self._options.proxy_client_key_file)
        except (OSError, ValueError) as fault:
            raise CannotConnectError(f"unable to load root certificates or the client certificate: {fault}") from None
        return context

    def _connections(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = new_session()
        return self._session

    def forget_certificate(self) -> None:
        """The files changed: read them for the next connection."""
        self._tls.clear()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


async def _limited(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in content.iter_any():
        size += len(chunk)
        if size > _PAGE_LIMIT:
            raise CannotConnectError(f"the answer is longer than {_PAGE_LIMIT} bytes")
        yield chunk


def _allotted(found: Route) -> float | None:
    """Seconds for a request; watches and the like have no end."""
    if not found.resource and found.path.startswith("/api"):
        return DISCOVERY_SECONDS
    if found.verb == "watch" or found.subresource in _LONG_RUNNING:
        return None
    return REQUEST_SECONDS


def _refused(text: str) -> web.Response:
    return responses.text(f"{text}\n", 503)


def _unreachable(target: Target, why: str) -> web.Response:
    return _refused(f"error trying to reach service: {why}")
