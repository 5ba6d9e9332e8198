"""
Requests that a node answers: logs, exec, attach, port-forward and the node proxy, passed on to its kubelet.

Upgraded connections (WebSocket, SPDY) become a tunnel of bytes in both directions; what flows through is between
client and kubelet. Source: k8s.io/kubernetes, pkg/registry/core/pod/rest and pkg/kubelet/client.
"""

import asyncio
import random
import ssl
from urllib.parse import urlencode

import aiohttp
from aiohttp import web
from yarl import URL

from cluster.api import resources
from cluster.apiserver.options import Options
from cluster.apiserver.registry.registry import Registry
from cluster.apiserver.verbs import Call, Verbs
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError, BadRequest, InternalError, ServiceUnavailable, not_found

_CHUNK = 64 << 10
_CONNECT_SECONDS = 10.0
_HOP_HEADERS = frozenset({"host", "authorization", "content-length", "transfer-encoding", "keep-alive"})
_DEFAULT_PORT = 10250


class KubeletProxy:
    def __init__(self, options: Options, registry: Registry) -> None:
        self._options = options
        self._registry = registry
        self._tls: ssl.SSLContext | None = None

    def _context(self) -> ssl.SSLContext:
        """With the client certificate; without a CA file kubelets' certificates cannot be checked."""
        if self._tls is None:
            context = ssl.create_default_context(cafile=self._options.kubelet_certificate_authority or None)
            if not self._options.kubelet_certificate_authority:
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            if self._options.kubelet_client_certificate:
                context.load_cert_chain(self._options.kubelet_client_certificate, self._options.kubelet_client_key)
            self._tls = context
        return self._tls

    def forget_certificate(self) -> None:
        """The files changed: read them at the next request."""
        self._tls = None

    def address_of(self, node_name: str) -> tuple[str, int]:
        """Host and port of a node's kubelet. Raises NotFound, InternalError."""
        node = self._registry.get(resources.NODES, "", node_name)
        if node is None:
            raise not_found("", "nodes", node_name)
        status = node.get("status") or {}
        port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port") or _DEFAULT_PORT
        addresses = {a["type"]: a["address"] for a in reversed(status.get("addresses") or [])}
        for wanted in self._options.kubelet_preferred_address_types:
            if wanted in addresses:
                return addresses[wanted], int(port)
        raise InternalError(f"Internal error occurred: no preferred addresses found; known addresses: {addresses}")

    async def pod(self, verbs: Verbs, call: Call) -> web.StreamResponse:
        """log, exec, attach and portforward of one Pod."""
        route = call.route
        entry = await verbs.read(call.kind, route.namespace, route.name)
        pod = call.kind.decode(entry)
        node = (pod.get("spec") or {}).get("nodeName")
        container = _container(pod, route.query.get("container", ""), route.subresource)
        if not node:
            if route.subresource == "log":
                return web.Response(body=b"", content_type="text/plain")
            raise BadRequest(f"pod {route.name} does not have a host assigned")
        prefix = {"log": "containerLogs", "portforward": "portForward"}.get(route.subresource, route.subresource)
        path = f"/{prefix}/{route.namespace}/{route.name}" + (f"/{container}" if container else "")
        return await self._pass_on(call, node, path, _kubelet_query(call, pod))

    async def node(self, verbs: Verbs, call: Call) -> web.StreamResponse:
        """nodes/NAME/proxy/…: the kubelet's own pages."""
        name = call.route.name.split(":")[0]
        return await self._pass_on(call, name, call.route.tail or "/", call.request.rel_url.raw_query_string)

    async def pod_pages(self, verbs: Verbs, call: Call) -> web.StreamResponse:
        """pods/[SCHEME:]NAME[:PORT]/proxy/…: what the Pod itself serves."""
        scheme, name, port = _target(call.route.name)
        entry = await verbs.read(call.kind, call.route.namespace, name)
        pod = call.kind.decode(entry)
        address = (pod.get("status") or {}).get("podIP")
        if not address:
            raise BadRequest("address not allowed")
        declared = [p for c in pod["spec"].get("containers") or [] for p in c.get("ports") or []]
        number = port if port.isdigit() else next((p["containerPort"] for p in declared if p.get("name") == port), 0)
        if not port:
            number = declared[0]["containerPort"] if declared else 80
        return await self._forward(call, scheme, str(address), int(number), _rest(call))

    async def service_pages(self, verbs: Verbs, call: Call) -> web.StreamResponse:
        """services/[SCHEME:]NAME[:PORT]/proxy/…: what one of its ready endpoints serves."""
        scheme, name, port = _target(call.route.name)
        namespace = call.route.namespace
        entry = await verbs.read(call.kind, namespace, name)
        ports = (call.kind.decode(entry).get("spec") or {}).get("ports") or []
        wanted = next((p for p in ports if port in (p.get("name", ""), str(p["port"]))), None)
        if wanted is None and not port and len(ports) == 1:
            wanted = ports[0]
        if wanted is None:
            raise ServiceUnavailable(f'no service port "{port}" found for service "{name}"')
        endpoints = self._registry.get(resources.ENDPOINTS, namespace, name) or {}
        found = [
            (address["ip"], endpoint["port"])
            for subset in endpoints.get("subsets") or []
            for endpoint in subset.get("ports") or []
            if endpoint.get("name", "") == wanted.get("name", "")
            for address in subset.get("addresses") or []
        ]
        if not found:
            raise ServiceUnavailable(f'no endpoints available for service "{call.route.name}"')
        host, number = random.choice(found)  # noqa: S311
        return await self._forward(call, scheme, host, int(number), _rest(call))

    async def _pass_on(self, call: Call, node: str, path: str, query: str) -> web.StreamResponse:
        host, port = self.address_of(node)
        return await self._forward(call, "https", host, port, path + (f"?{query}" if query else ""))

    async def _forward(self, call: Call, scheme: str, host: str, port: int, target: str) -> web.StreamResponse:
        kubelet = call.route.resource == "nodes" or call.route.subresource != "proxy"
        tls = (self._context() if kubelet else _unchecked()) if scheme == "https" else None
        if call.request.headers.get("Upgrade"):
            return await self._tunnel(call.request, host, port, target, tls)
        url = URL(f"{scheme}://{host}:{port}{target}", encoded=True)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
        headers = {k: v for k, v in call.request.headers.items() if k.lower() not in _HOP_HEADERS}
        body = await call.request.read() if call.request.can_read_body else None
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session,
                session.request(call.request.method, url, data=body, headers=headers, ssl=tls or True) as answer,
            ):
                response = web.StreamResponse(status=answer.status)
                response.headers["Content-Type"] = answer.headers.get("Content-Type", "text/plain")
                writer = await response.prepare(call.request)
                if writer is not None:
                    writer.send_headers()
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response
        except aiohttp.ClientConnectorError as fault:
            raise _unreachable(host, port, fault) from None

    async def _tunnel(
        self, request: web.BaseRequest, host: str, port: int, target: str, tls: ssl.SSLContext | None
    ) -> web.StreamResponse:
        """Send the upgrade on, hand its answer back, then carry bytes until one side ends."""
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(host, port, ssl=tls)
        except (OSError, TimeoutError) as fault:
            raise _unreachable(host, port, fault) from None
        transport = request.transport
        if transport is None:
            writer.close()
            raise ConnectionResetError("the client went away before the upgrade")
        lines = [f"{request.method} {target} HTTP/1.1", f"Host: {host}:{port}"]
        lines += [f"{k}: {v}" for k, v in request.headers.items() if k.lower() not in _HOP_HEADERS]
        if "Content-Length" in request.headers:
            lines.append("Content-Length: 0")
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        protocol = _Tunnel(writer)
        # From here on the bytes are not HTTP of ours: they go past aiohttp.
        transport.set_protocol(protocol)
        try:
            while chunk := await reader.read(_CHUNK):
                if transport.is_closing():
                    break
                transport.write(chunk)
                await protocol.drained()
        except ConnectionError:
            pass  # the kubelet hung up: so do we
        finally:
            writer.close()
            transport.close()
        raise asyncio.CancelledError


