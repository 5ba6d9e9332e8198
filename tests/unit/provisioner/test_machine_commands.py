"""`provision machines`: which machine, whose, and what is said when it is none of ours."""

import pathlib

import pytest
from click.testing import CliRunner, Result

from provisioner.cli import provision
from provisioner.state import ClusterHome, ClusterRecord

HOSTS = "hosts:\n  - {name: one, address: 192.0.2.1}\n"


@pytest.fixture(autouse=True)
def home(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.setenv("HANSE_HOME", str(tmp_path))
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(provision, ["machines", *arguments])


@pytest.mark.parametrize("verb", ["kill", "start"])
def test_an_unknown_machine_is_answered_with_those_that_are_known(home: pathlib.Path, verb: str) -> None:
    ClusterHome(home, "dev").write_record(ClusterRecord(provider="local", nodes=2, subnet="10.89.0.0/24"))

    result = call(verb, "dev", "dev-9")

    assert result.exit_code == 2
    assert "cluster dev has no machine dev-9: it has dev-1, dev-2" in result.stderr


@pytest.mark.parametrize("verb", ["kill", "start"])
def test_hosts_of_others_are_left_alone(home: pathlib.Path, verb: str) -> None:
    ClusterHome(home, "dev").write_record(ClusterRecord(provider="static", inventory=HOSTS, inventory_name="h.yaml"))

    result = call(verb, "dev", "one")

    assert result.exit_code == 2
    assert "its provider is static" in result.stderr


def test_a_machine_that_was_never_made_cannot_be_started(home: pathlib.Path) -> None:
    ClusterHome(home, "dev").write_record(ClusterRecord(provider="local", nodes=1, subnet="10.89.0.0/24"))

    result = call("start", "dev", "dev-1")

    assert result.exit_code == 2
    assert "machine dev-1 was never made" in result.stderr
