"""The kubelet as a service: eviction, certificates and callers, its start and its end."""

import asyncio
import contextlib
import os
import signal
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import psutil
import pytest

from cluster.client import serving_tls
from cluster.kubelet import eviction
from cluster.kubelet.cri_runtime import CriRuntime
from cluster.kubelet.node_status import Pressure
from cluster.kubelet.runtime import ContainerState
from cluster.kubelet.serving_certificate import ensure_serving_pair
from tests.integration.conftest import TOKEN
from tests.integration.containerd_host import SHELL_IMAGE, ContainerdHost, missing_programs, running_containerd
from tests.integration.kubelet_node import condition, is_running, running_node, trusting
from tests.ports import free_ports

if TYPE_CHECKING:
    from tests.integration.conftest import Api

LACKING = missing_programs()
pytestmark = pytest.mark.skipif(bool(LACKING), reason=f"a real containerd needs {', '.join(LACKING)} here")
GIB = 1 << 30


@pytest.fixture(scope="module")
def host() -> Iterator[ContainerdHost]:
    with running_containerd() as found:
        yield found


@pytest.mark.parametrize(("resource", "eaten"), [("memory", "memory"), ("disk", "ephemeral-storage")])
async def test_the_greediest_pod_is_evicted_and_no_other(
    api: "Api", host: ContainerdHost, monkeypatch: pytest.MonkeyPatch, resource: str, eaten: str
) -> None:
    name = f"evict-{resource}"
    await api.namespace(name)
    left = {"memory": GIB, "disk": GIB}
    monkeypatch.setattr(
        eviction, "read_pressure", lambda _: Pressure(left["memory"], left["disk"], 10 * GIB, 1, 1000)
    )  # fmt: skip
    async with running_node(api, host, name, eviction_memory="100Mi", eviction_disk="100Mi") as node:
        await node.create("modest", "containers: [{name: main, command: [sleep, '1000']}]")
        await node.create(
            "greedy",
            """
            terminationGracePeriodSeconds: 60
            volumes: [{name: m, emptyDir: {medium: Memory}}]
            containers:
            - name: main
              volumeMounts: [{name: m, mountPath: /m}]
              command:
              - sh
              - -c
              - |
                trap '' TERM
                dd if=/dev/zero of=/m/big bs=1M count=40; dd if=/dev/zero of=/big bs=1M count=40; touch /done
                while :; do sleep 0.2; done
            """,
        )
        await node.until("modest", is_running)
        await node.until("greedy", is_running)
        async with asyncio.timeout(10):
            while (await node.run("greedy", ["test", "-e", "/done"]))[0]:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        await asyncio.sleep(0 if resource == "memory" else 10.5)  # the runtime measures disk every ten seconds
        assert await node.kubelet.eviction.look() is None
        left[resource] = 50 << 20
        chosen = await node.kubelet.eviction.look()
        assert chosen is not None
        left[resource] = GIB
        pod = await node.until("greedy", lambda p: p["status"].get("phase") == "Failed", 5)
        assert pod["status"]["reason"] == "Evicted"
        assert pod["status"]["message"].startswith(f"The node was low on resource: {eaten}. Threshold quantity: 100Mi")
        assert condition(pod, "DisruptionTarget") == "True"
        assert is_running(await node.get("modest"))
        await node.create("late", "containers: [{name: main, command: [sleep, '1000']}]")
        await node.until("late", lambda p: p["status"].get("phase") == "Failed")
        await node.kubelet.eviction.look()
        await node.create("later", "containers: [{name: main, command: [sleep, '1000']}]")
        await node.until("later", is_running)


async def test_callers_are_known_and_allowed_by_the_apiserver(api: "Api", host: ContainerdHost) -> None:
    await api.namespace("callers")
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "kubelet-test-stats"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "kubelet-test-stats"},
        "subjects": [{"kind": "User", "name": "system:anonymous", "apiGroup": "rbac.authorization.k8s.io"}],
    }
    role = {
        **binding,
        "kind": "ClusterRole",
        "rules": [{"apiGroups": [""], "resources": ["nodes/stats"], "verbs": ["get"]}],
    }
    role = {k: v for k, v in role.items() if k not in ("roleRef", "subjects")}
    for plural, body in (("clusterroles", role), ("clusterrolebindings", binding)):
        assert (await api.call("POST", f"/apis/rbac.authorization.k8s.io/v1/{plural}", body))[0] == 201
    async with running_node(api, host, "callers", authorization_mode="Webhook", anonymous_auth=True) as node:
        await asyncio.sleep(0.3)

        async def status(path: str, token: str = "") -> tuple[int, str]:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            async with node.session.get(f"{node.url}{path}", headers=headers) as answer:
                return answer.status, await answer.text()

        assert (await status("/pods", TOKEN))[0] == 200
        assert await status("/pods", "nobody's") == (401, "Unauthorized")
        assert (await status("/stats/summary"))[0] == 200
        code, text = await status("/pods")
        assert code == 403
        assert text == (
            "Forbidden (user=system:anonymous, verb=get, resource=nodes, subresource(s)=[pods proxy])\n"
        )  # fmt: skip
        code, text = await status("/exec/a/b/c?command=x&output=1")
        assert (code, "subresource(s)=[proxy]" in text) == (403, True)


