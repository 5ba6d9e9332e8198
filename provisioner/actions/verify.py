"""
`provision verify`: run a small workload over two nodes and use everything a workload uses; then take it away again.

Checks: scheduling over nodes, Pod to Pod, Service, DNS, the API from within a Pod. Each is one line.
"""

import asyncio
import secrets
from collections.abc import Callable
from typing import Any, NamedTuple

import aiohttp

from cluster.api import resources
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError, NotFound
from cluster.settings import WEB_DEMO_IMAGE
from inventory.model import Role
from provisioner.errors import ProvisionError
from provisioner.operations.api_probe import operator_tls
from provisioner.operations.pod_exec import exec_in_pod
from provisioner.phases.run import Run

RUN_PATIENCE = 60.0  # seconds until two Pods run; the image is on every node
ANSWER_PATIENCE = 15.0  # seconds until rules and names have reached every node
REMOVAL_PATIENCE = 30.0  # seconds until the namespace is gone; one or two are usual
_ASK_AGAIN = 0.3  # seconds

_DEPLOYMENTS = resources.named("deployments.apps")
_NAMESPACES = resources.named("namespaces")
_PAGE = "/"
_CURL = "curl --silent --show-error --fail --max-time 3"
_LABELS = {"app": "hanse-verify"}


class Check(NamedTuple):
    """One thing that was tried."""

    name: str
    ok: bool
    said: str


async def verify_cluster(run: Run, report: Callable[[str], None]) -> list[Check]:
    """All checks, also when one fails. Raises ProvisionError when there is no cluster to try."""
    config = run.home.path / "admin.conf"
    if not config.exists():
        raise ProvisionError(
            f"cluster {run.spec.name} cannot be verified", why="it has no kubeconfig yet",
            next_step=f"Run `provision cluster {run.spec.name}` first.",
        )  # fmt: skip
    namespace = f"hanse-verify-{secrets.token_hex(3)}"
    async with ApiClient.from_kubeconfig(str(config), user_agent="provision-verify") as client:
        checks = _Checks(run, client, namespace, report)
        try:
            await checks.run_all()
        except ApiError as error:
            checks.note("the API serves", False, str(error))
        finally:
            await checks.clean_up()
    return checks.done


