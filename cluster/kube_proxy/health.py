"""
What load balancers and probes ask kube-proxy: its own health, and per Service whether this node has backends.

/healthz  503 when the rules could not be brought up to date for a while, or the node is being deleted
/livez    the same, the node's state aside
Each Service of type LoadBalancer with externalTrafficPolicy: Local has a port of its own (healthCheckNodePort).
Source: kube-proxy, pkg/proxy/healthcheck.
"""

import asyncio
import contextlib
import datetime
import logging
import time
from collections.abc import Callable, Mapping

import orjson
from aiohttp import web

from cluster.kube_proxy.proxy import ServiceProxy
from cluster.kube_proxy.services import ProxiedService
from cluster.machinery.objects import Key

log = logging.getLogger(__name__)

UNHEALTHY_AFTER = 60.0  # seconds of failing synchronisations


def _when(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat() if seconds else "0001-01-01T00:00:00Z"


class ProxyHealth:
    """`node_eligible`: false while the node is going away: load balancers shall stop sending."""

    def __init__(self, proxy: ServiceProxy, node_eligible: Callable[[], bool]) -> None:
        self._proxy = proxy
        self._node_eligible = node_eligible

    @property
    def is_live(self) -> bool:
        proxy = self._proxy
        failing = proxy.failing_since and time.time() - proxy.failing_since > UNHEALTHY_AFTER
        return bool(proxy.last_success) and not failing

    @property
    def is_healthy(self) -> bool:
        return self.is_live and self._node_eligible()

    async def handle(self, request: web.BaseRequest) -> web.Response:
        good = {"/healthz": self.is_healthy, "/livez": self.is_live}.get(request.path)
        if good is None:
            return web.Response(status=404, text="404 page not found\n")
        body = {
            "lastUpdated": _when(self._proxy.last_success),
            "currentTime": _when(time.time()),
            "nodeEligible": self._node_eligible(),
        }
        return web.Response(status=200 if good else 503, body=orjson.dumps(body), content_type="application/json")


class ServiceHealthPorts:
    """The healthCheckNodePorts, opened and closed as Services come and go."""

    def __init__(self, health: ProxyHealth, services: Callable[[], Mapping[Key, ProxiedService]]) -> None:
        self._health = health
        self._services = services
        self._open: dict[int, web.ServerRunner] = {}
        self._wake = asyncio.Event()

    def touch(self) -> None:
        self._wake.set()

    def _wanted(self) -> dict[int, Key]:
        return {s.health_check_port: key for key, s in self._services().items() if s.health_check_port}

    async def run(self) -> None:
        """Until cancelled; closes all ports then."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                wanted = self._wanted()
                for port in set(self._open) - set(wanted):
                    await self._open.pop(port).cleanup()
                for port in set(wanted) - set(self._open):
                    with contextlib.suppress(OSError):
                        await self._start(port)
        finally:
            for runner in self._open.values():
                await runner.cleanup()

    async def _start(self, port: int) -> None:
        async def handle(request: web.BaseRequest) -> web.Response:
            return self._answer(port)

        runner = web.ServerRunner(web.Server(handle, access_log=None), shutdown_timeout=0.5)
        await runner.setup()
        try:
            await web.TCPSite(runner, "0.0.0.0", port).start()  # noqa: S104  (load balancers ask from outside)
        except OSError as error:
            await runner.cleanup()
            log.error("the health check port %s cannot be opened: %s. Free it, or change the Service's.", port, error)
            raise
        self._open[port] = runner

    def _answer(self, port: int) -> web.Response:
        key = self._wanted().get(port)
        if key is None:
            return web.Response(status=404)
        count = self._services()[key].local_backends
        healthy = self._health.is_healthy
        body = {
            "service": {"namespace": key.namespace, "name": key.name},
            "localEndpoints": count,
            "serviceProxyHealthy": healthy,
        }
        return web.Response(
            status=200 if count and healthy else 503,
            body=orjson.dumps(body),
            content_type="application/json",
            headers={"X-Load-Balancing-Endpoint-Weight": str(count)},
        )
