"""Pods that end at odd moments, kubelets that restart, static pods; on a real containerd."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from cluster.api import resources
from cluster.kubelet import kubelet as kubelet_module
from cluster.machinery.status_errors import NotFound
from tests.integration.containerd_host import SHELL_IMAGE, ContainerdHost, missing_programs, running_containerd
from tests.integration.kubelet_node import NodeUnderTest, is_ready, is_running, running_node, state, statuses, waits_for

if TYPE_CHECKING:
    from tests.integration.conftest import Api

LACKING = missing_programs()
pytestmark = pytest.mark.skipif(bool(LACKING), reason=f"a real containerd needs {', '.join(LACKING)} here")


@pytest.fixture(scope="module")
def host() -> Iterator[ContainerdHost]:
    with running_containerd() as found:
        yield found


async def nothing_left(node: NodeUnderTest, uid: str) -> None:
    async with asyncio.timeout(10):
        while True:
            directories = await asyncio.to_thread(_directories, node, uid)
            if not directories and not await node.kubelet.runtime.list_sandboxes(uid):
                break
            await asyncio.sleep(0.1)
    assert not await node.kubelet.runtime.list_containers(uid)


def _directories(node: NodeUnderTest, uid: str) -> list[str]:
    logs = node.host.directory / "logs"
    found = [p for p in logs.iterdir() if uid in p.name] if logs.exists() else []
    return [str(p) for p in (*found, node.kubelet.settings.pods_dir / uid) if p.exists()]


async def test_a_deletion_goes_on_after_a_restart_of_the_kubelet(api: "Api", host: ContainerdHost) -> None:
    await api.namespace("end-restart")
    async with running_node(api, host, "end-restart") as node:
        await node.create(
            "slow",
            """
            terminationGracePeriodSeconds: 3
            containers: [{name: main, command: [sh, -c, "trap '' TERM; while :; do sleep 0.2; done"]}]
            """,
        )
        await node.create("stays", "containers: [{name: main, command: [sleep, '1000']}]")
        uid = (await node.until("slow", is_running))["metadata"]["uid"]
        before = statuses(await node.until("stays", is_ready))
        await node.delete("slow")
        await asyncio.sleep(0.5)
    async with running_node(api, host, "end-restart") as node:
        began = time.monotonic()
        await node.until_gone("slow")
        assert time.monotonic() - began < 8
        await nothing_left(node, uid)
        assert statuses(await node.get("stays")) == before


async def test_what_was_deleted_while_the_kubelet_was_down_is_taken_away(api: "Api", host: ContainerdHost) -> None:
    await api.namespace("end-orphan")
    async with running_node(api, host, "end-orphan") as node:
        await node.create("lost", "containers: [{name: main, command: [sleep, '1000']}]")
        uid = (await node.until("lost", is_running))["metadata"]["uid"]
    async with running_node(api, host, "end-other") as other:
        other.namespace = "end-orphan"
        await other.delete("lost", gracePeriodSeconds=0)
    async with running_node(api, host, "end-orphan") as node:
        await nothing_left(node, uid)


async def test_a_pod_can_go_while_it_pulls_and_while_it_crashes(api: "Api", host: ContainerdHost) -> None:
    await api.namespace("end-pull")
    connected = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await reader.read()
        with contextlib.suppress(ConnectionError):
            writer.close()

    registry = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = registry.sockets[0].getsockname()[1]
    async with running_node(api, host, "end-pull") as node:
        container = {"name": "main", "image": f"127.0.0.1:{port}/never:1"}
        pulling = await node.create("pulls", {"containers": [container], "terminationGracePeriodSeconds": 30})
        crashing = await node.create("crashes", {"containers": [{"name": "main", "command": ["false"]}]})
        await asyncio.wait_for(connected.wait(), 10)
        await node.until("crashes", waits_for("CrashLoopBackOff"))
        began = time.monotonic()
        await node.delete("pulls")
        await node.delete("crashes")
        await node.until_gone("pulls")
        await node.until_gone("crashes")
        assert time.monotonic() - began < 4
        for pod in (pulling, crashing):
            await nothing_left(node, pod["metadata"]["uid"])
    registry.close()


STATIC = f"""
apiVersion: v1
kind: Pod
metadata: {{name: web, namespace: end-static, labels: {{v: "%s"}}}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{{name: main, image: "{SHELL_IMAGE}", command: [sleep, "1000"]}}]
"""


async def test_a_static_pod_has_a_mirror_that_follows_its_file(
    api: "Api", host: ContainerdHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubelet_module, "STATIC_SECONDS", 0.5)
    await api.namespace("end-static")
    manifest = host.directory / "static" / "web.yaml"
    await asyncio.to_thread(manifest.parent.mkdir)
    await asyncio.to_thread(manifest.write_text, STATIC % "1")
    name = "web-end-static"
    async with running_node(api, host, "end-static", pod_manifest_path=str(manifest.parent)) as node:
        await node.until_new(name, "")
        mirror = await node.until(name, is_ready)
        assert mirror["metadata"]["annotations"]["kubernetes.io/config.source"] == "file"
        assert mirror["metadata"]["ownerReferences"][0]["kind"] == "Node"
        first = statuses(mirror)[0]["containerID"]
        await node.delete(name, gracePeriodSeconds=0)  # the mirror is only an image: the pod runs on
        await node.until_new(name, mirror["metadata"]["uid"])
        again = await node.until(name, is_ready)
        assert statuses(again)[0]["containerID"] == first
        await asyncio.to_thread(manifest.write_text, STATIC % "2")
        await node.until_new(name, again["metadata"]["uid"])
        changed = await node.until(name, lambda p: p["metadata"]["labels"]["v"] == "2" and is_ready(p))
        assert statuses(changed)[0]["containerID"] != first
        await asyncio.to_thread(manifest.unlink)
        await node.until_gone(name)
        async with asyncio.timeout(10):
            while node.kubelet.workers:  # noqa: ASYNC110  # the workers tell nobody
                await asyncio.sleep(0.1)
        assert not await node.kubelet.runtime.list_sandboxes()
        with pytest.raises(NotFound):
            await node.get(name)


async def test_a_pod_that_crashes_is_seen_by_the_next_kubelet(api: "Api", host: ContainerdHost) -> None:
    await api.namespace("end-state")
    async with running_node(api, host, "end-state") as node:
        await node.create("once", "restartPolicy: Never\ncontainers: [{name: main, command: [sh, -c, 'exit 4']}]")
        pod = await node.until("once", lambda p: p["status"].get("phase") == "Failed")
    async with running_node(api, host, "end-state") as node:
        await asyncio.sleep(2)
        after: Any = await node.get("once")
        assert state(after)["terminated"] == state(pod)["terminated"]
        assert len(await node.kubelet.runtime.list_containers(pod["metadata"]["uid"])) == 1
        await node.client.delete(resources.PODS, "once", namespace=node.namespace)
        await node.until_gone("once")
        await nothing_left(node, pod["metadata"]["uid"])
