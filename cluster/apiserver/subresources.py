"""
What can be asked below one object: `status`, `scale`, `binding`, `eviction`, `token` and the rest.
"""

from collections.abc import Awaitable, Callable

from aiohttp import web

from cluster.apiserver import patches
from cluster.apiserver.verbs import Call, Verbs
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
    raise MethodNotAllowed("the server does not allow this method on the requested resource")


_HANDLERS: dict[str, Handler] = dict.fromkeys(
    ("status", "finalize", "approval", "ephemeralcontainers", "resize"), same_object
)


async def serve(verbs: Verbs, call: Call) -> web.StreamResponse:
    """Raises NotFound for a subresource that the resource does not have."""
    sub = call.kind.resource.subresource(call.route.subresource)
    handler = _HANDLERS.get(call.route.subresource)
    if sub is None or handler is None:
        raise NotFound("the server could not find the requested resource")
    if call.route.verb not in sub.verbs:
        raise MethodNotAllowed("the server does not allow this method on the requested resource")
    return await handler(verbs, call)
