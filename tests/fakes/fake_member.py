"""
A member cluster over real sockets that costs little: what the federation uses of a Kubernetes API, in memory.

    async with FakeMember() as member:
        member.behaves.latency = 2.0
        ... ClientConfig(servers=(member.url,)) ...
        member.writes["apply", "deployments.apps"]

It passes the same contract tests as our apiserver (tests/integration/test_member_contract.py). `member.behaves` makes
it odd, slow or broken while it runs. A hundred fit into one process.
"""

import asyncio
import contextlib
import random
import ssl
from collections import Counter
from collections.abc import Mapping
from typing import Any, Self

import orjson
from aiohttp import web

from cluster.api.resources import Resource
from cluster.client.kubeconfig import ClientConfig
from cluster.machinery.decode import decode_body
from cluster.machinery.objects import Key, Object
from cluster.machinery.status_errors import ApiError, InternalError, NotFound, TooManyRequests, Unauthorized
from tests.fakes.member.peculiarities import WRITES, Peculiarities
from tests.fakes.member.requests import WATCH_SECONDS, Api, NoSuchPath, json_answer, require_method
from tests.fakes.member.writes import MADE, Asked


class FakeMember:
    """Serves while it is entered. Its objects live as long as it does, through `crash` and `come_back`, too."""

    def __init__(
        self, name: str = "member", behaves: Peculiarities | None = None, *, tls: ssl.SSLContext | None = None
    ) -> None:
        self.name = name
        self.behaves = behaves or Peculiarities()
        self.api = Api(self.behaves)
        self.requests: Counter[tuple[str, str]] = Counter()
        """Everything that was asked, by verb and resource; empty resource: no resource's path."""
        self._tls = tls
        self._port = 0
        self._server = web.Server(self._answer, access_log=None, handler_cancellation=True)
        self._listener: asyncio.Server | None = None
        self._resumed = asyncio.Event()

    @property
    def writes(self) -> Counter[tuple[str, str]]:
        """Writes that changed something: create, update, patch, apply, delete, deletecollection, by resource."""
        return self.api.writes.done

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    @property
    def config(self) -> ClientConfig:
        return ClientConfig(servers=(self.url,), token=self.behaves.token, insecure=self._tls is not None)

    async def __aenter__(self) -> Self:
        await self.come_back()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.crash()
        await self._server.shutdown(0.1)

    # --- trouble

    async def come_back(self) -> None:
        """Listen, on the port of before; nothing happens where it does."""
        if self._listener is not None:
            return
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            self._server, "127.0.0.1", self._port, ssl=self._tls, reuse_address=True, backlog=512
        )
        self._port = self._listener.sockets[0].getsockname()[1]

    async def crash(self) -> None:
        """No connection is taken and all that there are break, in the middle of whatever they do."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for connection in list(self._server.connections):
            if connection.transport is not None:
                connection.transport.abort()
        await asyncio.sleep(0)

    def hang(self) -> None:
        """Requests are taken and not answered, watches bring nothing, until `resume`."""
        self._resumed.clear()
        self.behaves.hangs = True

    def resume(self) -> None:
        self.behaves.hangs = False
        self._resumed.set()

    def forget_history(self) -> None:
        """Compaction: every watch ends with 410, and no version of before can be watched from."""
        self.api.store.forget()
        for watcher in list(self.api.watchers):
            watcher.fail(ApiError("The resourceVersion for the provided watch is too old.", code=410, reason="Expired"))

    def go_back(self, version: int = 1) -> None:
        """resourceVersions begin again from `version`, as in a cluster that was restored from a snapshot."""
        self.api.store.go_back(version)
        for watcher in list(self.api.watchers):
            watcher.end()

    # --- objects, behind the API's back

    def get(self, resource: Resource, name: str, namespace: str = "") -> Object | None:
        stored = self.api.store.get(resource, Key(namespace, name))
        return stored.decode(resource) if stored is not None else None

    def objects(self, resource: Resource, namespace: str = "") -> list[Object]:
        return [stored.decode(resource) for stored in self.api.store.objects(resource, namespace)]

    def put(self, resource: Resource, obj: Object) -> None:
        """As somebody in the member would: not counted, no request."""
        metadata = obj["metadata"]
        key = Key(metadata.get("namespace") or "", metadata["name"])
        asked = Asked(MADE, manager="somebody")
        if self.api.store.get(resource, key) is None:
            self.api.writes.create(resource, key.namespace, obj, asked)
        else:
            self.api.writes.update(resource, key, lambda _: obj, asked)

    def remove(self, resource: Resource, name: str, namespace: str = "") -> None:
        self.api.store.remove(resource, Key(namespace, name))

    # --- requests

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        behaves = self.behaves
        if behaves.hangs:
            await self._resumed.wait()
        if behaves.latency:
            await asyncio.sleep(behaves.latency)
        try:
            response = await self._serve(request)
        except NoSuchPath:
            response = web.Response(text="404 page not found\n", status=404)
        except ApiError as fault:
            response = json_answer(orjson.dumps(fault.status), fault.http_code)
            if fault.retry_after is not None:
                response.headers["Retry-After"] = str(fault.retry_after)
        return response

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        behaves, path, method = self.behaves, request.rel_url.path, request.method
        if path in ("/readyz", "/livez", "/healthz"):
            self._fail_in_bursts()
            return web.Response(text="ok")
        self._authenticate(request.headers.get("Authorization", ""))
        self._fail_in_bursts()
        if path == "/version":
            major, minor = behaves.version.lstrip("v").split(".")[:2]
            version = {"major": major, "minor": minor, "gitVersion": behaves.version, "platform": "linux/amd64"}
            return json_answer(orjson.dumps(version))
        if method == "GET":
            document = self.api.document(path, request.headers.get("Accept", ""))
            if document is not None:
                self.requests["discovery", ""] += 1
                return json_answer(document.body, content_type=document.content_type)
        resource, namespace, name, subresource = self.api.find(path)
        query = request.rel_url.query
        verb = _verb(method, name, query, request.headers.get("Content-Type", ""))
        self.requests[verb, resource.qualified] += 1
        if verb not in WRITES:
            return await self._read(request, resource, Key(namespace, name), subresource, query)
        if behaves.throttled and random.random() < behaves.throttled:
            text = "the server has received too many requests and has asked us to try again later"
            raise TooManyRequests(text, retry_after=behaves.retry_after)
        body = await request.read()
        if behaves.write_latency:
            await asyncio.sleep(behaves.write_latency)
        asked = Asked(
            verb,
            manager=query.get("fieldManager") or request.headers.get("User-Agent", "unknown").partition("/")[0],
            dry_run=query.get("dryRun") == "All",
            subresource=subresource,
            tracks=verb != "apply",
        )
        content = request.headers.get("Content-Type", "")
        answer = self._write(resource, Key(namespace, name), asked, query, body, content)
        if behaves.losing_answers and random.random() < behaves.losing_answers and request.transport is not None:
            request.transport.abort()
        return answer

    def _authenticate(self, header: str) -> None:
        wanted = self.behaves.token
        given = header.removeprefix("Bearer ")
        if wanted and given != wanted and given not in self.api.tokens:
            raise Unauthorized("Unauthorized")

    def _fail_in_bursts(self) -> None:
        if self.behaves.error_burst > 0:
            self.behaves.error_burst -= 1
            raise InternalError("Internal error occurred: etcdserver: request timed out")

    async def _read(
        self, request: web.BaseRequest, resource: Resource, key: Key, subresource: str, query: Mapping[str, str]
    ) -> web.StreamResponse:
        partial = "as=PartialObjectMetadata" in request.headers.get("Accept", "")
        if query.get("watch") in ("true", "1"):
            return await self._watch(request, resource, key, query, partial=partial)
        if not key.name:
            return json_answer(self.api.listing(resource, key.namespace, query, partial=partial))
        stored = self.api.store.get(resource, key)
        if stored is None:
            raise _not_found(resource, key)
        if subresource == "scale":
            return json_answer(orjson.dumps(self.api.scale(resource, stored)))
        if subresource not in ("", "status"):
            raise NotFound("the server could not find the requested resource")
        return json_answer(self.api.encoder(resource, partial=partial)(stored))

    async def _watch(
        self, request: web.BaseRequest, resource: Resource, key: Key, query: Mapping[str, str], *, partial: bool
    ) -> web.StreamResponse:
        watcher = self.api.watch(resource, key.namespace, key.name, query, partial=partial)
        seconds = float(query.get("timeoutSeconds") or WATCH_SECONDS)
        try:
            response = web.StreamResponse(headers={"Content-Type": "application/json"})
            response.enable_chunked_encoding()
            await response.prepare(request)
            with contextlib.suppress(ConnectionError):  # whoever watched is gone
                await watcher.serve(response, seconds, self.api.store, self.behaves, self._resumed)
                await response.write_eof()
        finally:
            self.api.watchers.discard(watcher)
        return response

    def _write(
        self, resource: Resource, key: Key, asked: Asked, query: Mapping[str, str], body: bytes, content: str
    ) -> web.Response:
        """At once, without a pause: two writes never meet."""
        api, verb = self.api, asked.verb
        if verb in ("delete", "deletecollection"):
            options: Object = orjson.loads(body) if body else {}
            if options.get("dryRun") == ["All"]:
                asked = Asked(verb, dry_run=True)
            if "propagationPolicy" in query:
                options["propagationPolicy"] = query["propagationPolicy"]
            if verb == "deletecollection":
                return json_answer(api.delete_all(resource, key.namespace, query, options, asked))
            stored, gone = api.writes.delete(resource, key, options, asked)
            return json_answer(_deleted(resource, stored) if gone else stored.encode(resource))
        if verb in ("patch", "apply"):
            stored, status = api.patch(resource, key, content, body, query, asked)
            return json_answer(stored.encode(resource), status)
        obj: Any = orjson.loads(body) if body[:1] == b"{" else decode_body(body, content, resource.kind).obj
        if asked.subresource == "token":
            return json_answer(orjson.dumps(api.token(key.namespace, key.name, obj)), 201)
        if verb == "create":
            return json_answer(api.writes.create(resource, key.namespace, obj, asked).encode(resource), 201)
        return json_answer(api.writes.update(resource, key, lambda _: obj, asked).encode(resource))


def _verb(method: str, name: str, query: Mapping[str, str], content: str) -> str:
    if method == "GET":
        return "watch" if query.get("watch") in ("true", "1") else "get" if name else "list"
    if method == "PATCH":
        return "apply" if content.startswith("application/apply-patch") else "patch"
    known = {"POST": "create", "PUT": "update", "DELETE": "delete" if name else "deletecollection"}
    if method not in known:
        raise require_method(method)
    return known[method]


def _not_found(resource: Resource, key: Key) -> NotFound:
    details = {"name": key.name, "kind": resource.plural, **({"group": resource.group} if resource.group else {})}
    return NotFound(f'{resource.qualified} "{key.name}" not found', details=details)


def _deleted(resource: Resource, stored: Any) -> bytes:
    """A Status, as for every kind that goes at once."""
    uid = orjson.loads(stored.body)["metadata"]["uid"]
    details = {"name": stored.key.name, "kind": resource.plural, "uid": uid}
    if resource.group:
        details["group"] = resource.group
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
    return orjson.dumps(status)
