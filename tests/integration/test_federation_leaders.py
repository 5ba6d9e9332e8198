"""Of several controller managers of a federation one works; when it is killed, another one goes on where it was."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cluster.api import resources
from cluster.client.rest import ApiClient
from federation.api.refs import placement_key
from federation.api.resources import CLUSTERS, PLACEMENTS
from tests.integration.control_plane_processes import process
from tests.integration.federation_members import eventually, get
from tests.integration.federation_processes import federation_apiserver
from tests.integration.placing import cluster, config_map, config_map_ref

LEASES = resources.named("leases.coordination.k8s.io")
LEASE = "federation-controller-manager"
BRIEF = ("--leader-elect-lease-duration=6s", "--leader-elect-renew-deadline=5s", "--leader-elect-retry-period=0.5s")


@pytest.fixture
async def federation(tmp_path: Path) -> AsyncIterator[ApiClient]:
    with federation_apiserver(tmp_path / "federation") as endpoint:
        async with ApiClient.from_kubeconfig(endpoint.kubeconfig) as client:
            yield client


async def test_another_one_goes_on_when_the_leader_is_killed(federation: ApiClient, tmp_path: Path) -> None:
    async def is_placed(name: str) -> bool:
        key = placement_key(config_map_ref(name))
        found = await get(federation, PLACEMENTS, key.name, key.namespace)
        assert found is not None
        assert "east" in str(found["spec"].get("passedOver")), found
        return True

    async def holder() -> str:
        lease = await federation.get(LEASES, LEASE, namespace="federation-system")
        return str(lease["spec"].get("holderIdentity") or "")

    await federation.create(CLUSTERS, cluster("east"))
    await federation.create(resources.CONFIG_MAPS, config_map("before"))
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(_manager(tmp_path, "first"))
        await eventually("the first one works", lambda: is_placed("before"), 60)
        leader = await holder()
        stack.enter_context(_manager(tmp_path, "second"))
        await asyncio.sleep(2)
        assert await holder() == leader
        first.kill()
        await federation.create(resources.CONFIG_MAPS, config_map("after"))
        await eventually("the second one works", lambda: is_placed("after"), 60)
        assert await holder() != leader


def _manager(folder: Path, name: str) -> "contextlib.AbstractContextManager[subprocess.Popen[bytes]]":
    return process(
        folder / f"{name}.log", sys.executable, "-m", "federation.controller_manager",
        f"--kubeconfig={folder / 'federation' / 'kubeconfig'}", *BRIEF,
    )  # fmt: skip
