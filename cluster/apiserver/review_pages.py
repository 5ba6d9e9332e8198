"""
Resources that are answered and never stored: access and token reviews, component statuses.
"""

from aiohttp import web

from cluster.api import resources
from cluster.apiserver import responses, write_options
from cluster.apiserver.registry import rules
from cluster.apiserver.registry.generic import now_text
from cluster.apiserver.requests import UserInfo
from cluster.apiserver.reviews import REVIEWS, Reviews
from cluster.apiserver.router import Route
from cluster.apiserver.verbs import manager_of
from cluster.machinery.decode import decode_body
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import MethodNotAllowed, not_found
from cluster.store.backend import Backend, StoreError

_UNTRACKED = frozenset({"selfsubjectreviews", "selfsubjectrulesreviews"})


class ReviewServer:
    def __init__(self, reviews: Reviews, etcd: Backend) -> None:
        self._reviews = reviews
        self._etcd = etcd

    async def serve(self, request: web.BaseRequest, found: Route, user: UserInfo) -> web.StreamResponse | None:
        """None for a resource that nobody knows."""
        resource = resources.by_path(found.group, found.version, found.resource)
        if resource is None:
            return None
        if resource.plural == "componentstatuses":
            return await self._component_statuses(found)
        if (found.group, found.resource) not in REVIEWS or found.name:
            return None
        if found.verb != "create":
            raise MethodNotAllowed("the server does not allow this method on the requested resource")
        write_options.check_write(found, "CreateOptions")
        obj = decode_body(await request.read(), request.headers.get("Content-Type", ""), resource.kind).obj
        rules.normalize(resource, obj)
        if resource.plural not in _UNTRACKED:
            manager = manager_of(request.headers.get("User-Agent", ""))
            rules.managed_fields.on_update(resource, None, obj, manager, now_text())
        answer = await self._reviews.handle_review(resource, obj, user, found.namespace)
        return responses.json(answer, 201)

    async def _component_statuses(self, found: Route) -> web.Response:
        try:
            await self._etcd.status()
            healthy, message = True, "ok"
        except StoreError as fault:
            healthy, message = False, str(fault)
        condition = {"type": "Healthy", "status": "True" if healthy else "False", "message": message}
        if not healthy:
            condition["error"] = message
        item: Object = {"metadata": {"name": "etcd-0"}, "conditions": [condition]}
        if not found.name:
            head = {"kind": "ComponentStatusList", "apiVersion": "v1", "metadata": {}}
            return responses.json({**head, "items": [item]})
        if found.name != "etcd-0":
            raise not_found("", "componentstatuses", found.name)
        return responses.json({"kind": "ComponentStatus", "apiVersion": "v1", **item})
