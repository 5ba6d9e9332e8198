"""`provision status`: machines, etcd, apiservers, nodes, certificates. Reads only; a dead host is shown at once."""

import asyncio
import datetime as dt
from dataclasses import asdict, dataclass, field

from cluster.api import resources
from cluster.client.rest import ApiClient
from cluster.machinery.status_errors import ApiError
from cluster.pki.inspect import inspect_certificate
from inventory.model import HostSpec, Role, url_host
from provisioner.errors import ProvisionError
from provisioner.facts.host_facts import read_facts, units_of
from provisioner.machines.base import MachineState
from provisioner.operations import etcd
from provisioner.operations.api_probe import operator_tls, readiness
from provisioner.phases.join_nodes import not_ready
from provisioner.phases.run import Run
from provisioner.transports.ssh import connect

HOST_PATIENCE = 8.0  # seconds until a host counts as unreachable


@dataclass(slots=True)
class HostStatus:
    """One host. Empty strings mean that all is well, or that the host has no such role."""

    name: str
    address: str
    roles: list[str]
    machine: str
    reachable: str = ""
    """Why it is not; empty when it is."""
    release: str = ""
    """Digest of what it runs; empty when it cannot be asked."""
    idle_units: list[str] = field(default_factory=list)
    etcd: str = ""
    """healthy, unhealthy, or empty without the role."""
    apiserver: str = ""
    """ready, or what is wrong; empty without the role."""
    node: str = ""
    """Ready, or why not; empty without the role."""
    certificates_days_left: float | None = None
    """Of the certificate that ends first."""


@dataclass(slots=True)
class ClusterStatus:
    name: str
    kind: str
    """cluster or federation."""
    provider: str
    healthy: bool
    etcd_members: list[str]
    hosts: list[HostStatus]

    def to_json(self) -> dict[str, object]:
        return asdict(self)


async def read_status(run: Run) -> ClusterStatus:
    """Ask everybody at once."""
    machines = await asyncio.to_thread(run.provider.observe, run.spec.hosts)
    hosts = await asyncio.gather(*(_host_status(run, host, machines[host.name]) for host in run.spec.hosts))
    members = await _etcd_members(run)
    nodes = await _node_states(run)
    for status, host in zip(hosts, run.spec.hosts, strict=True):
        if host.has(Role.NODE):
            status.node = nodes.get(host.name, "Ready")
    await asyncio.gather(*(transport.close() for transport in run.transports.values()))
    healthy = all(
        not s.reachable
        and not s.idle_units
        and s.etcd in ("", "healthy")
        and s.apiserver in ("", "ready")
        and s.node in ("", "Ready")
        for s in hosts
    )
    return ClusterStatus(run.spec.name, run.spec.kind, run.spec.provider.value, healthy, members, list(hosts))


async def _host_status(run: Run, host: HostSpec, machine: MachineState) -> HostStatus:
    status = HostStatus(host.name, host.address, sorted(role.value for role in host.roles), machine.value)
    status.certificates_days_left = _days_left(run, host)
    if host.serves_api:
        status.apiserver = await _apiserver(run, f"https://{url_host(host.address)}:6443")
    if machine is not MachineState.RUNNING:
        status.reachable = f"the machine is {machine.value}"
    else:
        try:
            async with asyncio.timeout(HOST_PATIENCE):
                run.transports[host.name] = transport = await connect(host, run.access)
                facts = await read_facts(transport, host)
                status.release = facts.release
                status.idle_units = [unit for unit in units_of(host) if not facts.unit(unit).active]
                if host.has(Role.ETCD):
                    status.etcd = "healthy" if await etcd.is_healthy(transport) else "unhealthy"
        except ProvisionError as error:
            status.reachable = f"{error.what}: {error.why}"
        except TimeoutError:
            status.reachable = f"no answer within {HOST_PATIENCE:g} s"
    if host.has(Role.ETCD) and not status.etcd:
        status.etcd = "unhealthy"
    return status


async def _apiserver(run: Run, url: str) -> str:
    if not (run.home.pki / "admin.crt").exists():
        return "no certificates were issued yet"
    return await readiness(url, operator_tls(run.home.pki)) or "ready"


async def _etcd_members(run: Run) -> list[str]:
    for host in run.spec.with_role(Role.ETCD):
        transport = run.transports.get(host.name)
        if transport is not None and (found := await etcd.members(transport)):
            return [f"{m.name or m.id}{' (learner)' if m.is_learner else ''}" for m in found]
    return []


async def _node_states(run: Run) -> dict[str, str]:
    """Node name -> why it is not Ready; nodes that are do not appear."""
    everyone = {host.name: "the API does not answer" for host in run.spec.with_role(Role.NODE)}
    path = run.home.path / "admin.conf"
    if not everyone or not path.exists():
        return everyone
    try:
        async with (
            asyncio.timeout(HOST_PATIENCE),
            ApiClient.from_kubeconfig(str(path), user_agent="provision") as client,
        ):
            nodes = await client.list(resources.NODES)
            return not_ready(run.spec, nodes["items"])
    except (ApiError, TimeoutError, OSError):
        return everyone


def _days_left(run: Run, host: HostSpec) -> float | None:
    folder = run.home.pki / "hosts" / host.name
    now = dt.datetime.now(dt.UTC)
    days = [inspect_certificate(path.read_bytes()).days_left(now) for path in folder.rglob("*.crt")]
    return round(min(days), 1) if days else None
