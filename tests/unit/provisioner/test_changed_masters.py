"""Who comes when hosts are added or replaced, what is remembered, and what a half done change keeps from happening."""

import pathlib

import pytest

from inventory.model import HostSpec, Role
from provisioner.actions.begin_change import first_change, resumed_change
from provisioner.actions.describe import Wish, describe_record, describe_wish
from provisioner.actions.grown import grown, replaced
from provisioner.actions.pending_change import begun, forget_pending, read_pending, write_pending
from provisioner.actions.plan_nodes import hosts_named
from provisioner.errors import InventoryError, ProvisionError
from provisioner.state import ClusterHome, ClusterRecord

ALL = frozenset({Role.CONTROL_PLANE, Role.ETCD, Role.NODE})


def local(tmp_path: pathlib.Path, nodes: int, masters: int) -> ClusterHome:
    home = ClusterHome(tmp_path, "c")
    home.write_record(ClusterRecord(provider="local", nodes=nodes, masters=masters, subnet="10.89.0.0/24"))
    return home


def static(tmp_path: pathlib.Path, text: str) -> ClusterHome:
    home = ClusterHome(tmp_path, "c")
    home.write_record(ClusterRecord(provider="static", inventory=text, inventory_name="hosts.yaml"))
    return home


def hosts_of(home: ClusterHome, names: list[str]) -> list[HostSpec]:
    record = home.read_record()
    assert record is not None
    return hosts_named(describe_record(home, record), names)


def listed(*hosts: str) -> str:
    return "hosts:\n" + "".join(f"  - {{{host}}}\n" for host in hosts)


MASTERS = [f"name: m{number}, address: 192.0.2.{number}, roles: [control_plane, etcd, node]" for number in (1, 2, 3, 4)]
WORKER = "name: w, address: 192.0.2.9, roles: [node]"


def test_machines_that_come_are_workers_unless_masters_are_asked_for(tmp_path: pathlib.Path) -> None:
    home = local(tmp_path, 2, 1)

    _, record, [worker] = grown(home, None, None)
    spec, more, masters = grown(home, 2, None, control_plane=True)

    assert (worker.roles, record.quorum_formed) == (frozenset({Role.NODE}), False)
    assert [(host.name, host.roles) for host in masters] == [("c-3", ALL), ("c-4", ALL)]
    assert (more.quorum_formed, spec.quorum_formed, len(spec.with_role(Role.ETCD))) == (True, True, 3)


def test_a_new_machine_takes_the_roles_of_the_one_that_it_replaces(tmp_path: pathlib.Path) -> None:
    home = local(tmp_path, 4, 3)
    old = hosts_of(home, ["c-1", "c-4"])

    spec, record, new = replaced(home, old, None)

    assert [(host.name, host.roles) for host in new] == [("c-5", ALL), ("c-6", frozenset({Role.NODE}))]
    assert [host.name for host in spec.hosts] == ["c-2", "c-3", "c-5", "c-6"]
    assert record.absent == ("c-1", "c-4")


def test_roles_that_a_file_gives_hold_and_the_replaced_host_may_be_left_out(tmp_path: pathlib.Path) -> None:
    home = static(tmp_path, listed(*MASTERS[:3], WORKER))
    file = tmp_path / "new.yaml"
    file.write_text(listed(*MASTERS[1:], WORKER))
    old = hosts_of(home, ["m1"])

    spec, _, [new] = replaced(home, old, file)

    assert (new.name, new.roles) == ("m4", ALL)
    assert [host.name for host in spec.with_role(Role.ETCD)] == ["m2", "m3", "m4"]
    with pytest.raises(InventoryError, match="m1 would be gone"):
        grown(home, None, file)
    file.write_text(listed(*MASTERS[:3], WORKER))
    with pytest.raises(InventoryError, match="1 hosts are to be replaced, 0 are new"):
        replaced(home, old, file)


def test_a_change_is_gone_on_with_by_its_own_command_alone(tmp_path: pathlib.Path) -> None:
    home = local(tmp_path, 4, 3)
    old = hosts_of(home, ["c-1"])
    _, record, new = replaced(home, old, None)
    command = ["provision", "nodes", "replace", "c", "c-1"]

    change, pending = first_change(home, "nodes replace", record, new, old, dead=False, command=command)
    write_pending(home, pending)

    assert begun(home, command) == pending == read_pending(home)
    resumed = resumed_change(home, "nodes replace", pending, dead=True)
    assert (resumed.coming, resumed.going) == (change.coming, change.going)
    assert (change.dead, resumed.dead) == (frozenset(), frozenset({"c-1"}))
    with pytest.raises(ProvisionError, match="Run `provision nodes replace c c-1` again first"):
        begun(home, ["provision", "nodes", "add", "c"])
    with pytest.raises(ProvisionError, match="masters of cluster c are being changed"):
        describe_wish(home, Wish())
    forget_pending(home)
    assert read_pending(home) is None
    assert describe_wish(home, Wish())[1].absent == ()


def test_a_run_that_was_killed_after_the_last_step_has_nothing_left_to_do(tmp_path: pathlib.Path) -> None:
    home = local(tmp_path, 4, 3)
    old = hosts_of(home, ["c-1"])
    _, record, new = replaced(home, old, None)
    _, pending = first_change(home, "nodes replace", record, new, old, dead=True, command=["provision"])

    home.write_record(record)

    resumed = resumed_change(home, "nodes replace", pending, dead=False)
    assert (resumed.going, resumed.old_members) == ((), ())
    assert [host.name for host in resumed.coming] == ["c-5"]
