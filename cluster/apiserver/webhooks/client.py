"""
Calls webhooks over HTTPS: by URL, or by a Service under the name that its certificate bears.

Used for admission and for conversion. What a webhook answers reaches a client only as the review it is meant to be:
redirects are not followed and no other body is ever shown, so that nobody reads foreign pages through the apiserver.
Source of the texts: k8s.io/apiserver, pkg/util/webhook/client.go, and what Go's HTTP client says there.
"""

import asyncio
import base64
import binascii
from collections import OrderedDict
from dataclasses import dataclass
from ssl import SSLContext, SSLError

import aiohttp
import orjson
from yarl import URL

from cluster.apiserver.service_resolver import CannotRouteError, ServiceResolver
from cluster.apiserver.webhooks import faults
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError

ANSWER_LIMIT = 3 << 20
"""Bytes of an answer."""
_REMEMBERED_AUTHORITIES = 256
_IDLE_SECONDS = 30.0
_READ = 64 << 10


class CallError(Exception):
    """The webhook was not reached, or what it answered is no answer. The text may be shown to clients."""

    def __init__(self, why: str, code: int = 0) -> None:
        super().__init__(why)
        self.code = code
        """The HTTP status of its answer; 0 without one."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a webhook is: the clientConfig of a webhook configuration or of a definition's conversion."""

    url: str
    """Of a Service: its DNS name, which the certificate has to bear."""
    service: tuple[str, str, int] | None
    """Namespace, name and port."""
    ca_bundle: bytes
    """PEM; empty for the system's roots."""

    @classmethod
    def of(cls, config: Object) -> "Address":
        text = config.get("caBundle") or ""
        try:
            bundle = base64.b64decode(text, validate=True)
        except binascii.Error:
            bundle = text.encode()  # holds no certificate: the call will say so
        service = config.get("service")
        if service is None:
            url = URL(str(config.get("url") or ""), encoded=True)
            return cls(str(url.with_path(url.raw_path or "/", encoded=True)), None, bundle)
        namespace, name, port = service["namespace"], service["name"], int(service.get("port") or 443)
        path = str(service.get("path") or "").removeprefix("/")
        return cls(f"https://{name}.{namespace}.svc:{port}/{path}", (namespace, name, port), bundle)


class WebhookClient:
    """Keeps connections for the next call. `close` ends them."""

    def __init__(self, services: ServiceResolver) -> None:
        self._services = services
        self._session: aiohttp.ClientSession | None = None
        self._contexts: OrderedDict[bytes, SSLContext] = OrderedDict()

    async def close(self) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def post(self, address: Address, document: Object, seconds: float) -> Object:
        """Send a review, return the webhook's. Raises CallError with Go's text."""
        shown = f"{address.url}?timeout={int(seconds)}s"
        try:
            async with asyncio.timeout(seconds):
                status, data = await self._exchange(address, shown, orjson.dumps(document))
        except TimeoutError:
            raise CallError(f'Post "{shown}": context deadline exceeded') from None
        except (ApiError, CannotRouteError) as fault:
            raise CallError(f'Post "{shown}": {fault}') from None
        except (aiohttp.ClientError, OSError, SSLError, UnicodeError) as fault:
            raise CallError(f'Post "{shown}": {faults.connection(fault)}') from None
        if status != 200:
            raise CallError(faults.rejection(status), status)
        try:
            answer = orjson.loads(data)
        except orjson.JSONDecodeError:
            answer = None
        if not isinstance(answer, dict):
            raise CallError("couldn't get version/kind; json parse error: the answer is no JSON object", status)
        return answer

    async def _exchange(self, address: Address, shown: str, body: bytes) -> tuple[int, bytes]:
        try:
            return await self._once(address, shown, body)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientConnectionResetError):
            # A kept connection that the webhook closed just now; reviews may be asked twice.
            return await self._once(address, shown, body)

    async def _once(self, address: Address, shown: str, body: bytes) -> tuple[int, bytes]:
        url = URL(shown, encoded=True)
        headers = {"Content-Type": "application/json", "Accept": "application/json, */*", "Accept-Encoding": "identity"}
        name = None
        if address.service is not None:
            target = self._services.resolve(*address.service)
            name = url.host
            headers["Host"] = f"{url.host}:{url.port}"
            url = url.with_host(target.host).with_port(target.port)
        async with self._open().post(
            url,
            data=body,
            headers=headers,
            ssl=self._context(address.ca_bundle),
            server_hostname=name,
            allow_redirects=False,
        ) as answer:
            if answer.status != 200:
                return answer.status, b""  # its body is for nobody
            received = bytearray()
            async for chunk in answer.content.iter_chunked(_READ):
                received += chunk
                if len(received) > ANSWER_LIMIT:
                    raise CallError(f"the answer is larger than {ANSWER_LIMIT} bytes", answer.status)
            return answer.status, bytes(received)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            # Not limited here: how many calls run is bounded by how many requests do.
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_SECONDS)
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "kube-apiserver-admission"},
            )
        return self._session

    def _context(self, bundle: bytes) -> SSLContext:
        found = self._contexts.get(bundle)
        if found is None:
            found = self._contexts[bundle] = _trusting(bundle)
            if len(self._contexts) > _REMEMBERED_AUTHORITIES:
                self._contexts.popitem(last=False)
        self._contexts.move_to_end(bundle)
        return found


def _trusting(bundle: bytes) -> SSLContext:
    """Raises CallError for a bundle without certificates."""
    from ssl import VERIFY_X509_STRICT, Purpose, create_default_context

    try:
        context = create_default_context(Purpose.SERVER_AUTH, cadata=bundle.decode("ascii") if bundle else None)
    except (SSLError, UnicodeDecodeError, ValueError):
        raise CallError("unable to load root certificates: unable to parse bytes as PEM block") from None
    # Go accepts what RFC 5280 only recommends, and so do the certificates that people make.
    context.verify_flags &= ~VERIFY_X509_STRICT
    context.set_alpn_protocols(["http/1.1"])
    return context
