"""
The service proxy: informers tell what changed, the table is brought to it, old UDP flows are forgotten.

Changes are gathered for a moment and applied in one transaction. A transaction that nft refuses, and a table that
somebody removed, lead to a full replacement.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from cluster.client.metrics import Counter, Gauge, Histogram
from cluster.kube_proxy.conntrack import Stale, forget_flows
from cluster.kube_proxy.nftables import Nftables, NftablesError, table_exists
from cluster.kube_proxy.rules import ProxySettings, ServiceRules, compile_host_ports, compile_service
from cluster.kube_proxy.services import Backend, Frontend, NodeContext, ProxiedService, read_service
from cluster.kube_proxy.table import ProxyTable
from cluster.machinery.objects import Key, Object

log = logging.getLogger(__name__)

GATHER = 0.02  # seconds a change waits for others
LEAVERS_WAIT = 1.0  # seconds until emptied chains are removed
RETRY = 1.0  # seconds after a refused transaction; doubles
MAX_RETRY = 30.0  # seconds
CHECK_PERIOD = 30.0  # seconds between looks whether the table is still there

SYNC_SECONDS = Histogram("kubeproxy_sync_proxy_rules_duration_seconds", "Time of one synchronisation.")
SYNC_FAILURES = Counter("kubeproxy_sync_proxy_rules_nftables_sync_failures_total", "Transactions that nft refused.")
LAST_SYNC = Gauge("kubeproxy_sync_proxy_rules_last_timestamp_seconds", "When the last synchronisation succeeded.")

HOST_PORTS = Key("", "host-ports")
"""Owner of the host ports' elements; no Service can have this key."""


class ServiceProxy:
    """
    Args:
        service_of, slices_of: what the informers know of a Service at the moment.
        pods: the pods of this node.
    """

    def __init__(
        self,
        settings: ProxySettings,
        node: NodeContext,
        nftables: Nftables,
        *,
        service_of: Callable[[Key], Object | None],
        slices_of: Callable[[Key], Iterable[Object]],
        pods: Callable[[], Iterable[Object]],
    ) -> None:
        self._settings = settings
        self.node = node
        self._nftables = nftables
        self._service_of, self._slices_of, self._pods = service_of, slices_of, pods
        self._table = ProxyTable(settings)
        self._changed: set[Key] = set()
        self._wake = asyncio.Event()
        self._host_ports = ServiceRules()
        self.proxied: dict[Key, ProxiedService] = {}
        self.on_health_ports: Callable[[], None] = lambda: None
        self.last_success = 0.0
        """time.time() of the last good synchronisation; 0 before the first."""
        self.failing_since = 0.0
        """time.time() since when synchronisations fail; 0 while they do not."""

    def touch(self, key: Key) -> None:
        """A Service, one of its slices, or the host ports (HOST_PORTS) changed."""
        self._changed.add(key)
        self._wake.set()

    def use_node(self, node: NodeContext) -> None:
        """This node's zone changed: hints mean something else now."""
        if node != self.node:
            self.node = node
            self._changed.update(self.proxied)
            self._wake.set()

    async def run(self) -> None:
        """Synchronise until cancelled."""
        pause = RETRY
        while True:
            try:
                await self.sync()
                pause = RETRY
                timeout = LEAVERS_WAIT if self._table.has_leavers else CHECK_PERIOD
            except NftablesError as error:
                SYNC_FAILURES.inc()
                self.failing_since = self.failing_since or time.time()
                log.error("%s. The whole table is replaced in %.0f s.", error, pause)
                self._table.forget_kernel()
                timeout, pause = pause, min(pause * 2, MAX_RETRY)
            if not self._changed:
                self._wake.clear()
            try:
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
                await asyncio.sleep(GATHER)
            except TimeoutError:
                await self._check_table()

    async def _check_table(self) -> None:
        if self.last_success and not await asyncio.to_thread(table_exists, self._nftables):
            log.warning("somebody removed the table; it is made again")
            self._table.forget_kernel()

    async def sync(self) -> None:
        """Apply what changed since the last time. Raises NftablesError; what was gathered is kept."""
        started = time.monotonic()
        keys, self._changed = self._changed, set()
        stale = [each for key in keys for each in self._recompile(key)]
        text = self._table.transaction()
        if text:
            try:
                await asyncio.to_thread(self._nftables.run, text)
            finally:
                if stale:
                    await asyncio.to_thread(_forget, stale)
        self._table.applied()
        self.last_success, self.failing_since = time.time(), 0.0
        LAST_SYNC.set(self.last_success)
        if keys:
            SYNC_SECONDS.observe(time.monotonic() - started)
            self.on_health_ports()

    def _recompile(self, key: Key) -> list[Stale]:
        if key == HOST_PORTS:
            before, self._host_ports = self._host_ports, compile_host_ports(self._pods())
            self._table.put(key, self._host_ports)
            return stale_host_flows(before, self._host_ports, self._settings.node_port_addresses)
        old = self.proxied.pop(key, None)
        service = self._service_of(key)
        new = None if service is None else read_service(service, self._slices_of(key), self.node)
        if new is None:
            self._table.put(key, None)
        else:
            self.proxied[key] = new
            self._table.put(key, compile_service(key, new, self._settings.cluster_cidr))
        return stale_flows(old, new)


def stale_flows(old: ProxiedService | None, new: ProxiedService | None) -> list[Stale]:
    """Which UDP frontends lost a backend or got their first one: flows to anything else have to go."""
    before, after = _udp(old), _udp(new)
    stale = []
    for where, backends in before.items():
        if not backends <= after.get(where, frozenset()):
            stale.append(Stale(*where, after.get(where, frozenset())))
    stale += [Stale(*where, b) for where, b in after.items() if b and not before.get(where)]
    return stale


def stale_host_flows(before: ServiceRules, after: ServiceRules, node_networks: Iterable[str]) -> list[Stale]:
    """The same for host ports. `node_networks`: those of one address are the node's own."""
    own = [network.removesuffix("/32") for network in node_networks if network.endswith("/32")]
    old, new = _udp_host_ports(before, own), _udp_host_ports(after, own)
    return [Stale(*where, new.get(where, frozenset())) for where in {**old, **new} if old.get(where) != new.get(where)]


def _udp_host_ports(rules: ServiceRules, own: Iterable[str]) -> dict[tuple[str, int], frozenset[Backend]]:
    found = {}
    for name in ("host-ports", "host-ports-by-ip"):
        for what, value in rules.elements.get(name, {}).items():
            *address, protocol, port = what.split(" . ")
            backend, _, number = value.partition(" . ")
            if protocol == "udp":
                for each in address or own:
                    found[each, int(port)] = frozenset({Backend(backend, int(number))})
    return found


def _udp(service: ProxiedService | None) -> dict[tuple[str, int], frozenset[Backend]]:
    frontends: Iterable[Frontend] = service.frontends if service is not None else ()
    return {
        (f.address, f.port): frozenset((*f.backends, *f.inside_backends)) for f in frontends if f.protocol == "udp"
    }  # fmt: skip


def _forget(stale: list[Stale]) -> None:
    try:
        count = forget_flows(stale)
    except OSError as error:
        log.warning("tracked UDP flows cannot be forgotten, clients may wait for their timeout: %s", error)
    else:
        if count:
            log.info("forgot %s UDP flows to backends that are gone", count)
