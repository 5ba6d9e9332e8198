"""
One node under test: a kubelet over a real containerd, with a real apiserver, all in this process.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import yaml

from cluster.api import resources
from cluster.client.kubeconfig import load_kubeconfig
from cluster.client.rest import ApiClient
from cluster.kubelet.cri_runtime import CriRuntime
from cluster.kubelet.kubelet import Kubelet
from cluster.kubelet.server import serving
from cluster.kubelet.settings import KubeletSettings
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import NotFound
from tests.integration.conftest import TOKEN
from tests.integration.containerd_host import SHELL_IMAGE, ContainerdHost
from tests.ports import free_ports

if TYPE_CHECKING:
    from tests.integration.conftest import Api

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: test
contexts: [{{name: test, context: {{cluster: test, user: test}}}}]
clusters: [{{name: test, cluster: {{server: "{url}", certificate-authority: {ca}}}}}]
users: [{{name: test, user: {{token: {token}}}}}]
"""

Predicate = Callable[[Object], Any]


@dataclass
class NodeUnderTest:
    client: ApiClient
    kubelet: Kubelet
    host: ContainerdHost
    session: aiohttp.ClientSession
    namespace: str
    url: str = field(default="")

    async def create(self, name: str, spec: str | Mapping[str, Any], **metadata: Any) -> Object:
        """A pod bound to this node; `spec` is YAML. Containers without an image get the shell's."""
        body: dict[str, Any] = dict(yaml.safe_load(spec) if isinstance(spec, str) else spec)
        for container in [*body.get("initContainers", ()), *body["containers"]]:
            container.setdefault("image", SHELL_IMAGE)
        defaults = {
            "nodeName": self.kubelet.settings.node_name,
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
        }
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": {**defaults, **body}}
        return await self.client.create(resources.PODS, pod, namespace=self.namespace)

    async def get(self, name: str) -> Object:
        return await self.client.get(resources.PODS, name, namespace=self.namespace)

    async def delete(self, name: str, **options: Any) -> None:
        await self.client.delete(resources.PODS, name, namespace=self.namespace, options=options)

    async def until(self, name: str, holds: Predicate, seconds: float = 20) -> Object:
        """Waits until the pod in the API is so; the failure shows how it was instead."""
        pod: Object = {}
        try:
            async with asyncio.timeout(seconds):
                while True:
                    pod = await self.get(name)
                    if holds(pod):
                        return pod
                    await asyncio.sleep(0.05)
        except TimeoutError:
            events = [f"{e['reason']}: {e['message']}" for e in await self.events(name)]
            raise AssertionError(f"pod {name} is {pod.get('status')} after {seconds} s; events {events}") from None

    async def until_new(self, name: str, old_uid: str, seconds: float = 20) -> Object:
        """Another pod of the same name."""
        async with asyncio.timeout(seconds):
            while True:
                with contextlib.suppress(NotFound):
                    pod = await self.get(name)
                    if pod["metadata"]["uid"] != old_uid:
                        return pod
                await asyncio.sleep(0.05)

    async def until_gone(self, name: str, seconds: float = 20) -> None:
        with contextlib.suppress(NotFound):
            await self.until(name, lambda _: False, seconds)

    async def events(self, name: str) -> list[Object]:
        found = await self.client.list(resources.named("events"), namespace=self.namespace)
        return [e for e in found["items"] if e["involvedObject"]["name"] == name]

    async def until_event(self, name: str, reason: str, text: str = "", seconds: float = 15) -> Object:
        """The first event with that reason whose message contains `text`."""
        async with asyncio.timeout(seconds):
            while True:
                for event in await self.events(name):
                    if event["reason"] == reason and text in event["message"]:
                        return event
                await asyncio.sleep(0.1)

    async def log(self, name: str, container: str = "main", query: str = "") -> str:
        async with self.session.get(
            f"{self.url}/containerLogs/{self.namespace}/{name}/{container}?{query}"
        ) as answer:  # fmt: skip
            text = await answer.text()
            assert answer.status == 200, text
            return text

    async def run(self, name: str, command: Sequence[str], container: str = "main") -> tuple[int, str]:
        """exec without a terminal: exit code and output."""
        run = self.worker(name).observed.latest(container)
        assert run is not None
        result = await self.kubelet.runtime.exec_sync(run.id, command, 10)
        return result.exit_code, (result.stdout + result.stderr).decode()

    def worker(self, name: str) -> Any:
        return next(w for w in self.kubelet.workers.values() if w.pod["metadata"]["name"] == name)


def is_running(pod: Object) -> bool:
    return bool(pod.get("status", {}).get("phase") == "Running" and all(s.get("started") for s in statuses(pod)))


def is_ready(pod: Object) -> bool:
    return condition(pod, "Ready") == "True"


def condition(pod: Object, kind: str) -> str:
    conditions = pod.get("status", {}).get("conditions") or ()
    return str(next((c["status"] for c in conditions if c["type"] == kind), ""))


def statuses(pod: Object) -> list[Object]:
    return pod.get("status", {}).get("containerStatuses") or []


def state(pod: Object, container: str = "main") -> Object:
    """{"waiting"|"running"|"terminated": …}"""
    return next((s["state"] for s in statuses(pod) if s["name"] == container), {})


def waits_for(reason: str) -> Predicate:
    return lambda pod: (state(pod).get("waiting") or {}).get("reason") == reason


@contextlib.asynccontextmanager
async def running_node(
    api: "Api", host: ContainerdHost, namespace: str, **settings: Any
) -> AsyncIterator[NodeUnderTest]:
    """A kubelet for the length of the block. What it runs stays, as after a stop of the kubelet."""
    directory = host.directory
    kubeconfig = directory / "kubelet.conf"
    text = KUBECONFIG.format(url=api.url, ca=api.server.serving[0], token=TOKEN)
    await asyncio.to_thread(kubeconfig.write_text, text)
    port = free_ports(1)[0]
    given: dict[str, Any] = {
        "node_name": namespace,
        "node_ips": ("127.0.0.1",),
        "runtime_endpoint": host.endpoint,
        "root_dir": f"{directory}/kubelet",
        "log_dir": f"{directory}/logs",
        "address": "127.0.0.1",
        "port": port,
        "healthz_port": 0,
        "anonymous_auth": True,
        "authorization_mode": "AlwaysAllow",
        "eviction_disk": "1",
        "eviction_memory": "1",
        "status_interval": 1.0,
    }
    connector = aiohttp.TCPConnector(ssl=trusting())
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(ApiClient(load_kubeconfig(kubeconfig)))
        runtime = await stack.enter_async_context(CriRuntime(host.endpoint))
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        kubelet = Kubelet(KubeletSettings(**{**given, **settings}), runtime, client)
        await stack.enter_async_context(serving(kubelet))
        task = asyncio.create_task(kubelet.run())
        try:
            yield NodeUnderTest(client, kubelet, host, session, namespace, f"https://127.0.0.1:{port}")
        finally:
            ended = task.done()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert not ended, f"the kubelet ended by itself: {task.exception()!r}"


def trusting() -> ssl.SSLContext:
    """A context for a kubelet whose certificate nobody signed."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def read(path: Path) -> str:
    return path.read_text()
