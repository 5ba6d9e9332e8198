"""Clusters that the federation does not reach: their agents come, are let in, are heard, and speak for nobody else."""

import base64
import contextlib
import functools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.api import resources
from cluster.client.kubeconfig import ClientConfig, load_kubeconfig
from cluster.client.rest import ApiClient
from cluster.machinery.status_errors import ApiError, NotFound
from cluster.testing import ControlPlane, control_plane
from federation.agent.credentials import load
from federation.agent.registration import REQUESTS
from federation.api.kinds import VERSION
from federation.api.resources import CLUSTERS, PLACEMENTS
from federation.controllers.links.brakes import CONFIRM
from federation.membership.health import UNREACHABLE_AFTER
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


def test_what_is_placed_on_a_member_in_pull_mode_gets_there_and_goes_again(
    world: Federation, member: ControlPlane, tmp_path: Path
) -> None:
    invited = world.federate("join", "one", "--pull")
    login = load_kubeconfig(member.kubeconfig)
    secrets, maps = resources.SECRETS, resources.CONFIG_MAPS

    def there(resource: resources.Resource, name: str) -> dict[str, Any]:
        with contextlib.suppress(NotFound):
            return call(login, lambda client: client.get(resource, name, namespace="default"))
        return {}

    def make(resource: resources.Resource, name: str, **fields: Any) -> None:
        obj = {"apiVersion": "v1", "kind": resource.kind, "metadata": {"name": name, "namespace": "default"}, **fields}
        world.call(lambda client: client.create(resource, obj))

    with agent(tmp_path / "agent.log", member.kubeconfig, invited["arguments"]):
        eventually(lambda: world.cluster("one").get("phase") == "Ready", "the member is ready", 20)
        make(maps, "settings", data={"color": "blue"})
        make(secrets, "password", stringData={"word": "one"})
        eventually(lambda: there(maps, "settings").get("data") == {"color": "blue"}, "the ConfigMap is there", 20)
        eventually(lambda: there(secrets, "password"), "the Secret is there", 20)
        change = {"stringData": {"word": "two"}}
        world.call(lambda client: client.patch(secrets, "password", change, namespace="default"))
        eventually(lambda: there(secrets, "password")["data"]["word"] == "dHdv", "the Secret follows", 20)

        def placement() -> dict[str, Any]:
            return world.call(lambda client: client.get(PLACEMENTS, "secret-password", namespace="default"))

        eventually(lambda: states(placement()) == {"one": "Applied"}, "the entry is reported", 20)
        assert [one["status"] for one in placement()["status"]["conditions"] if one["type"] == "Applied"] == ["True"]
        world.call(lambda client: client.delete(secrets, "password", namespace="default"))
        eventually(lambda: not there(secrets, "password"), "the Secret is gone", 20)
        log = (tmp_path / "agent.log").read_text()
        assert "Traceback" not in log, log


def states(placement: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["state"] for one in (placement.get("status") or {}).get("clusters") or ()}


