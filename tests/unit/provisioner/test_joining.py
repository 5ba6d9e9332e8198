"""The same `nodes add` goes on with the hosts that it began to add."""

import pathlib

import pytest

from inventory.sources.nspawn import local_cluster
from provisioner.actions.joining import begin_joining, end_joining, joining
from provisioner.errors import ProvisionError
from provisioner.state import ClusterHome

ADD = ["provision", "nodes", "add", "dev"]


def test_the_same_command_goes_on_and_another_one_is_told(tmp_path: pathlib.Path) -> None:
    home, spec = ClusterHome(tmp_path, "dev"), local_cluster("dev", 3, "10.89.0.0/24", "/key")
    assert joining(home, spec, ADD) == []
    begin_joining(home, ADD, ["dev-3"])

    assert [host.name for host in joining(home, spec, ADD)] == ["dev-3"]
    with pytest.raises(ProvisionError, match="dev-3 came to dev half way") as told:
        joining(home, spec, [*ADD, "--count=2"])
    assert "`provision nodes add dev` again" in told.value.next_step

    end_joining(home)
    end_joining(home)
    assert joining(home, spec, ADD) == []


def test_hosts_that_never_got_into_the_record_were_not_begun(tmp_path: pathlib.Path) -> None:
    home = ClusterHome(tmp_path, "dev")
    begin_joining(home, ADD, ["dev-4"])

    assert joining(home, local_cluster("dev", 3, "10.89.0.0/24", "/key"), ADD) == []


def test_a_note_that_cannot_be_read_is_told(tmp_path: pathlib.Path) -> None:
    home = ClusterHome(tmp_path, "dev")
    home.make()
    (home.path / "joining.json").write_text("[]")

    with pytest.raises(ProvisionError, match="cannot read"):
        joining(home, local_cluster("dev", 3, "10.89.0.0/24", "/key"), ADD)