class _Checks:
    """The workload of one verification and what was found out with it."""

    def __init__(self, run: Run, client: ApiClient, namespace: str, report: Callable[[str], None]) -> None:
        self._run, self._client, self._namespace, self._report = run, client, namespace, report
        self._tls = operator_tls(run.home.pki)
        self.done: list[Check] = []

    def note(self, name: str, ok: bool, said: str) -> None:
        self.done.append(Check(name, ok, said))
        self._report(f"{'ok    ' if ok else 'FAILED'}  {name}: {said}")

    async def run_all(self) -> None:
        nodes = await self._free_nodes()
        await self._client.create(_NAMESPACES, _named("v1", "Namespace", self._namespace))
        await self._client.create(_DEPLOYMENTS, _deployment(spread=nodes > 1), namespace=self._namespace)
        service = await self._client.create(resources.SERVICES, _service(), namespace=self._namespace)
        pods = await self._wait_pods()
        if len(pods) < 2:
            return
        on = sorted({pod["spec"]["nodeName"] for pod in pods})
        self.note("two Pods run", nodes < 2 or len(on) == 2, f"on {' and '.join(on)}")
        here, there = (pod["metadata"]["name"] for pod in pods)
        await self._fetch("Pod to Pod", here, f"http://{pods[1]['status']['podIP']}{_PAGE}", there)
        await self._fetch("Service", here, f"http://{service['spec']['clusterIP']}{_PAGE}", "hello from")
        name = f"web.{self._namespace}.svc.{self._run.spec.network.domain}"
        await self._fetch("DNS", here, f"http://{name}{_PAGE}", "hello from")
        account = "/var/run/secrets/kubernetes.io/serviceaccount"
        header = f'--header "Authorization: Bearer $(cat {account}/token)"'
        url = "https://kubernetes.default.svc/version"
        await self._shell("API from a Pod", here, f"{_CURL} --cacert {account}/ca.crt {url} {header}", "gitVersion")

    async def clean_up(self) -> None:
        """Returns when the namespace is gone, with all that was in it."""
        try:
            await self._client.delete(_NAMESPACES, self._namespace)
            async with asyncio.timeout(REMOVAL_PATIENCE):
                while True:
                    await self._client.get(_NAMESPACES, self._namespace)
                    await asyncio.sleep(_ASK_AGAIN)
        except NotFound:
            return
        except TimeoutError:
            self.note("clean up", False, f"namespace {self._namespace} is still there after {REMOVAL_PATIENCE:g} s")
        except ApiError as error:
            self.note("clean up", False, f"namespace {self._namespace} remains: {error}")

    async def _free_nodes(self) -> int:
        """Nodes that take Pods without tolerations."""
        nodes = (await self._client.list(resources.NODES))["items"]
        wanted = {host.name for host in self._run.spec.with_role(Role.NODE)}
        hard = ("NoSchedule", "NoExecute")
        return sum(
            node["metadata"]["name"] in wanted
            and not any(taint["effect"] in hard for taint in node["spec"].get("taints", []))
            for node in nodes
        )

    async def _wait_pods(self) -> list[Object]:
        pods: list[Object] = []
        try:
            async with asyncio.timeout(RUN_PATIENCE):
                while True:
                    pods = (await self._client.list(resources.PODS, namespace=self._namespace))["items"]
                    ready = [pod for pod in pods if _is_ready(pod)]
                    if len(ready) >= 2:
                        return ready[:2]
                    await asyncio.sleep(_ASK_AGAIN)
        except TimeoutError:
            said = "; ".join(f"{pod['metadata']['name']} is {_why_not_ready(pod)}" for pod in pods) or "no Pod was made"
            self.note("two Pods run", False, f"not within {RUN_PATIENCE:g} s: {said}")
            return []

    async def _fetch(self, name: str, pod: str, url: str, expected: str) -> None:
        await self._shell(name, pod, f"{_CURL} {url}", expected)

    async def _shell(self, name: str, pod: str, script: str, expected: str) -> None:
        """Rules and names reach nodes a moment after the objects exist, so it is tried again for a while."""
        said = "no answer"
        server = self._run.spec.api_servers[0]
        try:
            async with asyncio.timeout(ANSWER_PATIENCE):
                while True:
                    try:
                        result = await exec_in_pod(server, self._tls, self._namespace, pod, ["sh", "-c", script])
                    except (aiohttp.ClientError, OSError) as error:
                        said = str(error)
                    else:
                        said = (
                            " ".join((result.stdout or result.stderr).split())[:200] or f"exit code {result.exit_code}"
                        )
                        if result.exit_code == 0 and expected in result.stdout:
                            self.note(name, True, said[:80])
                            return
                    await asyncio.sleep(_ASK_AGAIN)
        except TimeoutError:
            self.note(name, False, f"`{script.split(' --header')[0]}` in {pod}: {said}")


def _is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _why_not_ready(pod: Object) -> str:
    status = pod.get("status", {})
    for container in status.get("containerStatuses", []):
        if waiting := container.get("state", {}).get("waiting"):
            return f"{waiting.get('reason', 'waiting')} {waiting.get('message', '')}".strip()
    for condition in status.get("conditions", []):
        if condition["status"] != "True" and condition.get("message"):
            return str(condition["message"])
    return str(status.get("phase", "unknown"))


def _named(api_version: str, kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}}


def _deployment(*, spread: bool) -> dict[str, Any]:
    constraint = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": _LABELS},
    }
    container = {"name": "web", "image": WEB_DEMO_IMAGE, "imagePullPolicy": "Never", "ports": [{"containerPort": 80}]}
    pod: dict[str, Any] = {"terminationGracePeriodSeconds": 0, "containers": [container]}
    if spread:
        pod["topologySpreadConstraints"] = [constraint]
    return {
        **_named("apps/v1", "Deployment", "web"),
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": _LABELS},
            "template": {"metadata": {"labels": _LABELS}, "spec": pod},
        },
    }


def _service() -> dict[str, Any]:
    return {**_named("v1", "Service", "web"), "spec": {"selector": _LABELS, "ports": [{"port": 80, "targetPort": 80}]}}
