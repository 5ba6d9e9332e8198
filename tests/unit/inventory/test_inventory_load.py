"""Files with faults are refused with every fault placed; good ones become the cluster they describe."""

import pathlib

import pytest
import yaml

from inventory.faults import DescriptionError
from inventory.load import load_cluster
from inventory.model import ClusterSpec, PodNetwork, Role
from inventory.sources.static_file import read_text
from inventory.yaml_tree import MAX_BYTES

ROOT = pathlib.Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "inventory" / "examples").glob("*.yaml"))
SCENARIOS = sorted((ROOT / "tests" / "scenarios" / "inventory").glob("*.yaml"))


def faults_of(text: str) -> list[str]:
    with pytest.raises(DescriptionError) as caught:
        load_cluster(text, "file.yaml")
    return [str(fault) for fault in caught.value.faults]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_loads(path: pathlib.Path) -> None:
    spec = load_cluster(read_text(path), str(path))

    assert spec.with_role(Role.ETCD)
    assert spec.api_servers


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_faults_are_named_with_their_place(path: pathlib.Path) -> None:
    case = yaml.safe_load(path.read_text())

    assert faults_of(case["inventory"]) == case["faults"]


def test_master_is_an_alias_of_control_plane() -> None:
    spec = load_cluster("hosts: [{name: a, address: 192.0.2.1, roles: [master, etcd, node]}]", "f")

    assert spec.hosts[0].roles == {Role.CONTROL_PLANE, Role.ETCD, Role.NODE}


def test_a_host_overrides_single_settings_of_the_clusters_ssh() -> None:
    text = "ssh: {user: ops, port: 2222}\nhosts: [{name: a, address: 192.0.2.1, ssh: {port: 22}}]"

    ssh = load_cluster(text, "f").hosts[0].ssh

    assert (ssh.user, ssh.port) == ("ops", 22)


def test_a_version_without_quotes_is_understood() -> None:
    spec = load_cluster("kubernetes_version: 1.36\nhosts: [{name: a, address: 192.0.2.1}]", "f")

    assert spec.kubernetes_version == "1.36"


def test_settings_of_every_section_reach_the_model() -> None:
    path = ROOT / "inventory/examples/separate_etcd_behind_bastion.yaml"
    spec: ClusterSpec = load_cluster(read_text(path), str(path))

    assert spec.network.pod_network is PodNetwork.HOST_ROUTES
    assert spec.network.dns_address == "10.32.0.10"
    assert spec.control_plane.extra_names == ("api.bank.example",)
    assert spec.hosts[5].labels == {"topology.kubernetes.io/zone": "cellar"}
    assert spec.hosts[0].ssh.bastion == "jump@198.51.100.7:22"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 60_000, "nested more than 32 deep"),
        ("a: &a [x]\nb: [" + "*a," * 200 + "]", "more than 100 aliases"),
        ("x" * (MAX_BYTES + 1), "more than 1048576"),
        ("a: 1\n---\nb: 2", "a second document"),
        ("a: [1", "this is no YAML"),
        ("", "the file is empty"),
    ],
    ids=["nesting", "aliases", "size", "documents", "syntax", "nothing"],
)
def test_hostile_or_broken_text_is_refused_without_harm(text: str, said: str) -> None:
    (fault,) = faults_of(text)

    assert said in fault


def test_aliases_of_aliases_do_not_grow_without_bound() -> None:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]

    assert any("more than 100000 values" in fault for fault in faults_of("\n".join(lines)))


def test_a_file_that_is_not_there_is_a_fault_of_the_description(tmp_path: pathlib.Path) -> None:
    with pytest.raises(DescriptionError, match="cannot be read"):
        read_text(tmp_path / "none.yaml")
