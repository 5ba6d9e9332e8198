"""A whole kubelet over a real containerd: a static pod runs, is asked, survives a restart of the kubelet, and goes."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from cluster.kubelet.cri_runtime import CriRuntime
from cluster.kubelet.kubelet import Kubelet
from cluster.kubelet.server import serving
from cluster.kubelet.settings import KubeletSettings
from tests.integration.containerd_host import ContainerdHost, missing_programs, running_containerd

LACKING = missing_programs()
pytestmark = pytest.mark.skipif(bool(LACKING), reason=f"a real containerd needs {', '.join(LACKING)} here")

PORT = 31787
POD = """
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: default}
spec:
  terminationGracePeriodSeconds: 1
  volumes:
  - {name: scratch, emptyDir: {medium: Memory}}
  initContainers:
  - name: prepare
    image: hanse.local/busybox:1
    command: [sh, -c, "echo prepared > /scratch/file"]
    volumeMounts: [{name: scratch, mountPath: /scratch}]
  containers:
  - name: main
    image: hanse.local/busybox:1
    command: [sh, -c, "cat /scratch/file; sleep 1000"]
    readinessProbe: {exec: {command: ["true"]}, periodSeconds: 1}
    volumeMounts: [{name: scratch, mountPath: /scratch}]
"""


@contextlib.asynccontextmanager
async def running_kubelet(host: ContainerdHost) -> AsyncIterator[Kubelet]:
    directory = host.directory
    settings = KubeletSettings(
        node_name="n1",
        runtime_endpoint=host.endpoint,
        root_dir=f"{directory}/kubelet",
        log_dir=f"{directory}/logs",
        pod_manifest_path=f"{directory}/static",
        address="127.0.0.1",
        port=PORT,
        healthz_port=0,
        anonymous_auth=True,
        authorization_mode="AlwaysAllow",
    )
    async with CriRuntime(host.endpoint) as runtime:
        kubelet = Kubelet(settings, runtime, None)
        async with serving(kubelet):
            task = asyncio.create_task(kubelet.run())
            try:
                yield kubelet
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


async def eventually(what: Callable[[], Awaitable[bool]] | Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while True:
            answer = what()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.1)


def is_ready(kubelet: Kubelet) -> bool:
    return any(
        c["type"] == "Ready" and c["status"] == "True"
        for worker in kubelet.workers.values()
        for c in worker.last_status.get("conditions") or ()
    )


async def run_command(session: aiohttp.ClientSession, pod: str, query: str, stdin: bytes) -> dict[int, bytes]:
    """Channel -> all that came on it."""
    url = f"https://127.0.0.1:{PORT}/exec/default/{pod}/main?{query}&input=1&output=1&error=1"
    found: dict[int, bytes] = {}
    async with session.ws_connect(url, protocols=["v5.channel.k8s.io"]) as socket:
        if stdin:
            await socket.send_bytes(b"\x00" + stdin)
        await socket.send_bytes(bytes([255, 0]))
        async for message in socket:
            found[message.data[0]] = found.get(message.data[0], b"") + message.data[1:]
    return found


async def test_a_static_pod_runs_answers_survives_and_goes() -> None:
    with contextlib.ExitStack() as stack:
        host = await asyncio.to_thread(stack.enter_context, running_containerd())
        manifest = host.directory / "static" / "web.yaml"
        await asyncio.to_thread(manifest.parent.mkdir)
        await asyncio.to_thread(manifest.write_text, POD)
        async with running_kubelet(host) as kubelet:
            await eventually(lambda: is_ready(kubelet))
            await _ask(kubelet)
            (worker,) = kubelet.workers.values()
            before = worker.observed.latest("main")
        async with running_kubelet(host) as kubelet:
            await eventually(lambda: is_ready(kubelet))
            (worker,) = kubelet.workers.values()
            assert worker.observed.latest("main") == before
            await asyncio.to_thread(manifest.unlink)
            await eventually(lambda: not kubelet.workers)
            assert not await kubelet.runtime.list_sandboxes()
            assert not await asyncio.to_thread(_left, host.directory / "kubelet" / "pods")


def _left(directory: Path) -> list[Path]:
    return list(directory.iterdir())


async def _ask(kubelet: Kubelet) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector) as session:
        async with session.get(f"https://127.0.0.1:{PORT}/containerLogs/default/web-n1/main") as answer:
            assert await answer.text() == "prepared\n"
        found = await run_command(session, "web-n1", "command=sh&command=-c&command=echo+e+>%262;exit+7", b"")
        assert found[2] == b"e\n"
        verdict = json.loads(found[3])
        assert verdict["details"]["causes"] == [{"reason": "ExitCode", "message": "7"}]
        piped = bytes(range(256)) * 2000
        found = await run_command(session, "web-n1", "command=cat", piped)
        assert found[1] == piped
        assert json.loads(found[3])["status"] == "Success"
        async with session.get(f"https://127.0.0.1:{PORT}/stats/summary") as answer:
            pods = (await answer.json())["pods"]
        assert [c["name"] for c in pods[0]["containers"]] == ["main"]
