"""
A member's whole API behind the federation's: `/apis/federation/v1beta1/clusters/NAME/proxy/…`, for who may use
`clusters/proxy`. The member sees the federation's own login there, so that right is one over all of the member.

A member in pull mode is reached over its tunnel. Used by kubectl as a server, and by our own controllers and commands.
"""

import re
from urllib.parse import unquote

from aiohttp import web

from cluster.apiserver.authorization import refusal
from cluster.apiserver.proxy.headers import is_upgrade
from cluster.apiserver.requests import Attributes, Authorizer
from cluster.apiserver.verbs import Call
from cluster.machinery.status_errors import BadRequest
from federation.apiserver.views.streams import send_on
from federation.membership.member_clients import Member

_BEFORE = re.compile(r"/*(?:[^/]+/+){5}[^/]+")
"""apis, group, version, clusters, NAME, proxy: whatever way they are written."""


async def pass_on_all(call: Call, member: Member, authorizer: Authorizer) -> web.StreamResponse:
    """Raises ApiError."""
    if is_upgrade(call.http.headers):
        # A WebSocket begins with a GET, but who may only read shall not run programs in Pods.
        session = _as_session(call)
        decision = await authorizer.authorize(session)
        if not decision.allowed:
            raise refusal(session, decision.reason)
    return await send_on(call, member, beyond(call.http.rel_url.raw_path), call.http.rel_url.raw_query_string)


def beyond(raw_path: str) -> str:
    """The path at the member, as it was written. Raises BadRequest for one that could leave the member's API."""
    before = _BEFORE.match(raw_path)
    rest = raw_path[before.end() :] if before is not None else ""
    if any(unquote(part) in (".", "..") for part in rest.split("/")):
        raise BadRequest("a path to a member has no segments . and ..")
    return rest or "/"


def _as_session(call: Call) -> Attributes:
    route = call.route
    return Attributes(
        user=call.user, verb="create", group=route.group, version=route.version, resource=route.resource,
        subresource=route.subresource, namespace="", name=route.name, path=route.path,
    )  # fmt: skip
