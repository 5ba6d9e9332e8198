"""Agents' certificates: renewed while they work, had again after their end, refused to whom they do not belong."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.client.kubeconfig import load_kubeconfig
from cluster.machinery.objects import Object
from cluster.testing import ControlPlane, control_plane
from federation.agent.credentials import Credentials, load
from federation.agent.registration import REQUESTS
from federation.membership import agents
from tests.integration.federation_agents import Federation, agent, call, eventually, federation

LIFE = 6
"""Seconds that a certificate is good here."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    with federation(tmp_path_factory.mktemp("home"), f"--cluster-signing-duration={LIFE}s") as running:
        yield running


@pytest.fixture(scope="module")
def member() -> Iterator[ControlPlane]:
    with control_plane() as plane:
        yield plane


def held(member: ControlPlane, name: str) -> Credentials | None:
    return call(load_kubeconfig(member.kubeconfig), lambda client: load(client, name))


def test_a_certificate_is_renewed_in_work_and_had_again_without_a_token_after_its_end(
    world: Federation, member: ControlPlane, tmp_path: Path
) -> None:
    invited = world.federate("join", "one", "--pull")
    ends = set()

    def is_ready() -> bool:
        if (found := held(member, "one")) is not None:
            ends.add(found.ends)
        return world.cluster("one").get("phase") == "Ready"

    with agent(tmp_path / "first.log", member.kubeconfig, invited["arguments"]):
        eventually(is_ready, "the member is ready", 20)
        Path(invited["tokenFile"]).unlink()

        def was_renewed() -> bool:
            assert is_ready()
            return len(ends) > 1

        eventually(was_renewed, "a renewal, and ready all the time", 40)
    eventually(lambda: dt.datetime.now(dt.UTC) > max(ends), "its time is over", 3 * LIFE)
    last = max(ends)
    with agent(tmp_path / "second.log", member.kubeconfig, invited["arguments"]):
        eventually(lambda: is_ready() and max(ends) > last, "the member is back, alone", 20)
    log = (tmp_path / "second.log").read_text()
    assert "has a login" in log
    assert "BEGIN" not in log


def test_one_cluster_is_one_member_whoever_has_been_invited(
    world: Federation, member: ControlPlane, tmp_path: Path
) -> None:
    eventually(lambda: world.cluster("one"), "it is a member already", 5)
    invited = world.federate("join", "twin", "--pull")

    def denied() -> list[Object]:
        requests = world.call(lambda client: client.list(REQUESTS))["items"]
        return [
            condition
            for one in requests
            if one["spec"]["signerName"] == agents.SIGNER
            for condition in (one.get("status") or {}).get("conditions") or ()
            if condition["type"] == "Denied"
        ]

    with agent(tmp_path / "log", member.kubeconfig, invited["arguments"]):
        eventually(denied, "it is refused", 20)
    assert "is a member already, as one" in denied()[0]["message"]
    assert world.cluster("twin").get("phase", "Pending") == "Pending"
    said = world.federate("join", "twin", "--pull", f"--kubeconfig={member.kubeconfig}", code=1)
    assert "is a member already, as one" in said["why"]


def test_an_agent_that_is_shown_another_ca_tells_nobody_its_token(
    world: Federation, member: ControlPlane, tmp_path: Path
) -> None:
    invited = world.federate("join", "three", "--pull")
    arguments = [one for one in invited["arguments"] if "hash" not in one]
    wrong = f"--discovery-token-ca-cert-hash=sha256:{'0' * 64}"
    before = len(world.call(lambda client: client.list(REQUESTS))["items"])
    with agent(tmp_path / "log", member.kubeconfig, [*arguments, wrong]):
        eventually(lambda: "none of the CAs" in (tmp_path / "log").read_text(), "it says so", 20)
    assert len(world.call(lambda client: client.list(REQUESTS))["items"]) == before
