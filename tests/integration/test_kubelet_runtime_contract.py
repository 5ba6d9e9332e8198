"""What the kubelet relies on in a container runtime: the real one and the fake alike."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cluster.kubelet.cri_runtime import CriRuntime
from cluster.kubelet.runtime import (
    CONTAINER_NAME_LABEL,
    POD_UID_LABEL,
    ContainerRuntime,
    ContainerSecurity,
    ContainerSpec,
    ContainerState,
    DnsConfig,
    Image,
    LinuxResources,
    Namespaces,
    RuntimeFault,
    SandboxSpec,
)
from tests.fakes.fake_runtime import FakeRuntime
from tests.integration.containerd_host import SHELL_IMAGE, missing_programs, running_containerd

LACKING = missing_programs()


@pytest.fixture(params=["fake", "containerd"])
async def runtime(request: pytest.FixtureRequest) -> AsyncIterator[ContainerRuntime]:
    if request.param == "fake":
        yield FakeRuntime(images={SHELL_IMAGE: Image("sha256:1", (SHELL_IMAGE,), (), 1)})
        return
    if LACKING:
        pytest.skip(f"a real containerd needs {', '.join(LACKING)} here")
    with contextlib.ExitStack() as stack:
        host = await asyncio.to_thread(stack.enter_context, running_containerd())
        async with CriRuntime(host.endpoint) as real:
            yield real


def sandbox_spec(directory: Path) -> SandboxSpec:
    return SandboxSpec("p", "ns", "uid-1", 0, "p", str(directory), DnsConfig(("192.0.2.53",)), "", Namespaces(),
                       labels={POD_UID_LABEL: "uid-1"})  # fmt: skip


def container_spec(image: Image) -> ContainerSpec:
    return ContainerSpec(
        name="c",
        attempt=0,
        image=image.id,
        command=("sleep", "1000"),
        args=(),
        working_dir="",
        env=(("A", "1"),),
        mounts=(),
        labels={POD_UID_LABEL: "uid-1", CONTAINER_NAME_LABEL: "c"},
        annotations={"k": "v"},
        log_path="c/0.log",
        resources=LinuxResources(),
        security=ContainerSecurity(),
    )


async def test_a_pod_lives_and_dies(runtime: ContainerRuntime, tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    assert all(c.status for c in await runtime.conditions())
    image = await runtime.image_status(SHELL_IMAGE)
    assert image is not None
    sandbox_id = await runtime.run_sandbox(sandbox_spec(tmp_path))
    status = await runtime.sandbox_status(sandbox_id)
    assert status is not None
    assert status.ready
    assert status.ips
    container_id = await runtime.create_container(sandbox_id, container_spec(image), sandbox_spec(tmp_path))
    (summary,) = await runtime.list_containers("uid-1")
    assert (summary.sandbox_id, summary.name, summary.state) == (sandbox_id, "c", ContainerState.CREATED)
    await runtime.start_container(container_id)
    assert (await runtime.exec_sync(container_id, ["true"], 5)).exit_code == 0
    await runtime.stop_container(container_id, 0)
    ended = await runtime.container_status(container_id)
    assert ended is not None
    assert (ended.state, ended.exit_code, ended.annotations["k"]) == (ContainerState.EXITED, 137, "v")
    await runtime.stop_sandbox(sandbox_id)
    assert [s.ready for s in await runtime.list_sandboxes("uid-1")] == [False]
    await runtime.remove_container(container_id)
    await runtime.remove_sandbox(sandbox_id)
    assert await runtime.sandbox_status(sandbox_id) is None
    assert not await runtime.list_containers("uid-1")


async def test_what_is_gone_is_gone_quietly(runtime: ContainerRuntime) -> None:
    assert await runtime.container_status("nothing") is None
    assert await runtime.sandbox_status("nothing") is None
    assert await runtime.image_status("hanse.local/none:1") is None
    await runtime.stop_container("nothing", 1)
    await runtime.remove_container("nothing")
    await runtime.stop_sandbox("nothing")
    await runtime.remove_sandbox("nothing")
    with pytest.raises(RuntimeFault):
        await runtime.start_container("nothing")
