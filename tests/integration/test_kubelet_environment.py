"""Environment, missing references, last words, restarts and pull policies, on a real containerd."""

import asyncio
import base64
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from cluster.api import resources
from tests.integration.containerd_host import SHELL_IMAGE, ContainerdHost, missing_programs, running_containerd
from tests.integration.kubelet_node import NodeUnderTest, is_running, running_node, state, statuses, waits_for

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
    name = f"env-{uuid.uuid4().hex[:8]}"
    await api.namespace(name)
    async with running_node(api, host, name) as running:
        yield running


async def config_map(node: NodeUnderTest, name: str, **data: str) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
    await node.client.create(resources.CONFIG_MAPS, body, namespace=node.namespace)


async def secret(node: NodeUnderTest, name: str, **data: str) -> None:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": encoded}
    await node.client.create(resources.SECRETS, body, namespace=node.namespace)


async def test_variables_come_from_everywhere(node: NodeUnderTest) -> None:
    await config_map(node, "conf", color="blue", size="XL")
    await secret(node, "hidden", word="xyzzy")
    await node.create(
        "vars",
        """
        containers:
        - name: main
          command: [sh, -c, "env; sleep 1000"]
          resources: {limits: {memory: 64Mi}, requests: {cpu: 150m}}
          envFrom:
          - {prefix: C_, configMapRef: {name: conf}}
          - {secretRef: {name: nowhere, optional: true}}
          env:
          - {name: A_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
          - {name: A_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
          - {name: A_LABEL, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}
          - {name: A_NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
          - {name: A_LIMIT, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
          - {name: A_CPU, valueFrom: {resourceFieldRef: {resource: requests.cpu, divisor: 1m}}}
          - {name: A_KEY, valueFrom: {configMapKeyRef: {name: conf, key: color}}}
          - {name: A_SECRET, valueFrom: {secretKeyRef: {name: hidden, key: word}}}
          - {name: A_NONE, valueFrom: {secretKeyRef: {name: hidden, key: nothing, optional: true}}}
          - {name: A_BOTH, value: "$(A_KEY)-$(A_SECRET)-$$(A_KEY)-$(A_NONE)"}
        """,
        labels={"app": "demo"},
    )
    pod = await node.until("vars", is_running)
    await asyncio.sleep(0.3)
    found = dict(line.partition("=")[::2] for line in (await node.log("vars")).splitlines())
    wanted = {
        "C_color": "blue", "C_size": "XL", "A_NAME": "vars", "A_IP": pod["status"]["podIP"], "A_LABEL": "demo",
        "A_NODE": node.namespace, "A_LIMIT": "64", "A_CPU": "150", "A_KEY": "blue", "A_SECRET": "xyzzy",
        "A_BOTH": "blue-xyzzy-$(A_KEY)-$(A_NONE)",
    }  # fmt: skip
    assert {key: found.get(key) for key in wanted} == wanted
    assert "A_NONE" not in found


async def test_a_missing_reference_is_waited_for(node: NodeUnderTest) -> None:
    await config_map(node, "partly", other="x")
    container = {"name": "main", "command": ["sleep", "1000"]}

    def wants(reference: dict[str, Any]) -> dict[str, Any]:
        return {"containers": [{**container, "env": [{"name": "X", "valueFrom": reference}]}]}

    await node.create("no-map", wants({"configMapKeyRef": {"name": "late", "key": "k"}}))
    await node.create("no-key", wants({"configMapKeyRef": {"name": "partly", "key": "k"}}))
    await node.create("no-secret", wants({"secretKeyRef": {"name": "none", "key": "k"}}))
    texts = {
        "no-map": 'configmap "late" not found',
        "no-key": f"couldn't find key k in ConfigMap {node.namespace}/partly",
        "no-secret": 'secret "none" not found',
    }
    for name, text in texts.items():
        pod = await node.until(name, waits_for("CreateContainerConfigError"))
        assert state(pod)["waiting"]["message"] == text
        await node.until_event(name, "Failed", f"Error: {text}")
    await config_map(node, "late", k="v")
    await node.until("no-map", is_running, 25)


async def test_a_missing_volume_source_is_waited_for(node: NodeUnderTest) -> None:
    await node.create(
        "mounts",
        """
        volumes: [{name: v, configMap: {name: later}}]
        containers:
        - name: main
          command: [sh, -c, "echo $(cat /v/k); sleep 1000"]
          volumeMounts: [{name: v, mountPath: /v}]
        """,
    )
    event = await node.until_event("mounts", "FailedMount")
    assert event["message"] == 'MountVolume.SetUp failed for volume "v" : configmap "later" not found'
    assert (await node.get("mounts"))["status"]["phase"] == "Pending"
    await config_map(node, "later", k="here")
    await node.until("mounts", is_running, 25)
    await asyncio.sleep(0.3)
    assert await node.log("mounts") == "here\n"


