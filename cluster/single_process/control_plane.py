"""
Apiserver, controller manager and scheduler in this process, on an embedded store: a control plane without etcd.

The three are the same as on a master, and talk through the API over loopback; there is one of each, so nobody is
elected.
"""

import asyncio
import base64
import contextlib
import importlib
import ipaddress
import logging
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import orjson

from cluster import settings
from cluster.apiserver import options
from cluster.client.kubeconfig import ClientConfig
from cluster.client.rest import ApiClient
from cluster.single_process.identity import (
    ADMIN,
    CONTROLLER_MANAGER,
    NODES,
    SCHEDULER,
    Identity,
    ensure_identity,
    write_private,
)

log = logging.getLogger(__name__)

ISSUER = "https://kubernetes.default.svc.cluster.local"
_CONTEXT = "hanse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    data_dir: Path | None = None
    """None: objects are in memory, keys in a temporary directory, and all is gone in the end."""
    bind_address: str = "127.0.0.1"
    secure_port: int = settings.APISERVER_PORT
    """0 takes one that is free."""
    service_cluster_ip_range: str = settings.SERVICE_CIDR
    kubeconfig_out: Path | None = None
    """None: `kubeconfig` in the data directory."""
    hollow_nodes: int = 0
    """Ready Nodes without machines, so that Pods are bound."""


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """One that runs."""

    url: str
    kubeconfig: Path
    run_parts: Callable[[], Awaitable[None]]
    """Controllers, scheduler and hollow nodes, until cancelled."""


@contextlib.asynccontextmanager
async def running(wanted: Settings) -> AsyncIterator[ControlPlane]:
    """
    Its apiserver serves while the block runs.

    Raises:
        OSError: The port is taken, or the data directory cannot be written.
        ValueError: A file in the data directory, or a setting, cannot be used.
    """
    with contextlib.ExitStack() as stack:
        directory = wanted.data_dir
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hanse-")))
            store = "embedded://:memory:"
        else:
            directory = directory.absolute()
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            store = f"embedded://{quote(str(directory / 'store.db'))}"
        network = ipaddress.ip_network(wanted.service_cluster_ip_range.split(",")[0])
        service_address = str(network.network_address + 1)
        address = _reachable(wanted.bind_address)
        identity = ensure_identity(directory, addresses=(address,), service_address=service_address)
        from cluster.apiserver.app import Apiserver

        server = Apiserver(_flags(wanted, store, directory, identity))
        try:
            async with server.run():
                host = f"[{address}]" if ":" in address else address
                url = f"https://{host}:{server.port}"
                kubeconfig = (wanted.kubeconfig_out or directory / "kubeconfig").absolute()
                write_private(kubeconfig, _kubeconfig(url, identity))
                yield ControlPlane(url, kubeconfig, lambda: _run_parts(url, identity, wanted))
        finally:
            await server.etcd.close()


def _reachable(bind_address: str) -> str:
    """The address that goes into the kubeconfig."""
    address = ipaddress.ip_address(bind_address)
    return ("::1" if address.version == 6 else "127.0.0.1") if address.is_unspecified else str(address)


def _flags(wanted: Settings, store: str, directory: Path, identity: Identity) -> options.Options:
    return options.parse(
        [
            f"--etcd-servers={store}", f"--bind-address={wanted.bind_address}", f"--secure-port={wanted.secure_port}",
            f"--cert-dir={directory / 'pki'}", f"--tls-cert-file={identity.certificate}",
            f"--tls-private-key-file={identity.key}", f"--client-ca-file={identity.ca}",
            f"--token-auth-file={identity.token_file}", "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction", "--enable-bootstrap-token-auth=true",
            f"--service-account-key-file={identity.service_account_public}",
            f"--service-account-signing-key-file={identity.service_account_key}",
            f"--service-account-issuer={ISSUER}", f"--service-cluster-ip-range={wanted.service_cluster_ip_range}",
        ]
    )  # fmt: skip


def _kubeconfig(url: str, identity: Identity) -> bytes:
    """JSON, which is YAML too: nothing needs to be loaded to write it."""
    authority = base64.b64encode(identity.ca.read_bytes()).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": _CONTEXT,
        "clusters": [{"name": _CONTEXT, "cluster": {"server": url, "certificate-authority-data": authority}}],
        "users": [{"name": _CONTEXT, "user": {"token": identity.tokens[ADMIN]}}],
        "contexts": [{"name": _CONTEXT, "context": {"cluster": _CONTEXT, "user": _CONTEXT}}],
    }
    return orjson.dumps(config, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


async def _run_parts(url: str, identity: Identity, wanted: Settings) -> None:
    """Their code is loaded beside the server that already answers."""
    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:

        async def client(user: str, agent: str) -> ApiClient:
            config = ClientConfig(servers=(url,), ca_file=identity.ca, token=identity.tokens[user])
            return await stack.enter_async_context(ApiClient(config, user_agent=agent))

        await asyncio.to_thread(importlib.import_module, "cluster.controller_manager.manager")
        from cluster.controller_manager.context import ManagerSettings
        from cluster.controller_manager.manager import run_controllers

        managed = ManagerSettings(
            allocate_node_cidrs=True,
            cluster_cidr=settings.POD_CIDR,
            root_ca_file=identity.ca,
            service_account_key_file=identity.service_account_key,
            signing_cert_file=identity.ca,
            signing_key_file=identity.ca_key,
        )
        manager = await client(CONTROLLER_MANAGER, "kube-controller-manager")
        tasks.create_task(run_controllers(manager, managed, wanted="*", own_accounts=True), name="controllers")
        await asyncio.to_thread(importlib.import_module, "cluster.scheduler.scheduler")
        from cluster.scheduler.scheduler import Scheduler

        tasks.create_task(Scheduler(await client(SCHEDULER, "kube-scheduler")).run(), name="scheduler")
        if wanted.hollow_nodes:
            from cluster.single_process.hollow_nodes import HollowNodes

            nodes = HollowNodes(await client(NODES, "hollow-nodes"), wanted.hollow_nodes)
            tasks.create_task(nodes.run(), name="hollow nodes")
