"""
What can be asked below one object: `status`, `scale`, `binding`, `eviction`, `token` and the rest.
"""

from collections.abc import Awaitable, Callable

from aiohttp import web

from cluster.api.schema import schemas
from cluster.apiserver import connecting, patches, pod_writes, responses, scale, write_options
from cluster.apiserver.kubelet_proxy import KubeletProxy
from cluster.apiserver.page_proxy import PageProxy
from cluster.apiserver.registry.registry import Registry
from cluster.apiserver.service_account_tokens import TokenIssuer
from cluster.apiserver.verbs import Call, Verbs
from cluster.machinery.decode import decode_body
from cluster.machinery.status_errors import MethodNotAllowed, NotFound

Handler = Callable[[Verbs, Call], Awaitable[web.StreamResponse]]


async def same_object(verbs: Verbs, call: Call) -> web.StreamResponse:
    """A part of the object under its own permission: status, finalize, approval, ephemeralcontainers, resize."""
    name = call.route.subresource
    match call.route.verb:
        case "get":
            return await verbs.get(call)
        case "update":
            return await verbs.update(call, name)
        case "patch":
            return await patches.patch(verbs, call, name)
        case _:
            raise MethodNotAllowed("the server does not allow this method on the requested resource")


class _TokenRequest:
    api_version, kind = "authentication.k8s.io/v1", "TokenRequest"


class Subresources:
    def __init__(self, registry: Registry, issuer: TokenIssuer | None, proxy: KubeletProxy) -> None:
        self._issuer = issuer
        self._handlers: dict[str, Handler] = {
            **dict.fromkeys(("status", "finalize", "approval", "ephemeralcontainers", "resize"), same_object),
            **dict.fromkeys(("log", "exec", "attach", "portforward"), proxy.pod),
            "scale": scale.serve,
            "binding": pod_writes.bind,
            "eviction": pod_writes.Evictor(registry).serve,
            "token": self._token,
        }
        pages = PageProxy(registry, proxy)
        self._proxies: dict[str, Handler] = {
            "nodes": pages.node,
            "pods": pages.pod,
            "services": pages.service,
        }

    async def serve(self, verbs: Verbs, call: Call) -> web.StreamResponse:
        """Raises NotFound for a subresource that the resource does not have."""
        name, resource = call.route.subresource, call.kind.resource
        sub = resource.subresource(name)
        handler = self._proxies.get(resource.plural) if name == "proxy" else self._handlers.get(name)
        if sub is None or handler is None:
            raise NotFound("the server could not find the requested resource")
        if call.route.verb not in sub.verbs and (name, call.route.verb) != ("proxy", "options"):
            raise MethodNotAllowed("the server does not allow this method on the requested resource")
        await connecting.admit(verbs.writer.admission, call)
        return await handler(verbs, call)

    async def _token(self, verbs: Verbs, call: Call) -> web.StreamResponse:
        if self._issuer is None:
            raise NotFound("the server could not find the requested resource")
        options = write_options.check_write(call.route, "CreateOptions")
        data = await call.request.read()
        request = decode_body(data, call.request.headers.get("Content-Type", ""), "TokenRequest").obj
        schemas().normalize(_TokenRequest(), request)
        await verbs.writer.admit_part(
            call.kind, "token", call.route.namespace, call.route.name, request, call.context(options)
        )
        answer = await self._issuer.create_token(request, call.route.namespace, call.route.name)
        return responses.json(answer, 201)
