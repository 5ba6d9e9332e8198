"""
Real apiserver, controller manager and scheduler as processes, on a real etcd and on the embedded store; the nodes are
objects without a kubelet.

An etcd of its own, because Nodes and the scheduler's view belong to a whole cluster. It is found as conftest.py does.
"""

import asyncio
import contextlib
import os
import pathlib
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cluster.api import resources
from cluster.client.kubeconfig import load_kubeconfig
from cluster.client.rest import ApiClient
from cluster.machinery.status_errors import ApiError, NotFound
from tests.ports import free_port

_DIRECTORIES = (os.environ.get("PATH", ""), os.environ.get("HANSE_ETCD_BIN", ""), "/opt/hanse/current/bin")
ETCD = shutil.which("etcd", path=os.pathsep.join(d for d in _DIRECTORIES if d))
ROOT = pathlib.Path(__file__).parents[2]
needs_etcd = pytest.mark.skipif(
    ETCD is None, reason="etcd is not installed; put it on PATH or name its folder in HANSE_ETCD_BIN"
)

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: test
contexts: [{{name: test, context: {{cluster: test, user: test}}}}]
clusters: [{{name: test, cluster: {{server: "https://127.0.0.1:{port}", insecure-skip-tls-verify: true}}}}]
users: [{{name: test, user: {{token: test-token}}}}]
"""


@contextlib.asynccontextmanager
async def running(log: pathlib.Path, *argv: str) -> AsyncIterator[None]:
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*argv, cwd=ROOT, stdout=output, stderr=output)
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


async def eventually(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    for _ in range(150):
        with contextlib.suppress(ApiError):
            if await condition():
                return
        await asyncio.sleep(0.1)
    pytest.fail(f"not within 15 s: {what}")


@contextlib.asynccontextmanager
async def store(home: pathlib.Path, kind: str) -> AsyncIterator[str]:
    """The address of an empty one."""
    if kind == "embedded":
        yield f"embedded://{home}/store.db"
        return
    client_port, peer_port = free_port(), free_port()
    peer, client = f"http://127.0.0.1:{peer_port}", f"http://127.0.0.1:{client_port}"
    etcd = running(
        home / "etcd.log", str(ETCD), f"--data-dir={home}/etcd", f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}", f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}",
    )  # fmt: skip
    async with etcd:
        yield client


@contextlib.asynccontextmanager
async def control_plane(home: pathlib.Path, kind: str) -> AsyncIterator[ApiClient]:
    key = ec.generate_private_key(ec.SECP256R1())
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (home / "sa.key").write_bytes(key.private_bytes(*plain))
    (home / "sa.pub").write_bytes(key.public_key().public_bytes(*public))
    (home / "tokens.csv").write_text('test-token,admin,1,"system:masters"\n')
    port = free_port()
    config = home / "kubeconfig"
    config.write_text(KUBECONFIG.format(port=port))
    python = (sys.executable, "-m")
    flags = (f"--kubeconfig={config}", "--leader-elect=false", "--secure-port=0")
    async with contextlib.AsyncExitStack() as stack:
        address = await stack.enter_async_context(store(home, kind))
        await stack.enter_async_context(
            running(
                home / "apiserver.log", *python, "cluster.apiserver", f"--etcd-servers={address}",
                f"--secure-port={port}", "--bind-address=127.0.0.1", f"--cert-dir={home}/certs",
                f"--service-account-key-file={home}/sa.pub", f"--service-account-signing-key-file={home}/sa.key",
                "--service-account-issuer=https://kubernetes.default.svc", f"--token-auth-file={home}/tokens.csv",
                "--authorization-mode=Node,RBAC", "--service-cluster-ip-range=10.96.0.0/16",
            )
        )  # fmt: skip
        client = await stack.enter_async_context(ApiClient(load_kubeconfig(config)))

        async def ready() -> bool:
            return await client.request("GET", "/readyz") == b"ok"

        await eventually(ready, "the apiserver is ready")
        for service in ("controller_manager", "scheduler"):
            await stack.enter_async_context(running(home / f"{service}.log", *python, f"cluster.{service}", *flags))
        yield client


async def add_node(client: ApiClient, name: str) -> None:
    await client.create(
        resources.NODES,
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}},
    )
    room = {"cpu": "4", "memory": "8Gi", "pods": "110"}
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
    status = {"capacity": room, "allocatable": room, "conditions": [ready]}
    await client.patch(resources.NODES, name, {"status": status}, subresource="status")


def deployment(namespace: str, replicas: int) -> dict[str, object]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "web:1"}]},
            },
        },
    }


@pytest.mark.parametrize("kind", [pytest.param("etcd", marks=needs_etcd), "embedded"])
async def test_a_deployment_is_spread_over_nodes_and_leaves_nothing_behind(tmp_path: pathlib.Path, kind: str) -> None:
    async with control_plane(tmp_path, kind) as client:
        for number in range(3):
            await add_node(client, f"n{number}")
        await client.create(
            resources.NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}
        )

        async def account() -> bool:
            return bool(await client.get(resources.SERVICE_ACCOUNTS, "default", namespace="team"))

        await eventually(account, "the namespace has its default account")
        await client.create(resources.DEPLOYMENTS, deployment("team", 6))

        async def spread() -> bool:
            pods = (await client.list(resources.PODS, namespace="team"))["items"]
            return sorted(p["spec"].get("nodeName", "") for p in pods) == ["n0", "n0", "n1", "n1", "n2", "n2"]

        await eventually(spread, "six pods are bound, two a node")
        await client.delete(resources.DEPLOYMENTS, "web", namespace="team")

        async def collected() -> bool:
            left = await client.list(resources.REPLICA_SETS, namespace="team")
            pods = await client.list(resources.PODS, namespace="team")
            return not left["items"] and all("deletionTimestamp" in p["metadata"] for p in pods["items"])

        await eventually(collected, "replica set and pods follow their deployment")
        await client.delete(resources.NAMESPACES, "team")

        async def gone() -> bool:
            try:
                await client.get(resources.NAMESPACES, "team")
            except NotFound:
                return True
            for pod in (await client.list(resources.PODS, namespace="team"))["items"]:  # what a kubelet would do
                options = {"gracePeriodSeconds": 0}
                await client.delete(resources.PODS, pod["metadata"]["name"], namespace="team", options=options)
            return False

        await eventually(gone, "the namespace is emptied and gone")