async def test_a_changed_label_is_soon_in_the_file(node: NodeUnderTest) -> None:
    await node.create(
        "told",
        """
        volumes:
        - {name: v, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
        containers: [{name: main, command: [sleep, "1000"], volumeMounts: [{name: v, mountPath: /v}]}]
        """,
        labels={"app": "one"},
    )
    await node.until("told", is_running)
    assert await node.run("told", ["cat", "/v/labels"]) == (0, 'app="one"')
    patch = {"metadata": {"labels": {"app": "two"}}}
    await node.client.patch(resources.PODS, "told", patch, namespace=node.namespace)
    async with asyncio.timeout(5):
        while await node.run("told", ["cat", "/v/labels"]) != (0, 'app="two"'):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_last_words_come_from_the_file_or_else_from_the_log(node: NodeUnderTest) -> None:
    await node.create(
        "words",
        """
        restartPolicy: Never
        containers:
        - {name: file, command: [sh, -c, "printf 'from file' > /dev/termination-log; exit 3"]}
        - name: other
          command: [sh, -c, "printf here > /tmp/words"]
          terminationMessagePath: /tmp/words
        - name: log
          command: [sh, -c, "echo one; echo two >&2; exit 4"]
          terminationMessagePolicy: FallbackToLogsOnError
        - name: fine
          command: [sh, -c, "echo unheard"]
          terminationMessagePolicy: FallbackToLogsOnError
        - name: long
          command: [sh, -c, "head -c 100000 /dev/zero | tr '\\\\0' x > /dev/termination-log"]
        """,
    )
    pod = await node.until("words", lambda p: p["status"].get("phase") == "Failed")
    found = {s["name"]: s["state"]["terminated"] for s in statuses(pod)}
    assert (found["file"]["message"], found["file"]["exitCode"], found["file"]["reason"]) == ("from file", 3, "Error")
    assert (found["other"]["message"], found["other"]["reason"]) == ("here", "Completed")
    assert sorted(found["log"]["message"].split()) == ["one", "two"]
    assert "message" not in found["fine"]
    assert found["long"]["message"] == "x" * 4096


async def test_restarts_wait_longer_each_time(node: NodeUnderTest) -> None:
    await node.create("crash", {"containers": [{"name": "main", "command": ["sh", "-c", "echo run; exit 5"]}]})
    await node.create("nothing", {"containers": [{"name": "main", "command": ["/no/such/program"]}]})
    pod = await node.until("crash", waits_for("CrashLoopBackOff"))
    text = f"back-off 10s restarting failed container=main pod=crash_{node.namespace}({pod['metadata']['uid']})"
    assert state(pod)["waiting"]["message"] == text
    assert statuses(pod)[0]["restartCount"] == 1  # the first restart is at once
    assert (pod["status"]["phase"], statuses(pod)[0]["lastState"]["terminated"]["exitCode"]) == ("Running", 5)
    await node.until_event("crash", "BackOff", "Back-off restarting failed container main in pod")
    began = time.monotonic()
    pod = await node.until("crash", lambda p: "back-off 20s" in state(p).get("waiting", {}).get("message", ""), 25)
    assert 8 < time.monotonic() - began < 14
    assert statuses(pod)[0]["restartCount"] == 2
    assert await node.log("crash", query="previous=true") == "run\n"
    pod = await node.until("nothing", lambda p: statuses(p) and statuses(p)[0]["restartCount"] >= 1)
    assert "/no/such/program" in str(statuses(pod)[0])
    pod = await node.until("nothing", waits_for("CrashLoopBackOff"))
    assert statuses(pod)[0]["lastState"]["terminated"]["reason"] == "StartError"


async def test_images_are_taken_as_the_policy_says(node: NodeUnderTest) -> None:
    cases = {
        "never-here": (SHELL_IMAGE, "Never"),
        "never-there": ("hanse.local/none:1", "Never"),
        "always": ("127.0.0.1:1/none:1", "Always"),
        "bad-name": ("UPPER CASE", "IfNotPresent"),
    }
    for name, (image, policy) in cases.items():
        container = {"name": "main", "command": ["sleep", "1000"], "image": image, "imagePullPolicy": policy}
        await node.create(name, {"containers": [container]})
    await node.until("never-here", is_running)
    pod = await node.until("never-there", waits_for("ErrImageNeverPull"))
    text = 'Container image "hanse.local/none:1" is not present with pull policy of Never'
    assert state(pod)["waiting"]["message"] == text
    await node.until_event("always", "Pulling", 'Pulling image "127.0.0.1:1/none:1"')
    await node.until(
        "always", lambda p: state(p).get("waiting", {}).get("reason") in ("ErrImagePull", "ImagePullBackOff")
    )
    await node.until("bad-name", waits_for("InvalidImageName"))
    await node.delete("always")
    await node.until_gone("always", 5)
