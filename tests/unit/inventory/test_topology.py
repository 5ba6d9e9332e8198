"""Roles by number, and what numbers are refused."""

import pytest

from inventory import topology
from inventory.faults import DescriptionError
from inventory.model import Role
from inventory.sources.nspawn import local_cluster


@pytest.mark.parametrize(
    ("machines", "masters", "members"), [(1, 1, 1), (2, 1, 1), (3, 1, 3), (4, 1, 3), (5, 3, 3), (50, 3, 3)]
)
def test_roles_follow_the_number_of_machines(machines: int, masters: int, members: int) -> None:
    roles = topology.default_roles(machines)

    assert sum(Role.CONTROL_PLANE in has for has in roles) == masters
    assert sum(Role.ETCD in has for has in roles) == members
    assert all(Role.NODE in has for has in roles)


@pytest.mark.parametrize("machines", range(1, 12))
@pytest.mark.parametrize("masters", [None, 1, 2, 3, 4, 5])
def test_the_quorum_is_odd_whatever_is_asked(machines: int, masters: int | None) -> None:
    if masters is not None and masters > machines:
        assert topology.override_faults(machines, masters, None)
        return

    members = sum(Role.ETCD in has for has in topology.default_roles(machines, masters))

    assert members % 2 == 1
    assert members <= machines


@pytest.mark.parametrize(
    ("machines", "masters", "members", "said"),
    [
        (0, None, None, "0 machines make no cluster"),
        (3, 4, None, "4 is not between 1 and the number of machines, 3"),
        (5, None, 2, "2 etcd members are an even number"),
        (3, None, 5, "5 is not between 1 and 3"),
    ],
)
def test_numbers_that_make_no_cluster_are_refused(
    machines: int, masters: int | None, members: int | None, said: str
) -> None:
    with pytest.raises(DescriptionError, match=said):
        local_cluster("dev", machines, "10.89.0.0/24", "/key", masters=masters, etcd_members=members)


def test_masters_carry_the_taint_when_another_node_remains() -> None:
    spec = local_cluster("dev", 5, "10.89.0.0/24", "/key")

    assert [bool(host.taints) for host in spec.hosts] == [True, True, True, False, False]


def test_masters_take_pods_when_all_nodes_are_masters() -> None:
    spec = local_cluster("dev", 3, "10.89.0.0/24", "/key", masters=3)

    assert not any(host.taints for host in spec.hosts)


def test_local_machines_get_addresses_and_the_api_the_last_one() -> None:
    spec = local_cluster("dev", 2, "10.89.7.0/24", "/key")

    assert [host.address for host in spec.hosts] == ["10.89.7.11", "10.89.7.12"]
    assert spec.api_endpoint == "https://10.89.7.254:6443"
