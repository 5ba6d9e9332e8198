"""
Logs, exec, attach, port-forward and pages of a Pod or Node: passed on to the API of the member that has it.
"""

from urllib.parse import urlencode

from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from cluster.apiserver.authentication import WEBSOCKET_TOKEN_PREFIX
from cluster.apiserver.proxy import headers as proxied
from cluster.apiserver.proxy.forwarding import Failure, Manner, Target, forward
from cluster.apiserver.verbs import Call
from cluster.machinery.status_errors import ApiError, ServiceUnavailable
from federation.apiserver.views.asked import CLUSTER_PARAMETER
from federation.membership.member_clients import Member

_PROTOCOLS = "Sec-WebSocket-Protocol"


async def pass_on(call: Call, member: Member, name: str) -> web.StreamResponse:
    """`name`: as the member knows it. Raises ServiceUnavailable."""
    route = call.route
    path = call.kind.resource.path(route.namespace, name, route.subresource) + route.tail
    pairs = [(key, value) for key, value in call.http.rel_url.query.items() if key != CLUSTER_PARAMETER]
    return await send_on(call, member, str(URL.build(path=path)), urlencode(pairs))


async def send_on(call: Call, member: Member, path: str, query: str) -> web.StreamResponse:
    """Any request, as the federation; path and query are encoded. Raises ServiceUnavailable."""
    base = URL(member.client.server)
    target = Target(
        base.scheme,
        base.host or "",
        base.port or 443,
        base.raw_path.rstrip("/") + path + (f"?{query}" if query else ""),
        member.client.context() if base.scheme == "https" else None,
        server_name=member.config.tls_server_name,
        dial=member.dial,
    )
    onward = proxied.onward(call.http.headers, call.http.remote or "")
    _without_our_tokens(onward)
    onward.update(member.client.credentials())
    return await forward(call.http, target, onward, Manner(_unreachable(member.name)))


def _without_our_tokens(headers: CIMultiDict[str]) -> None:
    """A browser's WebSocket carries the user's token for us among its protocols; it is not for the member."""
    offered = [part.strip() for value in headers.popall(_PROTOCOLS, []) for part in value.split(",")]
    kept = [part for part in offered if part and not part.startswith(WEBSOCKET_TOKEN_PREFIX)]
    if kept:
        headers[_PROTOCOLS] = ", ".join(kept)


def _unreachable(cluster: str) -> Failure:
    def told(target: Target, why: str) -> ApiError:
        return ServiceUnavailable(f"cluster {cluster} cannot be reached: {why}")

    return told
