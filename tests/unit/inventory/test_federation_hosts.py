"""Hosts of a federation: one, three or five that all do the same, and clear words for everything else."""

import pytest

from inventory.faults import DescriptionError
from inventory.load import load_cluster
from inventory.model import FederationSettings, Role
from inventory.sources.nspawn import local_cluster, local_federation

ZONE = FederationSettings(zone="fed.example.com")


def test_three_hosts_are_a_quorum_and_share_an_address() -> None:
    spec = local_federation("prod", 3, "10.89.4.0/24", "/key", ZONE)
    assert {host.roles for host in spec.hosts} == {frozenset({Role.FEDERATION, Role.ETCD, Role.API_ADDRESS})}
    assert spec.api_endpoint == "https://10.89.4.254:6443"
    assert spec.api_servers == tuple(f"https://10.89.4.{n}:6443" for n in (11, 12, 13))
    assert spec.service_account_issuer == "https://prod.fed.example.com"


def test_one_host_keeps_the_store_itself() -> None:
    spec = local_federation("prod", 1, "10.89.4.0/24", "/key", ZONE)
    assert spec.hosts[0].roles == {Role.FEDERATION}
    assert spec.api_endpoint == "https://10.89.4.11:6443"


@pytest.mark.parametrize(("machines", "why"), [(2, "an even number"), (4, "an even number"), (7, "one, three or five")])
def test_other_sizes_are_refused(machines: int, why: str) -> None:
    with pytest.raises(DescriptionError, match=f"{machines} hosts make no federation: .*{why}"):
        local_federation("prod", machines, "10.89.4.0/24", "/key", ZONE)


@pytest.mark.parametrize("zone", ["", "com", "-x.example.com", "a..b", "x" * 64 + ".com", ".".join(["abcdefghi"] * 30)])
def test_a_zone_that_is_none_is_refused(zone: str) -> None:
    with pytest.raises(DescriptionError, match="is no zone for names"):
        local_federation("prod", 1, "10.89.4.0/24", "/key", FederationSettings(zone=zone))


def test_a_file_may_not_give_roles() -> None:
    text = "hosts: [{name: a, address: 192.0.2.1, roles: [master]}]"
    with pytest.raises(DescriptionError, match="hosts of a federation do all the same"):
        load_cluster(text, "f", federation=ZONE)


def test_a_file_may_give_the_address_that_a_healthy_host_holds() -> None:
    hosts = "".join(f"- {{name: h{n}, address: 192.0.2.{n}}}\n" for n in (1, 2, 3))
    text = f"control_plane: {{virtual_address: 192.0.2.9}}\nhosts:\n{hosts}"
    spec = load_cluster(text, "f", federation=ZONE)
    assert spec.api_endpoint == "https://192.0.2.9:6443"
    assert all(host.has(Role.API_ADDRESS) for host in spec.hosts)
    with pytest.raises(DescriptionError, match=r"192\.0\.2\.2 is a host's own"):
        load_cluster(text.replace("192.0.2.9", "192.0.2.2"), "f", federation=ZONE)
    with pytest.raises(DescriptionError, match="nobody could take it over"):
        load_cluster(text.replace("- {name: h2, address: 192.0.2.2}\n- {name: h3, address: 192.0.2.3}\n", ""), "f",
                     federation=ZONE)  # fmt: skip


def test_local_machines_of_a_cluster_can_be_in_a_region() -> None:
    spec = local_cluster("east", 2, "10.89.4.0/24", "/key", labels={"topology.kubernetes.io/region": "east"})
    assert [dict(host.labels) for host in spec.hosts] == [{"topology.kubernetes.io/region": "east"}] * 2
    with pytest.raises(DescriptionError, match="is not a label's value"):
        local_cluster("east", 1, "10.89.4.0/24", "/key", labels={"topology.kubernetes.io/region": "no no"})
