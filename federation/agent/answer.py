"""
The tunnel's end in the member: a connection to the federation that is held open, and the requests that come over it.

They go to the member's own API with the agent's login there, whatever login they came with.
"""

import asyncio
import logging
import random
import socket

import aiohttp
from aiohttp import web
from yarl import URL

from cluster.apiserver.proxy import headers as proxied
from cluster.apiserver.proxy.forwarding import Manner, Target, forward, new_session
from cluster.client.rest import ApiClient
from cluster.machinery.status_errors import ApiError, ServiceUnavailable
from federation.agent.login import USER_AGENT
from federation.api.resources import CLUSTERS
from federation.tunnel.frames import LONGEST, FrameError
from federation.tunnel.tunnel import HEARTBEAT, Tunnel

log = logging.getLogger(__name__)

FIRST_PAUSE, LAST_PAUSE = 0.5, 10.0
"""Seconds between tries to open the tunnel; each is twice the one before."""
END_SECONDS = 0.5
"""For requests that run when a tunnel ends; 0 would be for ever."""
_HEADERS = 8192
_HEAD_LIMIT = 64 << 10


async def answer(federation: ApiClient, member: ApiClient, cluster: str) -> None:
    """Until cancelled. `federation` follows the login; its next tunnel has the new certificate."""
    async with new_session() as onward:
        pause = FIRST_PAUSE
        failing = ""
        while True:
            try:
                await _hold(federation, member, cluster, onward)
                pause, failing = FIRST_PAUSE, ""
            except (aiohttp.ClientError, ApiError, OSError, TimeoutError, FrameError) as fault:
                why = str(fault) or type(fault).__name__
                if why != failing:
                    log.warning("no tunnel to the federation: %s", why)
                    failing = why
            await asyncio.sleep(pause * (1 + random.random()))  # noqa: S311  (spreads load)
            pause = min(2 * pause, LAST_PAUSE)


async def _hold(federation: ApiClient, member: ApiClient, cluster: str, onward: aiohttp.ClientSession) -> None:
    """One tunnel, until it ends."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return await _pass_on(request, member, onward)

    server = web.Server(
        handle, access_log=None, handler_cancellation=True, keepalive_timeout=120.0, max_line_size=_HEAD_LIMIT,
        max_field_size=_HEAD_LIMIT, max_headers=_HEADERS, auto_decompress=False,
    )  # fmt: skip
    loop = asyncio.get_running_loop()

    async def accept(connection: socket.socket) -> None:
        await loop.connect_accepted_socket(server, connection)

    path = CLUSTERS.path("", cluster, "tunnel")
    try:
        async with (
            aiohttp.ClientSession(headers={"User-Agent": USER_AGENT, **federation.credentials()}) as session,
            session.ws_connect(
                federation.server + path, ssl=federation.context(), heartbeat=HEARTBEAT, max_msg_size=LONGEST + 1
            ) as way,
        ):
            log.info("a tunnel to the federation is open")
            await Tunnel(way, accept).run()
            log.info("the tunnel to the federation has ended")
    finally:
        await server.shutdown(timeout=END_SECONDS)


async def _pass_on(request: web.BaseRequest, member: ApiClient, onward: aiohttp.ClientSession) -> web.StreamResponse:
    base = URL(member.server)
    target = Target(
        base.scheme,
        base.host or "",
        base.port or 443,
        base.raw_path.rstrip("/") + request.rel_url.raw_path_qs,
        member.context() if base.scheme == "https" else None,
        server_name=member.config.tls_server_name,
    )
    headers = proxied.onward(request.headers, "")
    headers.update(member.credentials())
    return await forward(request, target, headers, Manner(_unreachable, session=onward))


def _unreachable(_: Target, why: str) -> ApiError:
    return ServiceUnavailable(f"its own API does not answer: {why}")
