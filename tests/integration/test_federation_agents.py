"""Clusters that the federation does not reach: their agents come, are let in, are heard, and speak for nobody else."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.api import resources
from cluster.client.kubeconfig import load_kubeconfig
from cluster.testing import ControlPlane, control_plane
from federation.api.resources import CLUSTERS
from tests.integration.federation_agents import Federation, agent, call, eventually, federation


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    with federation(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture(scope="module")
def member() -> Iterator[ControlPlane]:
    with control_plane(hollow_nodes=2) as plane:
        yield plane


def test_an_agent_comes_by_its_invitation_and_the_member_is_ready_with_its_facts(
    world: Federation, member: ControlPlane, tmp_path: Path
) -> None:
    invited = world.federate("join", "one", "--pull")
    assert invited["applied"] is False
    token = Path(invited["tokenFile"]).read_text().strip()
    assert token not in str(invited)
    with agent(tmp_path / "agent.log", member.kubeconfig, invited["arguments"]):
        eventually(lambda: world.cluster("one").get("phase") == "Ready", "the member is ready", 20)
        eventually(lambda: world.cluster("one").get("nodes") == {"total": 2, "ready": 2}, "facts are told", 20)
        cluster = world.call(lambda client: client.get(CLUSTERS, "one"))
        login = load_kubeconfig(member.kubeconfig)
        system = call(login, lambda client: client.get(resources.NAMESPACES, "kube-system"))
        assert cluster["spec"]["uid"] == system["metadata"]["uid"]
        assert token not in (tmp_path / "agent.log").read_text()
    eventually(lambda: world.cluster("one").get("phase") == "Unreachable", "the member is given up", 30)
