"""
pods/NAME/proxy, services/NAME/proxy and nodes/NAME/proxy: the pages that these serve themselves, with every method.

Source: k8s.io/kubernetes, pkg/registry/core/{pod,service,node} (ResourceLocation) and apiserver's proxy handler.
"""

import random
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

from aiohttp import web

from cluster.api import resources
from cluster.apiserver.kubelet_proxy import KubeletProxy
from cluster.apiserver.proxy import addresses, headers
from cluster.apiserver.proxy.forwarding import Manner, Target, forward
from cluster.apiserver.proxy.links import Links
from cluster.apiserver.registry.registry import Registry
from cluster.apiserver.verbs import Call, Verbs
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError, BadRequest, ServiceUnavailable


@dataclass(frozen=True, slots=True)
class Named:
    """`https:web:8443` taken apart. The port may be a name, or empty."""

    scheme: str
    name: str
    port: str


class PageProxy:
    def __init__(self, registry: Registry, kubelets: KubeletProxy) -> None:
        self._registry = registry
        self._kubelets = kubelets

    async def pod(self, verbs: Verbs, call: Call) -> web.StreamResponse:
        """pods/[SCHEME:]NAME[:PORT]/proxy/…; without a port the first that the Pod declares."""
        asked = named(call.route.name, "pod")
        entry = await verbs.read(call.kind, call.route.namespace, asked.name)
        pod = call.kind.decode(entry)
        status = pod.get("status") or {}
        ips = [ip.get("ip", "") for ip in status.get("podIPs") or ()] or [status.get("podIP") or ""]
        host = addresses.check(ips[0])
        return await self._show(call, asked.scheme, host, _pod_port(pod, asked))

    async def service(self, verbs: Verbs, call: Call) -> web.StreamResponse:
        """services/[SCHEME:]NAME[:PORT]/proxy/…: one of its ready Pods, chosen at random."""
        asked = named(call.route.name, "service")
        entry = await verbs.read(call.kind, call.route.namespace, asked.name)
        spec = call.kind.decode(entry).get("spec") or {}
        port = asked.port
        if port.isdigit():
            listed = next((p for p in spec.get("ports") or () if p.get("port") == int(port)), None)
            if listed is None:
                raise ServiceUnavailable(f'no service port {int(port)} found for service "{asked.name}"')
            port = listed.get("name") or ""
        found = list(self._endpoints(call.route.namespace, asked.name, port))
        if not found:
            raise ServiceUnavailable(f'no endpoints available for service "{call.route.name}"')
        host, number = random.choice(found)  # noqa: S311
        return await self._show(call, asked.scheme, host, number)

    async def node(self, verbs: Verbs, call: Call) -> web.StreamResponse:
        """nodes/[SCHEME:]NAME[:PORT]/proxy/…: the kubelet's own pages, or what listens on another of its ports."""
        asked = named(call.route.name, "node")
        host, kubelet_port = self._kubelets.address_of(asked.name)
        if asked.port in ("", str(kubelet_port)):
            return await self._show(call, "https", host, kubelet_port, self._kubelets.context())
        return await self._show(call, asked.scheme, await addresses.resolve(host), _number(asked, "node"))

    def _endpoints(self, namespace: str, service: str, port: str) -> Iterator[tuple[str, int]]:
        """Ready endpoints that are Pods of the namespace, at addresses that these Pods have."""
        for part in self._registry.list(resources.ENDPOINT_SLICES, namespace):
            if (part["metadata"].get("labels") or {}).get("kubernetes.io/service-name") != service:
                continue
            numbers = [p["port"] for p in part.get("ports") or () if (p.get("name") or "") == port and p.get("port")]
            for endpoint in part.get("endpoints") or () if numbers else ():
                if (endpoint.get("conditions") or {}).get("ready") is False:
                    continue
                address = str((endpoint.get("addresses") or [""])[0])
                if addresses.is_allowed(address) and self._is_pods(namespace, endpoint, address):
                    yield address, int(numbers[0])

    def _is_pods(self, namespace: str, endpoint: Object, address: str) -> bool:
        reference = endpoint.get("targetRef") or {}
        if reference.get("kind") != "Pod" or reference.get("namespace", namespace) != namespace:
            return False
        pod = self._registry.get(resources.PODS, namespace, reference.get("name") or "") or {}
        return address in [ip.get("ip") for ip in (pod.get("status") or {}).get("podIPs") or ()]

    async def _show(
        self, call: Call, scheme: str, host: str, port: int, tls: ssl.SSLContext | None = None
    ) -> web.StreamResponse:
        request = call.http
        raw_path = request.rel_url.raw_path
        rest = _after(raw_path, 7 if call.route.namespace else 5)
        query = request.rel_url.raw_query_string
        shown_query = f"?{query}" if query else ""
        if not rest and request.method in ("GET", "HEAD") and not headers.is_upgrade(request.headers):
            # Relative links on the page would lead elsewhere without the slash.
            moved = {"Location": f"{raw_path}/{shown_query}"}
            return web.Response(status=301, headers=moved)
        prefix = raw_path.removesuffix(rest)
        if scheme == "https" and tls is None:
            tls = _unchecked()
        outer = request.headers.get("Host", "")
        target = Target(scheme, host, port, (rest or "/") + shown_query, tls, host_header=outer)
        onward = headers.onward(request.headers, request.remote or "")
        onward["X-Forwarded-Uri"] = raw_path
        links = Links(prefix, outer, target.authority)
        return await forward(request, target, onward, Manner(_unreachable, rewriter=links))


def named(text: str, what: str) -> Named:
    """Raises BadRequest. Source: k8s.io/apimachinery, pkg/util/net (SplitSchemeNamePort)."""
    match text.split(":"):
        case [name]:
            found = Named("http", name, "")
        case [name, port]:
            found = Named("http", name, port)
        case [("" | "http" | "https") as scheme, name, port]:
            found = Named(scheme or "http", name, port)
        case _:
            found = Named("", "", "")
    if not found.name:
        raise BadRequest(f'invalid {what} request "{text}"')
    return found


def _number(asked: Named, what: str) -> int:
    if not asked.port.isdigit() or not 0 < int(asked.port) < 65536:
        raise BadRequest(f'invalid {what} request "{asked.name}:{asked.port}": the port must be a number')
    return int(asked.port)


def _pod_port(pod: Object, asked: Named) -> int:
    declared = [p for c in (pod.get("spec") or {}).get("containers") or () for p in c.get("ports") or ()]
    if not asked.port:
        return int(declared[0]["containerPort"]) if declared else 443 if asked.scheme == "https" else 80
    by_name = next((p for p in declared if p.get("name") == asked.port), None)
    return int(by_name["containerPort"]) if by_name else _number(asked, "pod")


def _after(raw_path: str, segments: int) -> str:
    """What follows that many segments of a path, with its slash; empty when nothing does."""
    at = 0
    for _ in range(segments):
        while raw_path[at : at + 1] == "/":
            at += 1
        end = raw_path.find("/", at)
        if end < 0:
            return ""
        at = end
    return raw_path[at:]


def _unchecked() -> ssl.SSLContext:
    """For https pages of Pods: nobody knows who signed their certificates."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _unreachable(target: Target, why: str) -> ApiError:
    return ServiceUnavailable(f"error trying to reach service: {why}")
