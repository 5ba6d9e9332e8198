"""
One request to the apiserver: which server, which certificate, which retry, which error.

Used by every component that is not the apiserver. It fails over among the servers of a kubeconfig, sends again
what is safe to send again, and raises the same error classes the apiserver raised.
Not here    caching (informer.py), backing off over many tries (workqueue.py).
"""

import asyncio
import base64
import dataclasses
import logging
import os
import random
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any, Literal, Self

import aiohttp
import orjson

from cluster.api.resources import Resource
from cluster.client.kubeconfig import ClientConfig, load_kubeconfig
from cluster.client.servers_file import ServersFile
from cluster.client.tls import TlsFiles, TokenFile
from cluster.machinery.dialled import Dial, DialledConnector
from cluster.machinery.objects import Object, key_of
from cluster.machinery.status_errors import ApiError, ServiceUnavailable, from_status

log = logging.getLogger(__name__)

REQUEST_TIMEOUT = 60.0  # seconds; the apiserver gives a request no longer
CONNECT_TIMEOUT = 5.0  # seconds until the next server is tried
KEEPALIVE = 50.0  # seconds an idle connection is kept: less than a server does, so that no write meets a closed one
MAX_RETRIES = 10
"""Answers with Retry-After that are taken as "again, please". Source: client-go, rest/with_retry.go."""
MAX_RETRY_AFTER = 30  # seconds; an hour in a header shall not stop a controller for an hour

PatchType = Literal["merge", "strategic", "json", "apply"]
PATCH_MEDIA_TYPES: Mapping[PatchType, str] = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}
_METADATA_ONLY = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1,application/json"