class _Tunnel(asyncio.Protocol):
    """The client's side of a tunnel: what it sends goes to the kubelet."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._may_write = asyncio.Event()
        self._may_write.set()

    def data_received(self, data: bytes) -> None:
        self._writer.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._may_write.set()
        self._writer.close()

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    async def drained(self) -> None:
        await self._may_write.wait()


def _unchecked() -> ssl.SSLContext:
    """For https pages of Pods: nobody knows who signed their certificates."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _target(text: str) -> tuple[str, str, str]:
    """`https:web:8443` -> scheme, name, port; the latter may be a name or empty."""
    parts = text.split(":")
    match parts:
        case [name]:
            return "http", name, ""
        case [name, port]:
            return "http", name, port
        case [scheme, name, port] if scheme in ("", "http", "https"):
            return scheme or "http", name, port
        case _:
            raise BadRequest(f'invalid service request "{text}"')


def _rest(call: Call) -> str:
    query = call.request.rel_url.raw_query_string
    return (call.route.tail or "/") + (f"?{query}" if query else "")


def _kubelet_query(call: Call, pod: Object) -> str:
    """exec and attach name their streams differently on the kubelet; the rest is passed as it is."""
    if call.route.subresource not in ("exec", "attach"):
        return call.request.rel_url.raw_query_string
    query = call.request.rel_url.query
    pairs = [("command", value) for value in query.getall("command", [])]
    renamed = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}
    pairs += [(ours, "1") for name, ours in renamed.items() if query.get(name) in ("true", "1")]
    return urlencode(pairs)


def _container(pod: Object, wanted: str, subresource: str) -> str:
    """The container that is meant. Raises BadRequest when that is not clear."""
    if subresource == "portforward":
        return ""
    spec = pod.get("spec") or {}
    main = [c["name"] for c in spec.get("containers") or []]
    init = [c["name"] for c in spec.get("initContainers") or []]
    other = [c["name"] for c in spec.get("ephemeralContainers") or []]
    name = pod["metadata"]["name"]
    if wanted:
        if wanted not in (*main, *init, *other):
            raise BadRequest(f"container {wanted} is not valid for pod {name}")
        return wanted
    default = (pod["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
    if default in main:
        return str(default)
    if len(main) == 1:
        return str(main[0])
    text = f"a container name must be specified for pod {name}, choose one of: [{' '.join(main)}]"
    if init:
        text += f" or one of the init containers: [{' '.join(init)}]"
    raise BadRequest(text)


def _unreachable(host: str, port: int, fault: BaseException) -> ApiError:
    return InternalError(f"error dialing backend: dial tcp {host}:{port}: {str(fault) or type(fault).__name__}")
