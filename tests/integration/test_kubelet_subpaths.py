"""subPath mounts on a real containerd: files, directories, expressions, and the ways out that must be shut."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.containerd_host import ContainerdHost, missing_programs, running_containerd
from tests.integration.kubelet_node import NodeUnderTest, is_running, running_node, state, waits_for

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
    name = f"sub-{uuid.uuid4().hex[:8]}"
    await api.namespace(name)
    async with running_node(api, host, name) as running:
        yield running


async def test_directories_files_and_expressions_are_mounted(node: NodeUnderTest) -> None:
    await node.create(
        "subs",
        """
        volumes: [{name: v, emptyDir: {}}]
        initContainers:
        - name: fill
          command: [sh, -c, "mkdir -p /v/a/b; echo deep > /v/a/b/file; ln -s a/b /v/inside"]
          volumeMounts: [{name: v, mountPath: /v}]
        containers:
        - name: main
          command: [sleep, "1000"]
          env: [{name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
          volumeMounts:
          - {name: v, mountPath: /dir, subPath: a/b}
          - {name: v, mountPath: /file, subPath: a/b/file, readOnly: true}
          - {name: v, mountPath: /link, subPath: inside}
          - {name: v, mountPath: /own, subPathExpr: made/$(NAME)}
        """,
    )
    await node.until("subs", is_running)
    assert await node.run("subs", ["cat", "/dir/file", "/file", "/link/file"]) == (0, "deep\n" * 3)
    assert (await node.run("subs", ["sh", "-c", "echo x > /file"]))[0] != 0
    assert (await node.run("subs", ["sh", "-c", "echo x > /own/x"]))[0] == 0
    pod_dir = node.kubelet.settings.pods_dir / (await node.get("subs"))["metadata"]["uid"]
    made = pod_dir / "volumes/kubernetes.io~empty-dir/v/made/subs/x"
    assert await asyncio.to_thread(made.read_text) == "x\n"
    await node.delete("subs", gracePeriodSeconds=0)
    await asyncio.to_thread(_wait_gone, pod_dir)


def _wait_gone(path: Path) -> None:
    import time

    deadline = time.monotonic() + 15
    while path.exists():
        assert time.monotonic() < deadline, f"{path} is still there"
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("made", "sub_path"),
    [
        ("ln -s / /v/out", "out"),
        ("ln -s /etc /v/out", "out/cron.d"),
        ("ln -s ../../../../../../../../../etc /v/out", "out"),
        ("ln -s /etc/shadow /v/out", "out"),
        ("mkdir /v/a; ln -s / /v/a/b", "a/b/new/dir"),
    ],
)
async def test_a_link_out_of_the_volume_is_refused(node: NodeUnderTest, made: str, sub_path: str) -> None:
    await node.create(
        "escape",
        f"""
        volumes: [{{name: v, emptyDir: {{}}}}]
        initContainers:
        - name: fill
          command: [sh, -c, "{made}"]
          volumeMounts: [{{name: v, mountPath: /v}}]
        containers:
        - name: main
          command: [sleep, "1000"]
          volumeMounts: [{{name: v, mountPath: /got, subPath: {sub_path}}}]
        """,
    )
    pod = await node.until("escape", waits_for("CreateContainerConfigError"))
    assert "leads out of its volume" in state(pod)["waiting"]["message"]
    assert not await asyncio.to_thread(Path("/new/dir").exists)
    await node.delete("escape", gracePeriodSeconds=0)


async def test_what_is_swapped_after_the_check_is_not_followed(node: NodeUnderTest) -> None:
    """A container that turns the directory into a link, again and again, while its neighbour restarts."""
    await node.create(
        "race",
        """
        volumes: [{name: v, emptyDir: {}}]
        containers:
        - name: swap
          command:
          - sh
          - -c
          - "mkdir -p /v/d; while :; do mv /v/d /v/e; ln -s / /v/d; rm /v/d; mv /v/e /v/d; done"
          volumeMounts: [{name: v, mountPath: /v}]
        - name: main
          command: [sh, -c, "ls /got/containerd.log /got/root /got/proc 2>/dev/null && touch /v/escaped; exit 1"]
          volumeMounts: [{name: v, mountPath: /got, subPath: d}, {name: v, mountPath: /v}]
        """,
    )
    worker = None
    for _ in range(60):
        await asyncio.sleep(0.2)
        if worker is None:
            worker = next(iter(node.kubelet.workers.values()), None)
        if worker is not None:  # no back-off: the more starts, the more chances
            worker._backoff.forget("main")
            worker._retry_at.clear()
            worker.wake()
    run = worker.observed.latest("main") if worker is not None else None
    assert run is not None
    assert run.attempt > 5
    code, output = await node.run("race", ["ls", "/v"], "swap")
    assert (code, "escaped" in output) == (0, False)
    await node.delete("race", gracePeriodSeconds=0)
