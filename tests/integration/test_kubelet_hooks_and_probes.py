"""Lifecycle hooks, probes and grace periods, on a real containerd with a real apiserver."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest

from cluster.api import resources
from tests.integration.containerd_host import ContainerdHost, missing_programs, running_containerd
from tests.integration.kubelet_node import NodeUnderTest, is_ready, is_running, running_node, state, statuses

if TYPE_CHECKING:
    from tests.integration.conftest import Api

LACKING = missing_programs()
pytestmark = pytest.mark.skipif(bool(LACKING), reason=f"a real containerd needs {', '.join(LACKING)} here")


@pytest.fixture(scope="module")
def host() -> Iterator[ContainerdHost]:
    with running_containerd() as found:
        yield found


@pytest.fixture
async def node(api: "Api", host: ContainerdHost, request: pytest.FixtureRequest) -> AsyncIterator[NodeUnderTest]:
    name = f"hooks-{uuid.uuid4().hex[:8]}"
    await api.namespace(name)
    async with running_node(api, host, name) as running:
        yield running


async def test_hooks_run_after_the_start_and_before_the_stop(node: NodeUnderTest) -> None:
    shared = f"{node.host.directory}/hooks"
    await node.create(
        "hooked",
        f"""
        terminationGracePeriodSeconds: 5
        volumes: [{{name: v, hostPath: {{path: {shared}, type: DirectoryOrCreate}}}}]
        containers:
        - name: main
          command: [sh, -c, "trap 'echo term >> /v/log; exit 0' TERM; while :; do sleep 0.1; done"]
          volumeMounts: [{{name: v, mountPath: /v}}]
          lifecycle:
            postStart: {{exec: {{command: [sh, -c, "echo started >> /v/log"]}}}}
            preStop: {{exec: {{command: [sh, -c, "echo stopping >> /v/log; sleep 1; echo slept >> /v/log"]}}}}
        - name: web
          command: [sh, -c, "mkdir -p /tmp/w; echo hi > /tmp/w/x; exec httpd -f -v -p 8080 -h /tmp/w 2> /v/web"]
          volumeMounts: [{{name: v, mountPath: /v}}]
          ports: [{{name: http, containerPort: 8080}}]
          lifecycle:
            preStop: {{httpGet: {{path: /x, port: http}}}}
        - name: pause
          command: [sh, -c, "trap 'date +%s > /v/paused; exit 0' TERM; while :; do sleep 0.1; done"]
          volumeMounts: [{{name: v, mountPath: /v}}]
          lifecycle: {{preStop: {{sleep: {{seconds: 2}}}}}}
        """,
    )
    await node.until("hooked", is_running)
    began = time.time()
    await node.delete("hooked")
    await node.until_gone("hooked")
    log = await asyncio.to_thread((node.host.directory / "hooks" / "log").read_text)
    assert log.split() == ["started", "stopping", "slept", "term"]
    assert "200" in await asyncio.to_thread((node.host.directory / "hooks" / "web").read_text)
    paused = int(await asyncio.to_thread((node.host.directory / "hooks" / "paused").read_text))
    assert 1 <= paused - began < 5


async def test_a_failed_post_start_hook_ends_the_container(node: NodeUnderTest) -> None:
    await node.create(
        "bad-hook",
        """
        containers:
        - name: main
          command: [sleep, "1000"]
          lifecycle: {postStart: {exec: {command: [sh, -c, "echo no way; exit 3"]}}}
        """,
    )
    event = await node.until_event("bad-hook", "FailedPostStartHook")
    assert "no way" in event["message"]
    pod = await node.until("bad-hook", lambda p: statuses(p) and statuses(p)[0]["restartCount"] >= 1)
    assert statuses(pod)[0]["lastState"]["terminated"]["exitCode"] == 137


async def test_a_startup_probe_holds_the_other_probes_back(node: NodeUnderTest) -> None:
    await node.create(
        "slow",
        """
        containers:
        - name: main
          command: [sh, -c, "sleep 3; touch /tmp/up; mkdir /tmp/w; echo ok > /tmp/w/ok; httpd -f -p 8080 -h /tmp/w"]
          ports: [{name: http, containerPort: 8080}]
          startupProbe: {exec: {command: [test, -e, /tmp/up]}, periodSeconds: 1, failureThreshold: 10}
          livenessProbe: {tcpSocket: {port: http}, periodSeconds: 1, failureThreshold: 2}
          readinessProbe: {httpGet: {path: /ok, port: 8080}, periodSeconds: 1}
        """,
    )
    pod = await node.until("slow", lambda p: state(p).get("running"))
    assert (statuses(pod)[0]["started"], statuses(pod)[0]["ready"]) == (False, False)
    pod = await node.until("slow", is_ready)
    assert statuses(pod)[0]["restartCount"] == 0
    messages = [e["message"] for e in await node.events("slow")]
    assert not [m for m in messages if m.startswith("Liveness")]
    assert [m for m in messages if m.startswith("Startup probe failed")]


async def test_probes_end_and_unready_containers(node: NodeUnderTest) -> None:
    await node.create(
        "sick",
        """
        terminationGracePeriodSeconds: 30
        containers:
        - name: main
          command:
          - sh
          - -c
          - |
            trap '' TERM
            mkdir /tmp/w; echo ok > /tmp/w/ok
            httpd -f -p 8080 -h /tmp/w & echo $! > /tmp/pid
            while :; do sleep 0.2; done
          livenessProbe:
            tcpSocket: {port: 8080}
            periodSeconds: 1
            failureThreshold: 2
            terminationGracePeriodSeconds: 1
          readinessProbe: {httpGet: {path: /ok, port: 8080}, periodSeconds: 1, failureThreshold: 1}
        """,
    )
    await node.until("sick", is_ready)
    await node.run("sick", ["rm", "/tmp/w/ok"])
    await node.until("sick", lambda p: not is_ready(p))
    await node.until_event("sick", "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 404")
    began = time.monotonic()
    assert (await node.run("sick", ["sh", "-c", "kill -9 $(cat /tmp/pid)"]))[0] == 0
    pod = await node.until("sick", lambda p: statuses(p)[0]["restartCount"] == 1)
    assert time.monotonic() - began < 15  # the probe's own grace period of 1 s, not the pod's 30 s
    assert statuses(pod)[0]["lastState"]["terminated"]["exitCode"] == 137
    await node.until_event("sick", "Unhealthy", ":8080: connect: connection refused")
    killing = await node.until_event("sick", "Killing")
    assert killing["message"] == "Container main failed liveness probe, will be restarted"


async def test_the_grace_period_ends_with_a_kill_and_can_be_cut(node: NodeUnderTest) -> None:
    stubborn = """
        terminationGracePeriodSeconds: {seconds}
        containers: [{{name: main, command: [sh, -c, "trap '' TERM; while :; do sleep 0.2; done"]}}]
        """
    await node.create("short", stubborn.format(seconds=2))
    await node.create("long", stubborn.format(seconds=60))
    await node.until("short", is_running)
    await node.until("long", is_running)
    began = time.monotonic()
    await node.delete("short")
    await node.delete("long")
    await node.until_gone("short")
    assert 2 <= time.monotonic() - began < 6
    await node.delete("long", gracePeriodSeconds=1)
    await node.until_gone("long", 6)


async def test_a_pod_that_others_call_unready_is_called_ready_again(node: NodeUnderTest) -> None:
    await node.create("steady", "containers: [{name: main, command: [sleep, '1000']}]")
    await node.until("steady", is_ready)
    # As the controller manager does with the Pods of a node that it does not hear of.
    unready = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    done = await node.client.patch(
        resources.PODS, "steady", unready, namespace=node.namespace, patch_type="strategic", subresource="status"
    )
    assert not is_ready(done)
    await node.until("steady", is_ready)
