"""
The connections that agents of pull-mode members hold open to this server, and the members that are asked over them.

An agent opens one at `…/clusters/NAME/tunnel`, as that member and as nobody else. It ends with the agent's certificate,
with the Cluster, and with the server; a newer one of the same member takes its place, and it ends with its last stream.
"""

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

from aiohttp import web

from cluster.apiserver.verbs import Call
from cluster.client.kubeconfig import ClientConfig
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import BadRequest, Forbidden, TooManyRequests
from federation.membership import agents
from federation.membership.member_clients import Member, MemberFault
from federation.tunnel.frames import LONGEST, FrameError
from federation.tunnel.tunnel import HEARTBEAT, Tunnel

log = logging.getLogger(__name__)

MOST = 4
"""Tunnels of one member at once: one, and older ones whose last streams still run."""
WITHOUT_CERTIFICATE = 3600.0
"""Seconds that a tunnel lasts whose agent showed no certificate to this server itself."""
_CLOSE_SECONDS = 2.0
Owner = tuple[str, str]
"""Name and uid of the Cluster."""


class Tunnels:
    """`cluster` finds a Cluster by its name; `subscribe` calls back whenever any changes, until it is called off."""

    def __init__(
        self,
        cluster: Callable[[str], Object | None],
        subscribe: Callable[[Callable[[], None]], Callable[[], None]],
    ) -> None:
        self._cluster = cluster
        self._subscribe = subscribe
        self._held: dict[Owner, list[Tunnel]] = {}
        self._members: dict[Owner, Member] = {}
        self._stopped = asyncio.Event()

    def member(self, cluster: Object) -> Member:
        """To be asked over its tunnel. Raises MemberFault when there is none."""
        name = cluster["metadata"]["name"]
        owner = (name, cluster["metadata"]["uid"])
        if owner not in self._held:
            raise MemberFault(f"cluster {name} is in pull mode, and its agent is not connected to this server")
        return self._members[owner]

    async def serve(self, call: Call) -> web.StreamResponse:
        """An agent's request. Raises Forbidden for everybody else."""
        owner = self._owner(call)
        if call.http.headers.get("Upgrade", "").lower() != "websocket":
            raise BadRequest("a tunnel is a WebSocket")
        if len(self._held.get(owner, ())) >= MOST:
            raise TooManyRequests(f"cluster {owner[0]} holds {MOST} tunnels already", retry_after=10)
        way = web.WebSocketResponse(
            compress=False, heartbeat=HEARTBEAT, timeout=_CLOSE_SECONDS, max_msg_size=LONGEST + 1
        )
        seconds = _seconds_left(call.http)
        await way.prepare(call.http)
        tunnel = Tunnel(way)
        async with self._kept(owner, tunnel):
            running = asyncio.create_task(self._run(tunnel, owner[0]), name=f"tunnel of {owner[0]}")
            try:
                await self._until_over(running, owner, seconds)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
        with suppress(ConnectionError):
            await way.close()
        return way

    async def close(self) -> None:
        """The server stops."""
        self._stopped.set()

    def _owner(self, call: Call) -> Owner:
        name, groups = call.route.name, call.user.groups
        cluster = self._cluster(name)
        if cluster is None or agents.cluster_of(call.user.name, groups) != name:
            raise Forbidden(f"the tunnel of cluster {name} is its agent's alone")
        uid = cluster["metadata"]["uid"]
        if agents.uid_of(groups) != uid or not agents.is_pull(cluster):
            raise Forbidden(f"{call.user.name} is no member now")
        return name, uid

    @asynccontextmanager
    async def _kept(self, owner: Owner, tunnel: Tunnel) -> AsyncIterator[None]:
        """The newest is dialled; the member's client goes with the last."""
        held = self._held.setdefault(owner, [])
        held.append(tunnel)
        if owner not in self._members:
            config = ClientConfig(servers=(f"http://{owner[0]}",))
            dial = partial(self._dial, owner)
            client = ApiClient(config, user_agent="federation-apiserver", connections=0, dial=dial)
            self._members[owner] = Member(owner[0], config, client, dial)
        log.info("cluster %s has a tunnel", owner[0])
        try:
            yield
        finally:
            held.remove(tunnel)
            if not held:
                del self._held[owner]
                await self._members.pop(owner).client.close()
                log.info("cluster %s has no tunnel", owner[0])

    async def _dial(self, owner: Owner) -> socket.socket:
        held = self._held.get(owner)
        if not held:
            raise ConnectionResetError("its agent is not connected any more")
        return await held[-1].dial()

    async def _run(self, tunnel: Tunnel, cluster: str) -> None:
        try:
            await tunnel.run()
        except FrameError as fault:
            log.warning("the tunnel of cluster %s ends: %s", cluster, fault)

    async def _until_over(self, running: "asyncio.Task[None]", owner: Owner, seconds: float) -> None:
        left = asyncio.Event()

        def look() -> None:
            cluster = self._cluster(owner[0])
            if cluster is None or cluster["metadata"]["uid"] != owner[1]:
                left.set()

        call_off = self._subscribe(look)
        ends = [asyncio.create_task(event.wait()) for event in (left, self._stopped)]
        try:
            look()
            await asyncio.wait([running, *ends], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            call_off()
            for task in ends:
                task.cancel()
            await asyncio.gather(*ends, return_exceptions=True)


def _seconds_left(request: web.BaseRequest) -> float:
    """Until the certificate ends that the agent has shown."""
    shown = request.transport.get_extra_info("peercert") if request.transport is not None else None
    if not shown or "notAfter" not in shown:
        return WITHOUT_CERTIFICATE
    return max(0.0, ssl.cert_time_to_seconds(shown["notAfter"]) - time.time())
