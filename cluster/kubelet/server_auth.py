"""
Who may ask this kubelet for what: client certificates and tokens, checked with the apiserver.

Authentication: x509 by the cluster's CA (TLS has verified it), else TokenReview. Authorization: SubjectAccessReview
on nodes/<subresource>. Answers are kept for a while. Source: upstream pkg/kubelet/server/auth.go.
"""

import hashlib
import time
from dataclasses import dataclass

from aiohttp import web

from cluster.api import resources
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError

TOKEN_SECONDS, ALLOWED_SECONDS, DENIED_SECONDS = 120.0, 300.0, 30.0
MAX_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Caller:
    name: str
    groups: tuple[str, ...] = ()


ANONYMOUS = Caller("system:anonymous", ("system:unauthenticated",))

_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def subresource_of(path: str) -> str:
    """Which nodes/… a path stands for; what is not named apart is `proxy`."""
    for prefix, name in (("/stats", "stats"), ("/metrics", "metrics"), ("/logs", "log"), ("/pods", "pods"),
                         ("/runningpods", "pods"), ("/healthz", "healthz"), ("/configz", "configz")):  # fmt: skip
        if path == prefix or path.startswith(f"{prefix}/"):
            return name
    return "proxy"


class ServerAuth:
    def __init__(self, client: ApiClient | None, node_name: str, *, anonymous: bool, mode: str) -> None:
        self._client, self._node, self._anonymous, self._mode = client, node_name, anonymous, mode
        self._tokens: dict[bytes, tuple[float, Caller | None]] = {}
        self._decisions: dict[tuple[Caller, str, str], tuple[float, bool]] = {}

    async def check(self, request: web.BaseRequest) -> None:
        """Raises HTTPUnauthorized, HTTPForbidden; HTTPServiceUnavailable when the apiserver cannot be asked."""
        try:
            caller = await self._authenticate(request)
            if caller is None:
                raise web.HTTPUnauthorized(text="Unauthorized")
            verb, name = _VERBS.get(request.method, "get"), subresource_of(request.path)
            allowed = await self._authorize(caller, verb, name)
            if not allowed and name in ("pods", "healthz", "configz"):
                name = "proxy"
                allowed = await self._authorize(caller, verb, name)
        except ApiError as error:
            raise web.HTTPServiceUnavailable(text=f"cannot ask the apiserver who may do this: {error}\n") from error
        if not allowed:
            text = f"Forbidden (user={caller.name}, verb={verb}, resource=nodes, subresource(s)=[{name}])\n"
            raise web.HTTPForbidden(text=text)

    async def _authenticate(self, request: web.BaseRequest) -> Caller | None:
        peer = request.transport.get_extra_info("peercert") if request.transport is not None else None
        if peer:
            subject = [pair for part in peer.get("subject", ()) for pair in part]
            names = [value for key, value in subject if key == "commonName"]
            groups = tuple(value for key, value in subject if key == "organizationName")
            if names:
                return Caller(names[0], (*groups, "system:authenticated"))
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token:
            return await self._review_token(token.strip())
        return ANONYMOUS if self._anonymous else None

    async def _review_token(self, token: str) -> Caller | None:
        key, now = hashlib.sha256(token.encode()).digest(), time.monotonic()
        kept = self._tokens.get(key)
        if kept is not None and kept[0] > now:
            return kept[1]
        if self._client is None:
            return None
        review: Object = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
        answer = await self._client.create(resources.named("tokenreviews.authentication.k8s.io"), review)
        status = answer.get("status") or {}
        caller = None
        if status.get("authenticated"):
            user = status.get("user") or {}
            caller = Caller(str(user.get("username") or ""), tuple(user.get("groups") or ()))
        if len(self._tokens) > MAX_KEPT:
            self._tokens.clear()
        self._tokens[key] = (now + TOKEN_SECONDS, caller)
        return caller

    async def _authorize(self, caller: Caller, verb: str, subresource: str) -> bool:
        if self._mode == "AlwaysAllow":
            return True
        key, now = (caller, verb, subresource), time.monotonic()
        kept = self._decisions.get(key)
        if kept is not None and kept[0] > now:
            return kept[1]
        if self._client is None:
            return False
        review: Object = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": caller.name,
                "groups": list(caller.groups),
                "resourceAttributes": {
                    "verb": verb,
                    "version": "v1",
                    "resource": "nodes",
                    "subresource": subresource,
                    "name": self._node,
                },
            },
        }
        answer = await self._client.create(resources.named("subjectaccessreviews.authorization.k8s.io"), review)
        allowed = bool((answer.get("status") or {}).get("allowed"))
        if len(self._decisions) > MAX_KEPT:
            self._decisions.clear()
        self._decisions[key] = (now + (ALLOWED_SECONDS if allowed else DENIED_SECONDS), allowed)
        return allowed
