"""
Requests about a Pod that its node answers: logs, exec, attach and port-forward, passed on to the kubelet.

Not here    the pages of nodes, Pods and Services (page_proxy.py).
Source: k8s.io/kubernetes, pkg/registry/core/pod/rest and pkg/kubelet/client.
"""

import ssl
from urllib.parse import urlencode

from aiohttp import web

from cluster.api import resources
from cluster.apiserver.options import Options
from cluster.apiserver.proxy import headers
from cluster.apiserver.proxy.forwarding import Manner, Target, forward
from cluster.apiserver.registry.registry import Registry
from cluster.apiserver.verbs import Call, Verbs
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError, BadRequest, InternalError, not_found

_DEFAULT_PORT = 10250


class KubeletProxy:
    def __init__(self, options: Options, registry: Registry) -> None:
        self._options = options
        self._registry = registry
        self._tls: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
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

    async def _pass_on(self, call: Call, node: str, path: str, query: str) -> web.StreamResponse:
        host, port = self.address_of(node)
        target = Target("https", host, port, path + (f"?{query}" if query else ""), self.context())
        onward = headers.onward(call.http.headers, call.http.remote or "")
        return await forward(call.http, target, onward, Manner(_unreachable))


def _kubelet_query(call: Call, pod: Object) -> str:
    """exec and attach name their streams differently on the kubelet; the rest is passed as it is."""
    if call.route.subresource not in ("exec", "attach"):
        return call.http.rel_url.raw_query_string
    query = call.http.rel_url.query
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


def _unreachable(target: Target, why: str) -> ApiError:
    return InternalError(f"error dialing backend: {why}")
