"""
A server that extends an API: it serves one group version behind the apiserver, over real TLS.

It believes whoever shows a certificate of the front proxy's CA, as such servers do, and tells in its answers what it
was asked and by whom. `pages` adds or replaces answers by path.
"""

import asyncio
import contextlib
import datetime as dt
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from cluster.pki.authority import Authority, make_authority
from cluster.pki.issue import CertificateContent, KeyPair, Usage, issue_key_pair

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@dataclass
class Certificates:
    """What both sides need, in files of `directory`."""

    directory: Path
    proxies: Authority = field(default_factory=lambda: make_authority("front-proxy-ca", now=_now()))
    proxy_authorities: str = ""
    """PEM; by default that of `proxies`."""
    servers: Authority = field(default_factory=lambda: make_authority("extension-ca", now=_now()))

    def _written(self, name: str, pair: KeyPair) -> tuple[Path, Path]:
        certificate, key = self.directory / f"{name}.crt", self.directory / f"{name}.key"
        certificate.write_bytes(pair.certificate_pem)
        key.write_bytes(pair.key_pem)
        return certificate, key

    def proxy_client(self, common_name: str = "front-proxy-client") -> tuple[Path, Path]:
        content = CertificateContent(common_name, usages=(Usage.CLIENT,))
        return self._written("proxy", issue_key_pair(self.proxies, content, now=_now()))

    def server_context(self, *names: str) -> ssl.SSLContext:
        content = CertificateContent("extension", dns_names=names, usages=(Usage.SERVER,))
        files = self._written("server", issue_key_pair(self.servers, content, now=_now()))
        context = ssl.create_default_context(
            ssl.Purpose.CLIENT_AUTH, cadata=self.proxy_authorities or self.proxies.certificate_pem.decode()
        )
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_cert_chain(*files)
        return context


@dataclass
class ExtensionServer:
    group: str
    version: str
    resources: list[dict[str, Any]]
    """Of its APIResourceList."""
    aggregated: bool = True
    """Whether it knows the aggregated form of discovery."""
    pages: dict[str, Any] = field(default_factory=dict)
    """JSON by path."""
    port: int = 0
    fails: bool = False
    slow: bool = False
    asked: list[tuple[str, str, Mapping[str, str]]] = field(default_factory=list)
    """Method, path with query and headers."""

    @property
    def root(self) -> str:
        return f"/apis/{self.group}/{self.version}"

    @contextlib.asynccontextmanager
    async def running(self, host: str, context: ssl.SSLContext) -> AsyncIterator[None]:
        server = web.Server(self._answer)
        listener = await asyncio.get_running_loop().create_server(server, host, self.port, ssl=context)
        self.port = listener.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            listener.close()
            await server.shutdown(0.1)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append((request.method, request.rel_url.raw_path_qs, dict(request.headers)))
        shown = request.transport and request.transport.get_extra_info("peercert")
        if not shown:
            return web.json_response({"kind": "Status", "code": 401}, status=401)
        if self.slow:
            await asyncio.sleep(30)
        if self.fails:
            return web.json_response({"kind": "Status", "code": 500}, status=500)
        path = request.rel_url.path
        if path.endswith("/chat"):
            return await _echo_upper(request)
        if path.endswith("/away"):
            return web.Response(status=302, headers={"Location": "https://127.0.0.1:1/"})
        if request.rel_url.query.get("watch"):
            return await _three_events(request)
        known = self._documents(request).get(path)
        if known is not None:
            content, kind = known
            return web.Response(body=json.dumps(content).encode(), content_type=None, headers={"Content-Type": kind})
        if path.startswith(f"{self.root}/"):
            heard = {"method": request.method, "path": request.rel_url.raw_path_qs, "body": len(await request.read())}
            users = {k: request.headers.getall(k) for k in set(request.headers) if k.lower().startswith("x-remote-")}
            return web.json_response({"kind": "Heard", **heard, "user": users, "headers": dict(request.headers)})
        return web.json_response({"kind": "Status", "code": 404}, status=404)

    def _documents(self, request: web.BaseRequest) -> dict[str, tuple[Any, str]]:
        listed = {"kind": "APIResourceList", "groupVersion": f"{self.group}/{self.version}"}
        found = {self.root: {**listed, "resources": self.resources}, **self.pages}
        answers = {path: (content, "application/json") for path, content in found.items()}
        if self.aggregated and "APIGroupDiscoveryList" in request.headers.get("Accept", ""):
            answers["/apis"] = self._aggregated(), AGGREGATED
        return answers

    def _aggregated(self) -> dict[str, Any]:
        resources = [
            {
                "resource": one["name"],
                "responseKind": {"group": self.group, "version": self.version, "kind": one["kind"]},
                "scope": "Namespaced" if one["namespaced"] else "Cluster",
                "singularResource": one["singularName"],
                "verbs": one["verbs"],
            }
            for one in self.resources
        ]
        versions = [{"version": self.version, "resources": resources, "freshness": "Current"}]
        items = [{"metadata": {"name": self.group}, "versions": versions}]
        return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": items}


async def _echo_upper(request: web.BaseRequest) -> web.StreamResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    await socket.send_str(request.headers.get("X-Remote-User", ""))
    async for message in socket:
        await socket.send_str(message.data.upper())
    return socket


async def _three_events(request: web.BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    for number in range(3):
        await response.write(json.dumps({"type": "ADDED", "object": {"number": number}}).encode() + b"\n")
        await asyncio.sleep(0.02)
    await response.write_eof()
    return response


def api_service(server: ExtensionServer, namespace: str, authorities: str = "", **spec: Any) -> dict[str, Any]:
    """The APIService that names Service `extension` in `namespace`; `authorities` is base64, empty skips checking."""
    trust = {"caBundle": authorities} if authorities else {"insecureSkipTLSVerify": True}
    reference = {"namespace": namespace, "name": "extension", "port": 443}
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"{server.version}.{server.group}"},
        "spec": {
            "group": server.group, "version": server.version, "groupPriorityMinimum": 100, "versionPriority": 100,
            "service": reference, **trust, **spec,
        },
    }  # fmt: skip


def service_objects(namespace: str, host: str, port: int) -> list[tuple[str, dict[str, Any]]]:
    """A Service without selector and its EndpointSlice: (path of the collection, object)."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "extension", "namespace": namespace},
        "spec": {"ports": [{"name": "https", "port": 443, "targetPort": port}]},
    }
    labels = {"kubernetes.io/service-name": "extension"}
    endpoints = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "extension-1", "namespace": namespace, "labels": labels},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [host], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    }
    return [
        (f"/api/v1/namespaces/{namespace}/services", service),
        (f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices", endpoints),
    ]
