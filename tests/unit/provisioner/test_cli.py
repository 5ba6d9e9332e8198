"""The command line's contract: exit codes, and words without tracebacks."""

import json
import pathlib

import pytest
from click.testing import CliRunner, Result

from provisioner.cli import provision


@pytest.fixture(autouse=True)
def home(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.setenv("HANSE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    return tmp_path / "home"


def call(*arguments: str) -> Result:
    return CliRunner().invoke(provision, arguments)


def test_an_even_quorum_is_refused_with_exit_code_2_and_nothing_is_made(home: pathlib.Path) -> None:
    result = call("cluster", "dev", "--nodes", "4", "--etcd", "2")

    assert result.exit_code == 2
    assert "2 etcd members are an even number" in result.stderr
    assert not home.exists()


def test_a_faulty_inventory_is_refused_with_all_faults(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "hosts.yaml"
    file.write_text("hosts:\n  - {name: A, address: x}\n")

    result = call("cluster", "--provider", "static", "--inventory", str(file))

    assert result.exit_code == 2
    assert f"{file}:2:6: hosts[0].name" in result.stderr
    assert f"{file}:2:15: hosts[0].address" in result.stderr


def test_faults_are_json_for_scripts(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "hosts.yaml"
    file.write_text("hosts: []\n")

    result = call("cluster", "--inventory", str(file), "--json")

    event = json.loads(result.stdout.splitlines()[-1])
    assert (result.exit_code, event["event"], event["faults"][0]["line"]) == (2, "error", 1)


@pytest.mark.parametrize("command", ["status", "verify", "kubeconfig", "destroy"])
def test_an_unknown_cluster_is_named_with_the_way_to_make_it(command: str) -> None:
    result = call(command, "nowhere")

    assert result.exit_code == 2
    assert "there is no cluster nowhere" in result.stderr
    assert "provision cluster nowhere" in result.stderr


def test_static_hosts_need_an_inventory() -> None:
    result = call("cluster", "--provider", "static")

    assert result.exit_code == 2
    assert "--inventory FILE" in result.stderr


def test_the_schema_is_json() -> None:
    assert json.loads(call("schema").stdout)["title"] == "Hanse inventory"


def test_hosts_and_networks_that_clash_are_told_together_with_their_places(
    tmp_path: pathlib.Path, home: pathlib.Path
) -> None:
    file = tmp_path / "hosts.yaml"
    file.write_text(
        "hosts:\n  - {name: a, address: 192.0.2.1}\n  - {name: a, address: 192.0.2.1}\n"
        "network: {service_cidr: 10.96.0.0/12, pod_cidr: 10.100.0.0/16}\n"
    )

    result = call("cluster", "--inventory", str(file))

    assert result.exit_code == 2
    assert '3:6: hosts[1].name: "a" is already the name of hosts[0]' in result.stderr
    assert '3:15: hosts[1].address: "192.0.2.1" is already the address of hosts[0]' in result.stderr
    assert "4:39: network.pod_cidr: 10.100.0.0/16 overlaps service_cidr 10.96.0.0/12" in result.stderr
    assert not home.exists()


@pytest.mark.parametrize("command", [["status"], ["stop"], ["destroy"], ["kill", "m"], ["start", "m"]])
def test_an_unknown_federation_is_named_with_the_way_to_make_it(command: list[str]) -> None:
    result = call("federation", command[0], "nowhere", *command[1:])

    assert result.exit_code == 2
    assert "there is no federation nowhere" in result.stderr
    assert "provision federation init nowhere" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--nodes", "1"], "needs a DNS zone"),
        (["--dns-zone", "com", "--nodes", "1"], "is no zone for names"),
        (["--dns-zone", "a.example", "--nodes", "2"], "2 hosts make no federation"),
        (["--dns-zone", "a.example", "--hosts", "192.0.2.1,x,192.0.2.3"], '"x" is not an IP address'),
        (["--dns-zone", "a.example", "--hosts", "192.0.2.1", "--inventory", "f"], "both say which hosts there are"),
        (["--dns-zone", "a.example", "--hosts", "192.0.2.1", "--nodes", "1"], "--nodes does not go with"),
        (["--dns-zone", "a.example", "--provider", "local", "--hosts", "192.0.2.1"], "do not go with local machines"),
    ],
)
def test_a_federation_that_cannot_be_is_refused_and_nothing_is_made(
    home: pathlib.Path, arguments: list[str], why: str
) -> None:
    result = call("federation", "init", "prod", *arguments)

    assert (result.exit_code, why in result.stderr) == (2, True), result.stderr
    assert not home.exists()
