"""
Who may ask this kubelet for what: the rules of nodes/<subresource> over cluster.client.delegated_auth.

Source: upstream pkg/kubelet/server/auth.go.
"""

from aiohttp import web

from cluster.client.delegated_auth import Access, Caller, DelegatedAuth
from cluster.client.rest import ApiClient

ANONYMOUS = Caller("system:anonymous", ("system:unauthenticated",))

_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_FINE_GRAINED = ("pods", "healthz", "configz")
"""Whoever may use nodes/proxy may read these too, as it was before they had names of their own."""


def subresource_of(path: str) -> str:
    """Which nodes/… a path stands for; what is not named apart is `proxy`."""
    for prefix, name in (("/stats", "stats"), ("/metrics", "metrics"), ("/logs", "log"), ("/pods", "pods"),
                         ("/runningpods", "pods"), ("/healthz", "healthz"), ("/configz", "configz")):  # fmt: skip
        if path == prefix or path.startswith(f"{prefix}/"):
            return name
    return "proxy"


class ServerAccess:
    def __init__(self, client: ApiClient | None, node_name: str, *, anonymous: bool, mode: str) -> None:
        """
        Args:
            client: None when there is no apiserver: then nobody is known, and only anonymous callers can be served.
            anonymous: a caller without credentials is system:anonymous instead of refused.
            mode: Webhook asks the apiserver, AlwaysAllow nobody.
        """
        self._auth = DelegatedAuth(client) if client is not None else None
        self._node, self._anonymous, self._mode = node_name, anonymous, mode

    async def check(self, request: web.BaseRequest) -> None:
        """Raises HTTPUnauthorized, HTTPForbidden."""
        caller = await self._caller(request)
        if caller is None:
            raise web.HTTPUnauthorized(text="Unauthorized")
        if self._mode == "AlwaysAllow":
            return
        verb, name = _VERBS.get(request.method, "get"), subresource_of(request.path)
        asked = [name, "proxy"] if name in _FINE_GRAINED else [name]
        for subresource in asked:
            if await self._may(caller, verb, subresource):
                return
        text = f"Forbidden (user={caller.name}, verb={verb}, resource=nodes, subresource(s)=[{' '.join(asked)}])\n"
        raise web.HTTPForbidden(text=text)

    async def _caller(self, request: web.BaseRequest) -> Caller | None:
        caller = await self._auth.authenticate(request) if self._auth is not None else None
        has_token = "Authorization" in request.headers
        return ANONYMOUS if caller is None and self._anonymous and not has_token else caller

    async def _may(self, caller: Caller, verb: str, subresource: str) -> bool:
        access = Access(verb, resource="nodes", subresource=subresource, name=self._node)
        return self._auth is not None and await self._auth.authorize(caller, access)
