"""Unfit hosts are refused with everything that is wrong, before the first change."""

import dataclasses
import json

import pytest

from inventory.model import ClusterSpec
from inventory.sources.nspawn import local_cluster
from provisioner.errors import HostUnfitError, ProvisionError
from provisioner.facts.host_facts import HostFacts, UnitFacts, parse_facts
from provisioner.phase_runner import SeveralHostsError, for_each
from provisioner.phases.validate_hosts import unfit_hosts, validate_hosts

GIB = 1024**3
FOLDERS = ("/opt/hanse/releases", "/var/lib", "/var/lib/containerd", "/var/lib/etcd")


@pytest.fixture
def spec() -> ClusterSpec:
    made = local_cluster("dev", 2, "10.89.0.0/24", "/key")
    return dataclasses.replace(made, hosts=tuple(dataclasses.replace(host, interface="") for host in made.hosts))


def fit(address: str) -> HostFacts:
    return HostFacts(
        os_id="debian",
        architecture="x86_64",
        python=(3, 11),
        glibc=(2, 36),
        cgroup_version=2,
        systemd=True,
        memory=4 * GIB,
        free=dict.fromkeys(FOLDERS, 10 * GIB),
        addresses={address: "eth0"},
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"systemd": False}, "systemd is not its init"),
        ({"architecture": "aarch64"}, "its architecture is aarch64"),
        ({"python": (3, 9)}, "its Python is 3.9, the bundle is compiled for 3.11"),
        ({"glibc": (2, 31)}, "its C library is 2.31"),
        ({"missing_programs": ("zstd", "ip")}, "it lacks zstd, ip"),
        ({"memory": 512 * 1024**2}, "it has 512 MB of memory"),
        ({"swap": True}, "it swaps"),
        ({"free": {**dict.fromkeys(FOLDERS, 10 * GIB), "/opt/hanse/releases": 0}}, "/opt/hanse/releases has 0 MB free"),
        ({"free": {**dict.fromkeys(FOLDERS, 10 * GIB), "/var/lib/etcd": 5}}, "/var/lib/etcd has 0 MB free"),
        ({"free": dict.fromkeys(FOLDERS, GIB // 2)}, "/var/lib has 512 MB free"),
        ({"clock_skew": -7.0}, "its clock is -7.0 s off ours"),
        ({"addresses": {"192.0.2.1": "eth0"}}, "no interface of it holds 10.89.0.11; it has 192.0.2.1"),
        ({"listening": {6443: "haproxy"}}, "port 6443 of kube-apiserver is taken by haproxy"),
    ],
)
def test_each_check_says_what_is_wrong_and_what_to_do(spec: ClusterSpec, change: dict[str, object], said: str) -> None:
    facts = dataclasses.replace(fit("10.89.0.11"), **change)  # type: ignore[arg-type]

    (error,) = unfit_hosts(spec, {"dev-1": facts})

    assert error.host == "dev-1"
    assert said in error.why
    assert error.next_step.endswith(".")


def test_a_fit_host_has_no_faults_and_our_own_services_may_listen(spec: ClusterSpec) -> None:
    facts = dataclasses.replace(
        fit("10.89.0.11"), listening={6443: "python3"}, listening_units={6443: "kube-apiserver"}
    )

    assert unfit_hosts(spec, {"dev-1": facts}) == []


def test_a_stranger_on_a_port_is_a_fault_also_on_a_host_of_the_cluster(spec: ClusterSpec) -> None:
    facts = dataclasses.replace(
        fit("10.89.0.11"), laid_down="files", listening={10250: "nc"}, listening_units={10250: "ssh"}
    )

    assert [error.why for error in unfit_hosts(spec, {"dev-1": facts})] == ["port 10250 of kubelet is taken by nc"]


def test_a_check_is_left_out_by_its_id_alone(spec: ClusterSpec) -> None:
    facts = dataclasses.replace(fit("10.89.0.11"), swap=True, systemd=False)

    assert [error.why for error in unfit_hosts(spec, {"dev-1": facts}, {"os.systemd"})] == [
        "it swaps, which makes Pods' memory limits meaningless"
    ]


def test_hosts_that_are_not_made_yet_are_not_judged(spec: ClusterSpec) -> None:
    validate_hosts(spec, {})
    validate_hosts(spec, {"dev-2": fit("10.89.0.12")})


def test_faults_of_all_hosts_come_together_with_exit_code_3(spec: ClusterSpec) -> None:
    facts = {
        "dev-1": dataclasses.replace(fit("10.89.0.11"), swap=True, systemd=False),
        "dev-2": dataclasses.replace(fit("10.89.0.12"), glibc=(2, 28)),
    }

    with pytest.raises(SeveralHostsError) as caught:
        validate_hosts(spec, facts)

    assert caught.value.exit_code == 3
    for said in ("dev-1: the host is unfit: systemd is not its init; it swaps", "dev-2: the host is unfit: its C"):
        assert said in str(caught.value)


def test_clocks_that_differ_between_hosts_are_a_fault_of_the_fleet(spec: ClusterSpec) -> None:
    facts = {
        "dev-1": dataclasses.replace(fit("10.89.0.11"), clock_skew=1.5),
        "dev-2": dataclasses.replace(fit("10.89.0.12"), clock_skew=-1.5),
    }

    with pytest.raises(HostUnfitError, match=r"dev-2 and dev-1 differ by 3.0 s|dev-1 and dev-2 differ by 3.0 s"):
        validate_hosts(spec, facts)


async def test_every_host_gets_to_its_end_before_failures_go_up(spec: ClusterSpec) -> None:
    reached = []

    async def work(host: object) -> None:
        reached.append(host)
        raise ProvisionError("failed", why="of a reason", next_step="Try.")

    with pytest.raises(SeveralHostsError, match="2 of 2 hosts failed"):
        await for_each(spec.hosts, work)

    assert len(reached) == 2


async def test_a_bug_is_not_dressed_up_as_a_hosts_failure(spec: ClusterSpec) -> None:
    async def work(host: object) -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        await for_each(spec.hosts, work)


def test_a_unit_is_stale_when_it_was_started_with_other_inputs() -> None:
    unit = {"active": "active", "started": "5", "running_inputs": "old", "wanted_inputs": "new"}
    told = {
        "os": {"ID": "debian"}, "architecture": "x86_64", "python": [3, 11], "glibc": [2, 36], "cgroup_version": 1,
        "systemd": True, "memory": 1, "free": {}, "time": 101.0, "listening": {"22": ["sshd", "ssh"]},
        "addresses": {}, "mtu": {},
        "swap": False, "missing_programs": [], "release": "a", "releases": {"a": "1.36.2"}, "laid_down": "x",
        "units": {"kubelet": unit},
    }  # fmt: skip

    facts = parse_facts(json.loads(json.dumps(told)), asked_at=100.0)

    assert facts.unit("kubelet") == UnitFacts(active=True, stale=True, inputs="old", started=5)
    assert facts.clock_skew == 1.0
    assert (facts.listening, facts.listening_units) == ({22: "sshd"}, {22: "ssh"})
