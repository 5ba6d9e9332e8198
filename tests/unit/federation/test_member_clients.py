"""Clients of members: made from their Secrets, kept while these stay, and refused where files of ours would be read."""

import base64
import json

import pytest

from cluster.machinery.objects import Object
from federation.membership.member_clients import MemberClients, MemberFault, member_config

ADDRESS = {"clientCIDR": "0.0.0.0/0", "serverAddress": "192.0.2.1:6443"}


def cluster(**spec: object) -> Object:
    wanted = {"serverAddressByClientCIDRs": [ADDRESS], "secretRef": {"name": "east"}, **spec}
    return {"metadata": {"name": "east", "uid": "1", "generation": 1}, "spec": wanted}


def secret(version: str = "1", **data: str) -> Object:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return {"metadata": {"name": "east", "resourceVersion": version}, "data": encoded}


def kubeconfig(**user: str) -> str:
    return json.dumps(
        {
            "current-context": "m",
            "contexts": [{"name": "m", "context": {"cluster": "m", "user": "m"}}],
            "clusters": [{"name": "m", "cluster": {"server": "https://192.0.2.2:6443"}}],
            "users": [{"name": "m", "user": user}],
        }
    )


def test_a_kubeconfig_counts_and_else_a_token_for_the_clusters_address() -> None:
    assert member_config(cluster(), secret(kubeconfig=kubeconfig(token="t"))).servers == ("https://192.0.2.2:6443",)
    found = member_config(cluster(caBundle=base64.b64encode(b"PEM").decode()), secret(token="abc\n"))
    assert (found.servers, found.token, found.ca_data) == (("https://192.0.2.1:6443",), "abc", b"PEM")


@pytest.mark.parametrize(
    ("given", "held", "why"),
    [
        (cluster(syncMode="Pull"), None, "pull mode"),
        (cluster(secretRef={}), None, "no spec.secretRef"),
        (cluster(), None, "is not there"),
        (cluster(), secret(), "neither `kubeconfig` nor `token`"),
        (cluster(), secret(kubeconfig="[]"), "not a mapping"),
        (cluster(), secret(kubeconfig=kubeconfig(tokenFile="/etc/shadow")), "names files"),
        (cluster(), {"metadata": {}, "data": {"token": "!"}}, "no base64"),
    ],
)
def test_what_cannot_be_used_says_why(given: Object, held: Object | None, why: str) -> None:
    with pytest.raises(MemberFault, match=why):
        member_config(given, held)


async def test_a_client_is_kept_until_its_credentials_change() -> None:
    clients = MemberClients("test")
    first = clients.member(cluster(), secret(token="a"))
    assert clients.member(cluster(), secret(token="a")) is first
    assert clients.member(cluster(), secret("2", token="a")) is first
    second = clients.member(cluster(), secret("3", token="b"))
    assert second is not first
    assert second.config.token == "b"
    with pytest.raises(MemberFault):
        clients.member(cluster(), None)
    assert clients.member(cluster(), secret("3", token="b")) is not second
    await clients.close()
