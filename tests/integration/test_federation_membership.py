"""Clusters join and leave a federation over real sockets."""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cluster.api import resources
from cluster.client.kubeconfig import ClientConfig, load_kubeconfig, parse_kubeconfig
from cluster.client.rest import ApiClient
from cluster.dns.federations import read_config_map
from cluster.machinery.status_errors import NotFound
from cluster.testing import ControlPlane, control_plane
from federation.api.resources import CLUSTERS
from federation.membership.facts import collect
from federation.membership.join import JoinError, join
from federation.membership.leave import LeaveError, leave
from federation.membership.member_dns import Names, configure
from federation.membership.probe import probe
from tests.integration.federation_processes import Endpoint, federation_apiserver


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with federation_apiserver(tmp_path_factory.mktemp("federation")) as running:
        yield running


@pytest.fixture
async def federation(endpoint: Endpoint) -> AsyncIterator[ApiClient]:
    async with ApiClient.from_kubeconfig(endpoint.kubeconfig) as client:
        yield client


@pytest.fixture(scope="module")
def member() -> Iterator[ControlPlane]:
    with control_plane(hollow_nodes=2) as plane:
        yield plane


async def test_a_cluster_joins_twice_under_one_name_never_under_two_and_leaves(
    federation: ApiClient, member: ControlPlane
) -> None:
    config = load_kubeconfig(member.kubeconfig)
    for _ in range(2):
        cluster = await join(federation, "one", config, labels={"tier": "gold"})
    assert cluster["metadata"]["labels"] == {"tier": "gold"}
    secret = await federation.get(resources.SECRETS, "cluster-one", namespace="federation-system")
    text = base64.b64decode(secret["data"]["kubeconfig"])
    login = parse_kubeconfig(text, source="secret", base=Path("/nonexistent"))
    async with ApiClient(login) as ours:
        assert await probe(ours) == ""
        facts = await collect(ours)
    assert facts["nodes"] == {"total": 2, "ready": 2}
    assert "Deployment" in next(api["kinds"] for api in facts["apis"] if api["groupVersion"] == "apps/v1")
    with pytest.raises(JoinError, match="is a member already, as one"):
        await join(federation, "two", config)
    assert await leave(federation, "one") == []
    with pytest.raises(NotFound):
        await federation.get(CLUSTERS, "one")
    with pytest.raises(NotFound):
        await federation.get(resources.SECRETS, "cluster-one", namespace="federation-system")


async def test_a_members_dns_is_told_of_the_federation_and_forgets_it_when_it_leaves(federation: ApiClient) -> None:
    names = Names("prod", "fed.example.com", (("192.0.2.1", 10053),))
    with control_plane() as plane:
        config = load_kubeconfig(plane.kubeconfig)
        await join(federation, "told", config)
        await told_and_forgotten(federation, config, names)


async def told_and_forgotten(federation: ApiClient, config: ClientConfig, names: Names) -> None:
    async with ApiClient(config) as user:
        for _ in range(2):
            assert await configure(user, names) == "kube-system/kube-dns"
        made = await user.get(resources.CONFIG_MAPS, "kube-dns", namespace="kube-system")
        assert read_config_map(made["data"]).federations == {"prod": "fed.example.com"}
        foreign = {"data": {"federations": "prod=fed.example.com,test=t.example.com"}}
        await user.patch(resources.CONFIG_MAPS, "kube-dns", foreign, namespace="kube-system")
        corefile = ".:53 {\n    forward . /etc/resolv.conf\n}\n"
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "coredns"},
            "data": {"Corefile": corefile},
        }
        await user.create(resources.CONFIG_MAPS, body, namespace="kube-system")
        assert await configure(user, names) == "kube-system/coredns"
        assert await leave(federation, "told", called="prod") == []
        left = await user.get(resources.CONFIG_MAPS, "kube-dns", namespace="kube-system")
        assert left["data"] == {"federations": "test=t.example.com"}
        assert "annotations" not in left["metadata"]
        coredns = await user.get(resources.CONFIG_MAPS, "coredns", namespace="kube-system")
        assert coredns["data"]["Corefile"] == corefile


async def test_a_login_that_may_not_join_leaves_nothing_behind(federation: ApiClient, member: ControlPlane) -> None:
    config = load_kubeconfig(member.kubeconfig)
    nobody = ClientConfig(servers=config.servers, ca_data=config.ca_data, token="wrong")
    with pytest.raises(JoinError, match="cluster three does not answer"):
        await join(federation, "three", nobody)
    with pytest.raises(NotFound):
        await federation.get(CLUSTERS, "three")


async def test_who_joins_again_waits_until_what_it_left_behind_is_gone(
    federation: ApiClient, member: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_kubeconfig(member.kubeconfig)
    async with ApiClient(config) as user:
        metadata = {"name": "federation-system", "finalizers": ["example.com/held"]}
        await user.create(resources.NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        await user.delete(resources.NAMESPACES, "federation-system")
        with monkeypatch.context() as impatient:
            impatient.setattr("federation.membership.tokens.ENDING_SECONDS", 0.5)
            with pytest.raises(JoinError, match=r"Namespace federation-system has been going since .* join again"):
                await join(federation, "again", config)
        joining = asyncio.create_task(join(federation, "again", config))
        released = {"metadata": {"finalizers": None}}
        await user.patch(resources.NAMESPACES, "federation-system", released, patch_type="merge")
        await joining
    assert await leave(federation, "again") == []


async def test_a_dead_member_leaves_by_force_alone(federation: ApiClient) -> None:
    with control_plane() as plane:
        await join(federation, "dead", load_kubeconfig(plane.kubeconfig))
    with pytest.raises(LeaveError, match="With --force it is forgotten"):
        await leave(federation, "dead")
    assert (await federation.get(CLUSTERS, "dead")).get("status", {}).get("phase") != "Leaving"
    assert "is still there" in (await leave(federation, "dead", force=True))[0]
    with pytest.raises(NotFound):
        await federation.get(CLUSTERS, "dead")