# What may arrive while talking to a server that is going away.
_DISCONNECTED = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, ConnectionError, TimeoutError)


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One line of a watch: ADDED, MODIFIED, DELETED or BOOKMARK. ERROR is raised instead."""

    type: str
    object: Object


def _tcp_socket(address: Any) -> socket.socket:
    """A socket that notices a vanished peer in about ten seconds: a watch may otherwise wait for ever."""
    family, kind, protocol, _, _ = address
    created = socket.socket(family, kind, protocol)
    created.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    created.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5)
    created.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 3)
    created.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)
    created.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 10_000)
    return created


class ApiClient:
    """A connection pool to one cluster. Use as `async with`, or call `close`."""

    def __init__(
        self,
        config: ClientConfig,
        *,
        user_agent: str = "hanse",
        connections: int = 100,
        token_source: Callable[[], str] | None = None,
        on_refused: Callable[[], None] | None = None,
        dial: Dial | None = None,
    ) -> None:
        """
        `dial` makes the connections to servers that have no address; their URL is http. `on_refused` hears when the
        servers do not know who we are (401).
        """
        self.config = config
        self._dial = dial
        self._user_agent = user_agent
        self._connections = connections
        self._tls = TlsFiles(config)
        self._on_refused = on_refused
        self._token_source = token_source
        """Asked before each request, for tokens that change; counts before the configuration's."""
        self._token_file = TokenFile(config.token_file) if config.token_file and not config.token else None
        self._session: aiohttp.ClientSession | None = None
        self._server = 0
        self._servers_file: ServersFile | None = None
        self._away = False
        self._returned = asyncio.Event()
        self.returns = 0
        """How often the servers have answered again after they did not; see `wait_return`."""

    @classmethod
    def from_kubeconfig(
        cls, path: str | os.PathLike[str], *, user_agent: str = "hanse", context: str = "", connections: int = 100
    ) -> "ApiClient":
        """The file's list of servers is followed. Raises KubeconfigError."""
        file = ServersFile(path, context)  # first: what changes while it is read is read again
        client = cls(load_kubeconfig(path, context), user_agent=user_agent, connections=connections)
        client._servers_file = file
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        session, self._session = self._session, None  # first: who asks meanwhile begins a new one
        if session is not None:
            await session.close()

    async def use(self, config: ClientConfig) -> None:
        """Other credentials from now on. Connections that know the old ones end, and with them what runs on them."""
        self.config = config
        self._tls = TlsFiles(config)
        self._token_file = TokenFile(config.token_file) if config.token_file and not config.token else None
        self._servers_file = None
        await self.close()

    @property
    def server(self) -> str:
        """Base URL of the server that is asked first at the moment."""
        return self.config.servers[self._server % len(self.config.servers)]

    # --- verbs ---------------------------------------------------------------------------------------------

    async def get(self, resource: Resource, name: str, *, namespace: str = "", subresource: str = "") -> Object:
        """Raises NotFound, Forbidden and the other ApiErrors; ServiceUnavailable when no server answers."""
        return await self._json("GET", resource.path(namespace, name, subresource))

    async def list(
        self,
        resource: Resource,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        limit: int = 0,
        continue_: str = "",
        metadata_only: bool = False,
    ) -> Object:
        """
        One page of a list, e.g. a PodList; the whole list without `limit`.

        Raises Gone when `continue_` is too old: begin again.
        """
        params = _selection(label_selector, field_selector, resource_version)
        if limit:
            params["limit"] = str(limit)
        if continue_:
            params["continue"] = continue_
        headers = {"Accept": _METADATA_ONLY.format("List")} if metadata_only else None
        return await self._json("GET", resource.path(namespace), params=params, headers=headers)

    async def create(
        self,
        resource: Resource,
        obj: Object,
        *,
        namespace: str = "",
        subresource: str = "",
        name: str = "",
        params: Mapping[str, str] | None = None,
    ) -> Object:
        """POST; the namespace is the object's own when none is given. Raises AlreadyExists, Invalid, Forbidden."""
        path = resource.path(namespace or key_of(obj).namespace, name, subresource)
        return await self._json("POST", path, body=obj, params=params)

    async def update(self, resource: Resource, obj: Object, *, subresource: str = "") -> Object:
        """PUT the object, or one subresource of it. Raises Conflict when its resourceVersion is not the latest."""
        namespace, name = key_of(obj)
        return await self._json("PUT", resource.path(namespace, name, subresource), body=obj)

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Any,
        *,
        namespace: str = "",
        patch_type: PatchType = "merge",
        subresource: str = "",
        field_manager: str = "",
        force: bool = False,
    ) -> Object:
        params = {"fieldManager": field_manager} if field_manager else {}
        if force:
            params["force"] = "true"
        headers = {"Content-Type": PATCH_MEDIA_TYPES[patch_type]}
        path = resource.path(namespace, name, subresource)
        return await self._json("PATCH", path, body=patch, params=params, headers=headers)

    async def delete(
        self, resource: Resource, name: str, *, namespace: str = "", options: Mapping[str, Any] | None = None
    ) -> Object:
        """`options` are DeleteOptions, e.g. {"gracePeriodSeconds": 0, "preconditions": {"uid": …}}."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", **options} if options else None
        return await self._json("DELETE", resource.path(namespace, name), body=body)

    async def delete_collection(
        self, resource: Resource, *, namespace: str = "", label_selector: str = "", field_selector: str = ""
    ) -> Object:
        params = _selection(label_selector, field_selector, "")
        return await self._json("DELETE", resource.path(namespace), params=params)

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        patient: bool = True,
    ) -> bytes:
        """
        Any request by its path; the bytes of a 2xx answer. Everything else is raised as an ApiError.

        Sent again by itself: whatever never reached a server, a GET whose answer was lost, and (while `patient`)
        anything the server turned down with Retry-After. A write whose answer was lost is not: its outcome is
        unknown. The seconds of the header are in the error's `retry_after`.
        """
        waited_for_servers = 0
        refused = 0
        while True:
            server = self._server
            try:
                async with self._open(method, path, params, body, headers) as response:
                    content: bytes = await response.read()
                    self._reached()
                    if response.status < 400:
                        return content
                    error = self._error_of(response, content)
                    after = response.headers.get("Retry-After", "")
            except aiohttp.ClientConnectorError as failure:  # never sent
                self._away = True
                waited_for_servers = 0 if self._next_server(server) else waited_for_servers + 1
                if waited_for_servers >= len(self.config.servers):
                    raise self._unreachable(method, path, failure) from failure
                continue
            except _DISCONNECTED as failure:
                self._away = True
                waited_for_servers += 1
                self._next_server(server)
                if method != "GET" or waited_for_servers > len(self.config.servers):
                    raise self._unreachable(method, path, failure) from failure
                continue
            refused += 1
            if error.retry_after is None and after.isdigit():
                error.retry_after = int(after)
            wait = _retry_wait(error.http_code, after) if patient else None
            if error.http_code == 503 and len(self.config.servers) > 1 and patient:
                self._next_server(server)
                wait = 0.0 if wait is not None and refused < len(self.config.servers) else wait
            if wait is None or refused > MAX_RETRIES:
                raise error
            await asyncio.sleep(wait * (1 + 0.1 * random.random()))  # noqa: S311  (spreads load, guards nothing)

    def stream(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """
        One try at the server of the moment, its answer as it comes; use with `async with`.

        Raises aiohttp.ClientError, OSError, TimeoutError; ServiceUnavailable without usable certificates.
        """
        return self._open(method, path, params, None, headers, streaming=True)

    async def watch(
        self,
        resource: Resource,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        send_initial_events: bool = False,
        timeout_seconds: int = 0,
        metadata_only: bool = False,
        on_open: Callable[[], None] | None = None,
    ) -> AsyncIterator[WatchEvent]:
        """
        Events after `resource_version`, bookmarks included, until the server ends the watch.

        `on_open` is called when the server has begun to answer; the first event may be long in coming.

        Raises Gone when the version is compacted (list again), ServiceUnavailable when the connection is lost
        (resume from the last version seen).
        """
        params = _selection(label_selector, field_selector, resource_version)
        params |= {"watch": "true", "allowWatchBookmarks": "true"}
        if timeout_seconds:
            params["timeoutSeconds"] = str(timeout_seconds)
        if send_initial_events:
            params |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        headers = {"Accept": _METADATA_ONLY.format("")} if metadata_only else None
        path = resource.path(namespace)
        server = self._server
        try:
            async with self._open("GET", path, params, None, headers, streaming=True) as response:
                if response.status >= 400:
                    raise self._error_of(response, await response.read())
                self._reached()
                if on_open is not None:
                    on_open()
                async for line in _lines(response.content):
                    event = orjson.loads(line)
                    if event["type"] == "ERROR":
                        raise from_status(event["object"], int(event["object"].get("code") or 500))
                    yield WatchEvent(event["type"], event["object"])
        except _DISCONNECTED as failure:
            self._away = True
            self._next_server(server)
            raise self._unreachable("WATCH", path, failure) from failure
        except ServiceUnavailable:
            self._next_server(server)
            raise

    async def wait_return(self, known: int, seconds: float) -> None:
        """Until anybody's request is answered after a loss and `returns` no longer is `known`; at most so long."""
        if self.returns != known:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._returned.wait()
        except TimeoutError:
            return

    def came_back(self) -> None:
        """Somebody else has reached the servers after a loss: whoever waits for that here tries again."""
        self._away = False
        self.returns += 1
        waiting, self._returned = self._returned, asyncio.Event()
        waiting.set()

    def _reached(self) -> None:
        if self._away:
            self.came_back()

    # --- one try -------------------------------------------------------------------------------------------

    async def _json(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Object:
        content = await self.request(
            method, path, params=params, body=None if body is None else orjson.dumps(body), headers=headers
        )
        answer: Object = orjson.loads(content) if content else {}
        return answer

    def _open(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        body: bytes | None,
        headers: Mapping[str, str] | None,
        *,
        streaming: bool = False,
    ) -> Any:
        """Start one request to the server of the moment; use with `async with`."""
        session = self._session or self._start_session()
        server = self.server
        sent = {"Accept": "application/json"}
        if body is not None:
            sent["Content-Type"] = "application/json"
        sent |= self.credentials()
        sent |= headers or {}
        timeout = aiohttp.ClientTimeout(total=None if streaming else REQUEST_TIMEOUT, sock_connect=CONNECT_TIMEOUT)
        return session.request(
            method,
            server + path,
            params=params,
            data=body,
            headers=sent,
            timeout=timeout,
            ssl=self._ssl() if server.startswith("https") else True,
            server_hostname=self.config.tls_server_name or None,
            allow_redirects=False,
        )

    def _start_session(self) -> aiohttp.ClientSession:
        connector: aiohttp.BaseConnector
        if self._dial is not None:
            connector = DialledConnector(self._dial, limit=self._connections, keepalive_timeout=KEEPALIVE)
        else:
            connector = aiohttp.TCPConnector(
                limit=self._connections, keepalive_timeout=KEEPALIVE, socket_factory=_tcp_socket
            )
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers={"User-Agent": self._user_agent},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=True,
            read_bufsize=256 * 1024,
        )
        return self._session

    def _ssl(self) -> ssl.SSLContext:
        try:
            return self._tls.context()
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(str(f) for f in (self.config.ca_file, self.config.cert_file, self.config.key_file) if f)
            raise ServiceUnavailable(
                f"cannot use the client's certificates ({files or 'in the kubeconfig'}): {error}. "
                "Check that the files exist, are readable for this user and belong together."
            ) from error

    def credentials(self) -> dict[str, str]:
        """The header that says who we are, when no certificate does. Raises ServiceUnavailable."""
        if self.config.username:
            pair = f"{self.config.username}:{self.config.password}".encode()
            return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
        token = self._token()
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _error_of(self, response: aiohttp.ClientResponse, content: bytes) -> ApiError:
        if response.status == HTTPStatus.UNAUTHORIZED and self._on_refused is not None:
            self._on_refused()
        try:
            answered = orjson.loads(content)
        except orjson.JSONDecodeError:
            answered = content[:1024].decode("utf-8", "replace")
        return from_status(answered, response.status)

    def context(self) -> ssl.SSLContext:
        """For connections beside this pool's. Raises ServiceUnavailable."""
        return self._ssl()

    def _token(self) -> str:
        if self._token_source is not None:
            return self._token_source()
        if self._token_file is None:
            return self.config.token
        try:
            return self._token_file.token()
        except OSError as error:
            raise ServiceUnavailable(
                f"cannot read the token file {self.config.token_file}: {error.strerror}. Check its path and mode."
            ) from error

    def _next_server(self, tried: int) -> bool:
        """Move on, unless another request has done so since. Whether it is to the first of a list that has changed."""
        if self._servers_file is not None and (servers := self._servers_file.news()):
            log.info("the servers are now %s", ", ".join(servers))
            self.config = dataclasses.replace(self.config, servers=servers)
            self._server = 0
            return True
        if self._server == tried:
            self._server = (tried + 1) % len(self.config.servers)
        return False

    def _unreachable(self, method: str, path: str, failure: BaseException) -> ServiceUnavailable:
        tried = ", ".join(self.config.servers)
        why = str(failure) or type(failure).__name__
        return ServiceUnavailable(
            f"no answer to {method} {path} from {tried}: {why}. "
            "Check that a kube-apiserver runs there and the network reaches it."
        )


def _selection(label_selector: str, field_selector: str, resource_version: str) -> dict[str, str]:
    given = {
        "labelSelector": label_selector,
        "fieldSelector": field_selector,
        "resourceVersion": resource_version,
    }
    return {key: value for key, value in given.items() if value}


def _retry_wait(code: int, retry_after: str) -> float | None:
    """Seconds until the next try; None when the answer stands."""
    if (code == 429 or code >= 500) and retry_after.isdigit():
        return float(min(int(retry_after), MAX_RETRY_AFTER))
    return None


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length: StreamReader's own readline refuses long ones, and an object may have megabytes."""
    rest = bytearray()
    async for chunk in content.iter_any():
        if b"\n" not in chunk:
            rest += chunk
            continue
        rest += chunk
        *whole, last = bytes(rest).split(b"\n")
        rest = bytearray(last)
        for line in whole:
            if line:
                yield line
    if rest.strip():
        raise aiohttp.ClientPayloadError("the watch ended in the middle of an event")
