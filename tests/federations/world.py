"""
A whole federation under test: its apiserver and its controller manager as processes, members as fakes in this one.

Between all of them are proxies that can be cut. Used by the federation's benchmark, its chaos and its tests of members
that are not like ours.
"""

import asyncio
import base64
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cluster.api import resources
from cluster.client.kubeconfig import load_kubeconfig
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import AlreadyExists, ApiError
from federation.api.kinds import CLUSTER_VERSION, SYSTEM_NAMESPACE
from federation.api.resources import CLUSTERS
from tests.fakes.fake_member import FakeMember
from tests.fakes.member.peculiarities import Peculiarities
from tests.federations.proxy import Proxy
from tests.histories.servers import Server
from tests.integration.control_plane_processes import KUBECONFIG, TOKEN
from tests.ports import free_ports

START_SECONDS = 30.0


@dataclass
class World:
    home: Path
    api: ApiClient
    """An administrator's, straight to the federation's apiserver."""
    apiserver: Server
    manager: Server
    to_api: Proxy
    """Between the controller manager and the apiserver."""
    members: dict[str, FakeMember] = field(default_factory=dict)
    to_members: dict[str, Proxy] = field(default_factory=dict)
    _stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    async def add(
        self, name: str, behaves: Peculiarities | None = None, *, loss: float = 0.0, **labels: str
    ) -> FakeMember:
        """A new member, behind a proxy. It is registered as an old token of a user would: without a login of ours."""
        member = await self._stack.enter_async_context(FakeMember(name, behaves))
        proxy = await self._stack.enter_async_context(Proxy(_port(member.url), loss=loss))
        self.members[name], self.to_members[name] = member, proxy
        await register(self.api, name, f"http://127.0.0.1:{proxy.port}", labels)
        return member

    async def phases(self) -> dict[str, str]:
        found = await self.api.list(CLUSTERS)
        return {one["metadata"]["name"]: (one.get("status") or {}).get("phase", "") for one in found["items"]}

    async def wait_phase(self, *names: str, phase: str = "Ready", seconds: float = START_SECONDS) -> None:
        """Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while True:
                phases = await self.phases()
                if all(phases.get(name) == phase for name in names):
                    return
                await asyncio.sleep(0.05)

    async def start_manager(self) -> None:
        await self.manager.start()

    async def start_apiserver(self) -> None:
        await self.apiserver.start()
        await wait_ready(self.api, self.apiserver)


async def wait_ready(api: ApiClient, server: Server) -> None:
    """Raises TimeoutError; RuntimeError when the process has ended."""
    async with asyncio.timeout(START_SECONDS):
        while True:
            with contextlib.suppress(ApiError):
                await api.request("GET", "/readyz")
                return
            if server.process is not None and server.process.returncode is not None:
                raise RuntimeError(f"{server.name} ended: {server.log.read_text(errors='replace')[-2000:]}")
            await asyncio.sleep(0.05)


async def register(api: ApiClient, name: str, url: str, labels: Mapping[str, str]) -> None:
    """A Cluster and the Secret with a kubeconfig for it."""
    described = {
        "current-context": "m",
        "contexts": [{"name": "m", "context": {"cluster": "m", "user": "m"}}],
        "clusters": [{"name": "m", "cluster": {"server": url}}],
        "users": [{"name": "m", "user": {"token": "anything"}}],
    }
    kubeconfig = base64.b64encode(json.dumps(described).encode()).decode()
    metadata = {"name": f"cluster-{name}", "namespace": SYSTEM_NAMESPACE}
    secret: Object = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"kubeconfig": kubeconfig}}
    spec = {
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": url}],
        "secretRef": {"name": f"cluster-{name}"},
    }
    cluster: Object = {
        "apiVersion": CLUSTER_VERSION,
        "kind": "Cluster",
        "metadata": {"name": name, "labels": dict(labels)},
        "spec": spec,
    }
    await api.create(resources.SECRETS, secret)
    await api.create(CLUSTERS, cluster)


@contextlib.asynccontextmanager
async def world(
    home: Path, members: int = 0, behaves: Mapping[str, Peculiarities] | None = None, *, flags: tuple[str, ...] = ()
) -> AsyncIterator[World]:
    """
    One that runs, with members m0, m1, … that are registered and may still be Pending.

    Args:
        home: An empty directory.
        behaves: Peculiar members by name, also of names beyond `members`.
        flags: Of the controller manager, besides.
    """
    [port] = free_ports(1)
    (home / "tokens.csv").write_text(f'{TOKEN},admin,1,"system:masters"\n')
    python, ca = (sys.executable, "-m"), home / "certs" / "apiserver.crt"
    apiserver = Server(
        "federation-apiserver",
        f"https://127.0.0.1:{port}",
        [
            *python, "federation.apiserver", f"--etcd-servers=embedded://{home}/store.db", f"--secure-port={port}",
            "--bind-address=127.0.0.1", f"--cert-dir={home}/certs", f"--token-auth-file={home}/tokens.csv",
            "--authorization-mode=RBAC",
        ],
        home / "apiserver.log",
    )  # fmt: skip
    async with contextlib.AsyncExitStack() as stack:
        to_api = await stack.enter_async_context(Proxy(port))
        for name, at in (("admin", port), ("manager", to_api.port)):
            (home / f"{name}.kubeconfig").write_text(KUBECONFIG.format(port=at, ca=ca, token=TOKEN))
        manager = Server(
            "federation-controller-manager",
            "",
            [*python, "federation.controller_manager", f"--kubeconfig={home}/manager.kubeconfig",
             "--leader-elect=false", *flags],
            home / "manager.log",
        )  # fmt: skip
        await apiserver.start()
        stack.push_async_callback(stop, apiserver)
        config = load_kubeconfig(home / "admin.kubeconfig")
        while not ca.exists():
            if apiserver.process is not None and apiserver.process.returncode is not None:
                raise RuntimeError(f"the apiserver ended: {apiserver.log.read_text(errors='replace')[-2000:]}")
            await asyncio.sleep(0.02)
        api = await stack.enter_async_context(ApiClient(config, user_agent="kubectl"))
        await wait_ready(api, apiserver)
        found = World(home, api, apiserver, manager, to_api, _stack=stack)
        await _make_system_namespace(api)
        wanted = {**{f"m{at}": Peculiarities() for at in range(members)}, **(behaves or {})}
        for name, one in wanted.items():
            await found.add(name, one)
        stack.push_async_callback(stop, manager)
        await manager.start()
        yield found


async def _make_system_namespace(api: ApiClient) -> None:
    namespace: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM_NAMESPACE}}
    with contextlib.suppress(AlreadyExists):
        await api.create(resources.NAMESPACES, namespace)


async def stop(server: Server) -> None:
    """As a host's init would."""
    server.signal(signal.SIGCONT)
    server.signal(signal.SIGTERM)
    if server.process is not None:
        try:
            async with asyncio.timeout(15):
                await server.process.wait()
        except TimeoutError:
            await server.kill()


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])
