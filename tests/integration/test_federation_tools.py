"""kubectl and Helm at the federation find what they know from one cluster: rollouts end, waits return."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.client.rest import ApiClient
from cluster.testing import control_plane
from tests.helm_programs import PINS, helm_program
from tests.integration.federation_members import controllers, join_members
from tests.integration.federation_processes import NEEDS_KUBECTL, Endpoint, federation_apiserver

CHART = Path(__file__).parents[1] / "charts" / "shop"


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with (
        control_plane(hollow_nodes=2) as east,
        control_plane(hollow_nodes=2) as west,
        federation_apiserver(tmp_path_factory.mktemp("federation")) as running,
        controllers(running),
    ):
        asyncio.run(_join(running, {"east": east.kubeconfig, "west": west.kubeconfig}))
        yield running


async def _join(endpoint: Endpoint, members: dict[str, Path]) -> None:
    async with ApiClient.from_kubeconfig(endpoint.kubeconfig) as federation:
        await join_members(federation, members)


@NEEDS_KUBECTL
def test_rollout_status_wait_and_delete_end(endpoint: Endpoint) -> None:
    endpoint.did("create", "deployment", "web", "--image=registry.test/web:1", "--replicas=4")
    assert "successfully rolled out" in endpoint.did("rollout", "status", "deployment/web", "--timeout=30s")
    endpoint.did("wait", "deployment/web", "--for=condition=Available", "--timeout=10s")
    assert "4/4" in endpoint.did("get", "deployment", "web")
    endpoint.did("set", "image", "deployment/web", "web=registry.test/web:2")
    endpoint.did("rollout", "status", "deployment/web", "--timeout=30s")
    images = endpoint.did("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].spec.containers[0].image}")
    assert set(images.split()) == {"registry.test/web:2"}
    endpoint.did("create", "job", "once", "--image=registry.test/once:1")
    endpoint.did("delete", "deployment", "web", "--timeout=20s")
    endpoint.did("wait", "placement/deployment.apps-web", "--for=delete", "--timeout=20s")


@pytest.mark.parametrize("version", PINS)
def test_helm_waits_for_what_it_installs(endpoint: Endpoint, version: str) -> None:
    helm = helm_program(version)
    environment = {"HOME": str(endpoint.home), "KUBECONFIG": str(endpoint.kubeconfig), "PATH": os.environ["PATH"]}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [helm, *arguments], env=environment, capture_output=True, text=True, timeout=90, check=False
        )
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    here = ("--namespace=shop", "--timeout=60s", "--wait")
    run("install", "shop", str(CHART), "--set=jobs=false", "--create-namespace", *here)
    assert "deployed" in run("status", "shop", "--namespace=shop")
    run("uninstall", "shop", *here)