@pytest.fixture(scope="module")
def agents_login(world: Federation, member: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> ClientConfig:
    """What somebody can do who took an agent's certificate."""
    invited = world.federate("join", "one", "--pull")
    with agent(tmp_path_factory.mktemp("agent") / "log", member.kubeconfig, invited["arguments"]):
        eventually(lambda: world.cluster("one").get("phase") == "Ready", "the member is ready", 20)
    held = call(load_kubeconfig(member.kubeconfig), lambda client: load(client, "one"))
    assert held is not None
    return held.config(world.url)


def test_an_agent_reads_what_goes_to_members_and_of_secrets_its_own_alone(
    world: Federation, agents_login: ClientConfig
) -> None:
    local = {"name": "hidden", "namespace": "default", "labels": {"federation.hanse.io/local": "true"}}
    shared = {"metadata": {"name": "shared", "namespace": "default"}}
    world.call(lambda client: client.create(resources.SECRETS, {"metadata": local, "stringData": {"word": "x"}}))
    world.call(lambda client: client.create(resources.CONFIG_MAPS, shared))

    def placement() -> dict[str, Any]:
        with contextlib.suppress(NotFound):
            return world.call(lambda client: client.get(PLACEMENTS, "configmap-shared", namespace="default"))
        return {}

    eventually(placement, "it is placed", 20)

    def status(method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> int:
        async def asked(client: ApiClient) -> int:
            try:
                await client.request(method, path, body=body, headers=headers)
            except ApiError as error:
                return error.http_code
            return 200

        return call(agents_login, asked)

    merge = {"Content-Type": "application/merge-patch+json"}
    core, ours = "/api/v1", f"/apis/{VERSION}"
    for path in (f"{core}/configmaps", "/apis/apps/v1/deployments", f"{ours}/placements", f"{ours}/overridepolicies",
                 "/apis/federation/v1beta1/clusters", "/apis", "/openapi/v3"):  # fmt: skip
        assert status("GET", path) == 200, path
    for path in (
        f"{core}/secrets", f"{core}/namespaces/default/secrets", f"{core}/namespaces/default/secrets/hidden",
        f"{core}/namespaces/federation-system/secrets/cluster-two", f"{core}/namespaces/kube-system/secrets",
        f"{core}/pods", f"{core}/nodes", f"{core}/events", f"{core}/namespaces/kube-system/configmaps",
        "/apis/certificates.k8s.io/v1/certificatesigningrequests", "/apis/coordination.k8s.io/v1/leases",
        "/apis/metrics.k8s.io/v1beta1/nodes",
    ):  # fmt: skip
        assert status("GET", path) == 403, path
    writes = [
        ("POST", f"{core}/namespaces/default/configmaps", b'{"metadata":{"name":"x"}}'),
        ("PATCH", "/apis/federation/v1beta1/clusters/one", b'{"spec":{"unschedulable":true}}'),
        ("PATCH", f"{ours}/namespaces/default/placements/configmap-shared", b'{"spec":{"suspended":true}}'),
        ("DELETE", f"{ours}/namespaces/default/placements/configmap-shared", None),
        ("DELETE", "/apis/federation/v1beta1/clusters/one", None),
        ("PATCH", "/apis/federation/v1beta1/clusters/one/status", b'{"status":{"phase":"Unreachable"}}'),
        ("PATCH", "/apis/coordination.k8s.io/v1/namespaces/federation-system/leases/cluster-two", b'{"spec":{}}'),
        ("POST", "/apis/coordination.k8s.io/v1/namespaces/federation-system/leases",
         b'{"metadata":{"name":"cluster-two","labels":{"federation.hanse.io/heartbeat":"two"}}}'),
        ("POST", "/apis/certificates.k8s.io/v1/certificatesigningrequests",
         b'{"metadata":{"name":"x"},"spec":{"request":"eA==","signerName":"a.b/c","usages":["client auth"]}}'),
        ("PATCH", f"{ours}/namespaces/default/placements/configmap-shared/status",
         b'{"status":{"clusters":[{"name":"two","state":"Gone"}]}}'),
    ]  # fmt: skip
    for method, path, body in writes:
        assert status(method, path, body, merge if method == "PATCH" else {}) in (400, 403, 422), path
    assert status("PATCH", "/apis/federation/v1beta1/clusters/one/status", b'{"status":{"region":"r"}}', merge) == 200
    confirmed = {"metadata": {"annotations": {CONFIRM: "yes"}}}
    world.call(lambda client: client.patch(CLUSTERS, "one", confirmed))
    for value, code in ((b'"no"', 403), (b"null", 200)):
        body = b'{"metadata":{"annotations":{"%s":%s}}}' % (CONFIRM.encode(), value)
        assert status("PATCH", "/apis/federation/v1beta1/clusters/one", body, merge) == code
    own = b'{"status":{"clusters":[{"name":"one","state":"Applied"}],"observedGeneration":99}}'
    assert status("PATCH", f"{ours}/namespaces/default/placements/configmap-shared/status", own, merge) == 200
    assert placement()["status"]["observedGeneration"] != 99
    assert status("GET", f"{core}/namespaces/default/secrets/hidden", headers={"Impersonate-User": "admin"}) == 403


def test_a_member_in_pull_mode_leaves_and_comes_back_under_another_name(
    world: Federation, member: ControlPlane, tmp_path: Path
) -> None:
    login = load_kubeconfig(member.kubeconfig)
    invited = world.federate("join", "one", "--pull")
    with agent(tmp_path / "one.log", member.kubeconfig, invited["arguments"]) as running:
        eventually(lambda: world.cluster("one").get("phase") == "Ready", "the member is ready", 20)
        assert world.federate("leave", "one")["remains"] == []
        assert not Path(invited["tokenFile"]).exists()
        eventually(lambda: running.poll() == 0, "the agent ends", 20)
    assert world.cluster("one") == {}
    leases = world.call(lambda client: client.list(resources.LEASES, namespace="federation-system"))["items"]
    assert not [one for one in leases if one["metadata"]["name"].startswith("cluster-")]
    tokens = world.call(lambda client: client.list(resources.SECRETS, namespace="kube-system"))["items"]
    assert not [one for one in tokens if one["metadata"]["name"].startswith("bootstrap-token-")]

    def namespaces() -> list[str]:
        return [one["metadata"]["name"] for one in call(login, lambda it: it.list(resources.NAMESPACES))["items"]]

    eventually(lambda: "federation-system" not in namespaces(), "nothing of ours is left in the cluster", 30)
    invited = world.federate(
        "join", "again", "--pull", f"--kubeconfig={member.kubeconfig}", "--image=agent.example/a:1"
    )
    assert invited["applied"]
    assert "federation-system" in namespaces()
    deployments = resources.named("deployments.apps")
    made = call(login, lambda it: it.get(deployments, "federation-agent", namespace="federation-system"))
    assert f"--federation-server={world.url}" in made["spec"]["template"]["spec"]["containers"][0]["args"]
    with agent(tmp_path / "again.log", member.kubeconfig, invited["arguments"]):
        eventually(lambda: world.cluster("again").get("phase") == "Ready", "the member is ready", 20)
    assert world.federate("leave", "again", "--force")["left"]
    assert world.cluster("again") == {}


def test_a_member_that_another_ones_agent_reaches_is_suspected_and_not_given_up(
    world: Federation, member: ControlPlane, tmp_path: Path
) -> None:
    let_all_go(world)
    invited = world.federate("join", "near", "--pull")
    with agent(tmp_path / "near.log", member.kubeconfig, invited["arguments"]):
        eventually(lambda: world.cluster("near").get("phase") == "Ready", "the observer is ready", 20)
        with control_plane() as far:
            world.federate("join", "far", f"--kubeconfig={far.kubeconfig}")
            eventually(lambda: world.cluster("far").get("phase") == "Ready", "the other one, too", 20)
            config = json.loads(base64.b64decode(secret(world)["data"]["kubeconfig"]))
            config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"  # as if the way there were cut
            change = {"data": {"kubeconfig": base64.b64encode(json.dumps(config).encode()).decode()}}
            began = time.monotonic()
            world.call(lambda it: it.patch(resources.SECRETS, "cluster-far", change, namespace="federation-system"))
            eventually(lambda: world.cluster("far").get("phase") == "Suspect", "it is missed", 20)
            while time.monotonic() - began < UNREACHABLE_AFTER + 4:
                assert world.cluster("far").get("phase") in ("Ready", "Suspect")
        eventually(lambda: world.cluster("far").get("phase") == "Unreachable", "nobody reaches it now", 20)
    world.federate("leave", "far", "--force")
    world.federate("leave", "near", "--force")


def let_all_go(world: Federation) -> None:
    """One cluster cannot be two members, whichever tests came before."""
    for cluster in world.call(lambda it: it.list(CLUSTERS))["items"]:
        world.federate("leave", cluster["metadata"]["name"], "--force")


def secret(world: Federation) -> dict[str, Any]:
    return world.call(lambda it: it.get(resources.SECRETS, "cluster-far", namespace="federation-system"))


CUTS = 2


def test_a_member_that_is_cut_off_again_and_again_catches_up_and_leaves_no_residue(
    world: Federation, member: ControlPlane, tmp_path: Path
) -> None:
    let_all_go(world)
    invited = world.federate("join", "edge", "--pull")
    login, maps = load_kubeconfig(member.kubeconfig), resources.CONFIG_MAPS

    def copies() -> set[str]:
        return {one["metadata"]["name"] for one in call(login, lambda it: it.list(maps, namespace="default"))["items"]}

    def change(made: str, deleted: str) -> None:
        metadata = {"name": made, "namespace": "default"}
        world.call(lambda it: it.create(maps, {"metadata": metadata}))
        if deleted:
            world.call(lambda it: it.delete(maps, deleted, namespace="default"))

    def caught_up(there: str, gone: str) -> bool:
        return there in copies() and gone not in copies()

    def count(resource: resources.Resource, namespace: str = "") -> int:
        return len(world.call(lambda it: it.list(resource, namespace=namespace))["items"])

    def residue() -> tuple[int, ...]:
        systems = ("federation-system", "kube-system")
        return (count(REQUESTS), count(resources.LEASES), *(count(resources.SECRETS, one) for one in systems))

    before: tuple[int, ...] = ()
    names = ["", *(f"round-{number}" for number in range(CUTS + 1))]
    for number in range(1, len(names)):
        with agent(tmp_path / "log", member.kubeconfig, invited["arguments"]) as running:
            eventually(lambda: world.cluster("edge").get("phase") == "Ready", "the member is ready", 30)
            if before:
                last = functools.partial(caught_up, names[number - 1], names[number - 2])
                eventually(last, "what changed meanwhile has changed there", 30)
            before = before or residue()
            running.kill()
            running.wait()
        change(names[number], names[number - 1])
    assert residue() == before
    world.federate("leave", "edge", "--force")