async def test_a_renewed_serving_certificate_is_taken_up(
    api: "Api", host: ContainerdHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_tls, "CHECK_INTERVAL", 0.2)
    await api.namespace("certs")
    pairs = [ensure_serving_pair(host.directory / f"pki{n}", f"node-{n}", ()) for n in range(2)]
    used = [host.directory / "used.crt", host.directory / "used.key"]

    def install(number: int) -> None:
        for source, target in zip(pairs[number], used, strict=True):
            target.write_bytes(source.read_bytes())

    await asyncio.to_thread(install, 0)
    files = {"tls_cert_file": str(used[0]), "tls_key_file": str(used[1])}
    async with running_node(api, host, "certs", **files) as node:
        port = node.kubelet.settings.port
        first = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))
        await asyncio.to_thread(install, 1)
        async with asyncio.timeout(5):
            while await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port)) == first:  # noqa: ASYNC110
                await asyncio.sleep(0.1)


MANIFEST = f"""
apiVersion: v1
kind: Pod
metadata: {{name: lives, namespace: default}}
spec:
  containers: [{{name: main, image: "{SHELL_IMAGE}", command: [sh, -c, "echo up; sleep 1000"]}}]
"""


async def test_the_service_starts_soon_stays_small_and_ends_at_once(host: ContainerdHost) -> None:
    static, port, health = host.directory / "manifests", *free_ports(2)
    await asyncio.to_thread(static.mkdir)
    await asyncio.to_thread((static / "p.yaml").write_text, MANIFEST)
    certificate, key = await asyncio.to_thread(ensure_serving_pair, host.directory / "svc-pki", "svc", ())
    argv = [
        sys.executable, "-m", "cluster.kubelet", "--hostname-override=svc", f"--root-dir={host.directory}/svc",
        f"--pod-logs-dir={host.directory}/svc-logs", f"--container-runtime-endpoint={host.endpoint}",
        f"--pod-manifest-path={static}", "--address=127.0.0.1", f"--port={port}", f"--healthz-port={health}",
        "--anonymous-auth=true", "--authorization-mode=AlwaysAllow", "--node-ip=127.0.0.1",
        f"--tls-cert-file={certificate}", f"--tls-private-key-file={key}",
    ]  # fmt: skip
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *argv, cwd=Path(__file__).parents[2], env={**os.environ, "PYTHONPATH": "."}
    )
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting())) as session:
            await _answers(session, f"http://127.0.0.1:{health}/healthz", "ok")
            started = time.monotonic() - began
            url = f"https://127.0.0.1:{port}/containerLogs/default/lives-svc/main"
            await _answers(session, url, "up\n")
            memory = psutil.Process(process.pid).memory_info().rss
            async with (
                session.get(f"{url}?follow=true") as following,
                session.ws_connect(
                    f"https://127.0.0.1:{port}/exec/default/lives-svc/main?command=cat&input=1&output=1"
                ),
            ):  # both are open when the kubelet is told to end
                assert await following.content.readline() == b"up\n"
                told = time.monotonic()
                process.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(process.wait(), 5) == 0
                ended = time.monotonic() - told
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    print(f"started in {started:.2f} s, {memory / 1e6:.0f} MB, ended in {ended:.2f} s")
    assert started < 10
    assert memory < 80e6
    assert ended < 2
    async with CriRuntime(host.endpoint) as runtime:
        (sandbox,) = [s for s in await runtime.list_sandboxes() if s.name == "lives-svc"]
        (container,) = await runtime.list_containers(sandbox.uid)
        assert (sandbox.ready, container.state) == (True, ContainerState.RUNNING)


async def _answers(session: aiohttp.ClientSession, url: str, text: str) -> None:
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(url) as answer:
                    if answer.status == 200 and await answer.text() == text:
                        return
            await asyncio.sleep(0.05)
