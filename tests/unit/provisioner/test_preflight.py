"""Every check of preflight: quiet about a fit host, and clear about each thing that can be wrong."""

import copy
import dataclasses
import json
import socket
import subprocess
import sys
import threading
from typing import Any

import pytest

from inventory.model import ClusterSpec
from inventory.sources.nspawn import local_cluster
from provisioner.facts.host_facts import HostFacts
from provisioner.preflight import call_hosts, examine_host
from provisioner.preflight.checks import CHECKS, judge, unknown
from provisioner.preflight.model import Examined, Fleet, Reach, Result, Severity, Subject

GIB = 1024**3
FOLDERS = (
    "/",
    "/etc",
    "/opt/hanse/releases",
    "/var/lib",
    "/var/lib/containerd",
    "/var/lib/kubelet",
    "/var/lib/etcd",
    "/var/log",
    "/run",
    "/tmp",
)
FIT: dict[str, Any] = {
    "kernel": "6.1.0-18-amd64", "hostname": "one", "uid": 0, "machine_id": "a" * 32, "product_uuid": "uuid-one",
    "virtual": "kvm", "cpus": 2, "load": 0.2, "uptime": 900.0, "memory_available": 3 * GIB,
    "filesystems": ["ext4", "overlay"], "namespaces": ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"],
    "controllers": ["cpu", "cpuset", "memory", "pids"], "seccomp": True,
    "settings": {"kernel/pid_max": "4194304", "net/ipv4/ip_local_port_range": "32768 60999",
                 "net/netfilter/nf_conntrack_max": "65536"},
    "mounts": {folder: ["ext4", "rw,relatime"] for folder in FOLDERS}, "writable": dict.fromkeys(FOLDERS, True),
    "inodes": dict.fromkeys(FOLDERS, 0.9), "free": dict.fromkeys(FOLDERS, 10 * GIB), "fsync": {"/var/lib/etcd": 0.004},
    "links": {"veth": True, "bridge": True, "vxlan": True}, "nf_tables": True, "udp": {},
    "devices": [{"name": "eth0", "mtu": 1500, "mac": "52:54:00:00:00:01", "state": "UP"}],
    "routes": [["default", "eth0"], ["10.89.0.0/24", "eth0"]], "resolvers": ["10.0.0.1"],
    "units": ["systemd-timesyncd"],
    "system_state": "running", "failed_units": [], "clock_synchronized": True, "selinux": "", "reboot_required": False,
    "remains": [],
}  # fmt: skip


def anywhere(spec: ClusterSpec) -> ClusterSpec:
    """Its hosts do not say which interface they have."""
    return dataclasses.replace(spec, hosts=tuple(dataclasses.replace(host, interface="") for host in spec.hosts))


@pytest.fixture
def spec() -> ClusterSpec:
    return anywhere(local_cluster("dev", 2, "10.89.0.0/24", "/key"))


def subject(spec: ClusterSpec, number: int = 0, facts: dict[str, Any] | None = None, **told: Any) -> Subject:
    host = spec.hosts[number]
    known = HostFacts(
        os_id="debian", os_name="Debian GNU/Linux 12 (bookworm)", architecture="x86_64", python=(3, 11), glibc=(2, 36),
        systemd=True, memory=4 * GIB, addresses={host.address: "eth0"}, mtu={"eth0": 1500},
        free=dict.fromkeys(("/opt/hanse/releases", "/var/lib", "/var/lib/containerd", "/var/lib/etcd"), 10 * GIB),
    )  # fmt: skip
    own = {"hostname": host.name, "machine_id": str(number) * 32, "product_uuid": f"uuid-{number}"}
    device = [{"name": "eth0", "mtu": 1500, "mac": f"52:54:00:00:00:0{number}", "state": "UP"}]
    answers = copy.deepcopy(FIT) | own | {"devices": device} | told
    return Subject(spec, host, dataclasses.replace(known, **(facts or {})), Examined(answers, 0.01))


def results(spec: ClusterSpec, **told: Any) -> list[Result]:
    return judge(Fleet(spec, (subject(spec, **told),)))


def test_there_are_enough_checks_and_each_is_whole() -> None:
    assert len(CHECKS) >= 60
    assert len({check.id for check in CHECKS}) == len(CHECKS)
    for check in CHECKS:
        assert (check.host is None) != (check.fleet is None), check.id
        assert check.cure.endswith("."), check.id
        assert check.title, check.id


def test_fit_hosts_have_no_findings(spec: ClusterSpec) -> None:
    pair = (Reach("dev-1", "dev-2", seconds=0.001), Reach("dev-2", "dev-1", seconds=0.001))
    assert judge(Fleet(spec, (subject(spec, 0), subject(spec, 1)), pair)) == []


SEEDED: list[tuple[str, dict[str, Any], str]] = [
    ("os.failed-units", {"failed_units": ["nginx.service"]}, "units have failed: nginx.service"),
    ("os.reboot", {"reboot_required": True}, "reboot"),
    ("os.hostname", {"hostname": "My_Host"}, '"My_Host" is no DNS name'),
    ("os.localhost", {"hostname": "localhost"}, "localhost"),
    ("os.machine-id", {"machine_id": "uninitialized"}, '"uninitialized" is none'),
    ("os.writable", {"writable": {**FIT["writable"], "/etc": False}}, "/etc cannot be written"),
    ("os.noexec", {"mounts": {**FIT["mounts"], "/var/lib": ["ext4", "rw,noexec"]}}, "/var/lib lies on"),
    ("os.nodev", {"mounts": {**FIT["mounts"], "/var/lib/containerd": ["ext4", "rw,nodev"]}}, "nodev"),
    ("os.selinux", {"selinux": "1"}, "SELinux enforces"),
    ("access.root", {"uid": 1000}, "user 1000"),
    ("clock.synchronised", {"clock_synchronized": False, "units": []}, "nothing keeps its clock right"),
    ("kernel.version", {"kernel": "4.18.0-305.el8"}, "4.18.0"),
    ("kernel.overlay", {"filesystems": ["ext4"]}, "no filesystem overlay"),
    ("kernel.nf-tables", {"nf_tables": False}, "no nf_tables"),
    ("kernel.conntrack", {"nf_tables": False, "settings": {}}, "follows no connections"),
    ("kernel.veth", {"links": {"veth": False, "bridge": True, "vxlan": True}}, "no veth link"),
    ("kernel.bridge", {"links": {"veth": True, "vxlan": True}}, "no bridge link"),
    ("kernel.vxlan", {"links": {"veth": True, "bridge": True, "vxlan": False}}, "no vxlan link"),
    ("kernel.namespaces", {"namespaces": ["ipc", "mnt", "net", "pid", "user", "uts"]}, "namespaces for cgroup"),
    ("kernel.seccomp", {"seccomp": False}, "filters no system calls"),
    ("kernel.rp-filter", {"settings": {"net/ipv4/conf/all/rp_filter": "1"}}, "rp_filter is strict"),
    ("kernel.local-ports", {"settings": {"net/ipv4/ip_local_port_range": "1024 65000"}}, "from 1024 on"),
    ("kernel.pid-max", {"settings": {"kernel/pid_max": "4096"}}, "kernel.pid_max is 4096"),
    ("kernel.threads-max", {"settings": {"kernel/threads-max": "500"}}, "threads-max is 500"),
    ("kernel.file-max", {"settings": {"fs/file-max": "1024"}}, "file-max is 1024"),
    ("kernel.max-user-instances", {"settings": {"fs/inotify/max_user_instances": "8"}}, "is 8"),
    ("kernel.max-user-watches", {"settings": {"fs/inotify/max_user_watches": "8"}}, "is 8"),
    ("kernel.nf-conntrack-max", {"settings": {"net/netfilter/nf_conntrack_max": "1024"}}, "is 1024"),
    ("kernel.somaxconn", {"settings": {"net/core/somaxconn": "16"}}, "is 16"),
    ("kernel.entropy-avail", {"settings": {"kernel/random/entropy_avail": "10"}}, "is 10"),
    ("cgroup.controllers", {"controllers": ["cpu", "cpuset"]}, "no memory, pids"),
    ("cgroup.cpuset", {"controllers": ["cpu", "memory", "pids"]}, "no cpuset"),
    ("memory.available", {"memory_available": 100 << 20}, "100 MB"),
    ("cpu.cores", {"cpus": 1}, "one core"),
    ("cpu.load", {"load": 40.0}, "40 programs wait for 2 cores"),
    ("disk.log", {"free": {**FIT["free"], "/var/log": 5 << 20}}, "/var/log has 5 MB free"),
    ("disk.run", {"free": {**FIT["free"], "/run": 5 << 20}}, "/run has 5 MB free"),
    ("disk.tmp", {"free": {**FIT["free"], "/tmp": 5 << 20}}, "/tmp has 5 MB free"),
    ("disk.inodes", {"inodes": {**FIT["inodes"], "/var/lib": 0.01}}, "1% of its inodes"),
    ("disk.fsync", {"fsync": {"/var/lib/etcd": 0.2}}, "200 ms"),
    ("disk.fsync-hopeless", {"fsync": {"/var/lib/etcd": 3.0}}, "3.0 s"),
    ("disk.etcd-written", {"fsync": {"/var/lib/etcd": None}}, "nothing can be written"),
    (
        "disk.containerd-filesystem",
        {"mounts": {**FIT["mounts"], "/var/lib/containerd": ["overlay", "rw"]}},
        "on overlay",
    ),
    ("disk.etcd-filesystem", {"mounts": {**FIT["mounts"], "/var/lib/etcd": ["nfs4", "rw"]}}, "on nfs4"),
    ("net.dns-port", {"udp": {"53": "0.0.0.0"}}, "port 53 of every address"),
    ("net.vxlan-port", {"udp": {"4789": "0.0.0.0"}}, "4789 is taken"),
    ("net.mtu-tiny", {"devices": [{"name": "eth0", "mtu": 1200, "mac": "x"}]}, "1200 bytes"),
    ("net.mtu-small", {"devices": [{"name": "eth0", "mtu": 1400, "mac": "x"}]}, "1400 bytes"),
    ("net.overlap", {"routes": [["default", "eth0"], ["10.244.7.0/24", "wg0"]]}, "by wg0 overlaps pod_cidr"),
    ("net.default-route", {"routes": []}, "no default route"),
    ("net.resolvers", {"resolvers": []}, "names no name server"),
    ("net.firewall", {"units": ["firewalld", "chrony"]}, "firewalld filters"),
    ("remains.kubeadm", {"remains": ["/etc/kubernetes/manifests"]}, "kubeadm left /etc/kubernetes/manifests"),
    ("remains.k3s", {"remains": ["/var/lib/rancher/k3s"]}, "k3s left"),
    ("remains.rke2", {"remains": ["/var/lib/rancher/rke2"]}, "RKE2 left"),
    ("remains.k0s", {"remains": ["/var/lib/k0s"]}, "k0s left"),
    ("remains.microk8s", {"remains": ["/var/snap/microk8s"]}, "MicroK8s left"),
    ("remains.etcd-data", {"remains": ["/var/lib/etcd/member"]}, "data of another etcd"),
    ("remains.cni-config", {"remains": ["/etc/cni/net.d"]}, "another pod network"),
    ("remains.admin-conf", {"remains": ["/etc/kubernetes/admin.conf"]}, "kubeconfig of another cluster"),
    ("remains.kubelet-runs", {"units": ["kubelet", "chrony"]}, "a kubelet that is not ours"),
    ("remains.containerd-runs", {"units": ["containerd", "chrony"]}, "a containerd that is not ours"),
    ("remains.etcd-runs", {"units": ["etcd", "chrony"]}, "an etcd"),
    ("remains.crio-runs", {"units": ["crio", "chrony"]}, "a crio"),
    ("remains.docker-runs", {"units": ["docker", "chrony"]}, "a docker"),
    ("remains.keepalived-runs", {"units": ["keepalived", "chrony"]}, "a keepalived"),
    (
        "remains.links",
        {"devices": [{"name": "eth0", "mtu": 1500, "mac": "x"}, {"name": "cilium_host", "mtu": 1500, "mac": "y"}]},
        "cilium_host",
    ),
]


@pytest.mark.parametrize(("check", "told", "said"), SEEDED, ids=[row[0] for row in SEEDED])
def test_each_fault_is_found_by_its_check(spec: ClusterSpec, check: str, told: dict[str, Any], said: str) -> None:
    found = {result.check: result for result in results(spec, **told)}
    assert check in found
    assert said in found[check].why or said.replace("an etcd", "a etcd") in found[check].why
    assert found[check].cure.endswith(".")
    assert set(found) <= {check, "kernel.nf-tables", "os.localhost", "kernel.conntrack"}


FACTS: list[tuple[str, dict[str, Any]]] = [
    ("os.systemd", {"systemd": False}),
    ("os.distribution", {"os_id": "alpine", "os_name": "Alpine Linux"}),
    ("os.architecture", {"architecture": "aarch64"}),
    ("os.python", {"python": (3, 13)}),
    ("os.glibc", {"glibc": (2, 31)}),
    ("os.programs", {"missing_programs": ("zstd",)}),
    ("clock.skew", {"clock_skew": 9.0}),
    ("memory.total", {"memory": 1}),
    ("memory.swap", {"swap": True}),
    ("net.address", {"addresses": {"192.0.2.7": "eth0"}}),
    ("net.interface", {"addresses": {"10.89.0.11": "eth1"}, "mtu": {"eth1": 1500}}),
    ("net.ports", {"listening": {6443: "haproxy"}}),
]


@pytest.mark.parametrize(("check", "facts"), FACTS, ids=[row[0] for row in FACTS])
def test_each_fault_of_the_facts_is_found(spec: ClusterSpec, check: str, facts: dict[str, Any]) -> None:
    wanted = dataclasses.replace(spec, hosts=tuple(dataclasses.replace(host, interface="eth0") for host in spec.hosts))
    assert [result.check for result in results(wanted, facts=facts)] == [check]


def test_ipv6_has_to_be_there_where_it_is_used(spec: ClusterSpec) -> None:
    hosts = tuple(dataclasses.replace(host, address="fd00::1") for host in spec.hosts[:1])
    six = dataclasses.replace(spec, hosts=hosts)
    found = results(six, settings={"net/ipv6/conf/all/disable_ipv6": "1"})
    assert [result.check for result in found] == ["kernel.ipv6"]


def test_what_lies_on_a_host_of_ours_is_its_own(spec: ClusterSpec) -> None:
    told = {
        "writable": {**FIT["writable"], "/opt/hanse/releases": False},
        "remains": ["/var/lib/etcd/member", "/etc/cni/net.d"],
        "units": ["etcd", "kubelet", "chrony"],
        "udp": {"4789": "*"},
    }
    assert results(spec, facts={"laid_down": "files"}, **told) == []


def test_copies_of_a_host_are_found(spec: ClusterSpec) -> None:
    one, other = subject(spec, 0), subject(spec, 1)
    same: dict[str, Any] = {key: one.examined[key] for key in ("machine_id", "product_uuid", "hostname", "devices")}
    copied = dataclasses.replace(other, examined=Examined({**other.examined.told, **same}))
    found = {result.check for result in judge(Fleet(spec, (one, copied)))}
    assert found == {"fleet.machine-id", "fleet.product-uuid", "fleet.mac", "fleet.hostnames"}


@pytest.mark.parametrize(
    ("reach", "check", "said"),
    [
        (Reach("dev-1", "dev-2", lost=True), "fleet.reach", "dev-2 does not answer"),
        (Reach("dev-1", "dev-2", closed=(10250,)), "fleet.ports", "does not reach dev-2 at port 10250"),
        (Reach("dev-1", "dev-2", whole_mtu=False), "fleet.mtu", "do not arrive at dev-2"),
    ],
)
def test_paths_between_hosts_are_judged(spec: ClusterSpec, reach: Reach, check: str, said: str) -> None:
    (found,) = judge(Fleet(spec, (subject(spec, 0), subject(spec, 1)), (reach,)))
    assert (found.check, found.host) == (check, "dev-1")
    assert said in found.why


def test_members_of_etcd_that_are_far_apart_are_told() -> None:
    far = anywhere(local_cluster("dev", 3, "10.89.0.0/24", "/key"))
    (found,) = judge(Fleet(far, tuple(subject(far, n) for n in range(3)), (Reach("dev-1", "dev-2", seconds=0.25),)))
    assert (found.check, found.severity) == ("fleet.distance", Severity.WARNING)


def test_clocks_systems_and_addresses_have_to_agree(spec: ClusterSpec) -> None:
    other = subject(spec, 1, {"clock_skew": -1.9, "os_name": "Ubuntu 24.04", "os_id": "ubuntu"})
    assert {r.check for r in judge(Fleet(spec, (subject(spec, 0, {"clock_skew": 1.9}), other)))} == {
        "fleet.clocks",
        "fleet.alike",
    }
    twice = subject(spec, 1, {"addresses": {"10.89.0.12": "eth0", "10.89.0.11": "eth0"}})
    assert [r.check for r in judge(Fleet(spec, (subject(spec, 0), twice)))] == ["fleet.addresses"]
    holds = subject(spec, 1, {"addresses": {"10.89.0.12": "eth0", "10.89.0.254": "eth0"}})
    assert [r.check for r in judge(Fleet(spec, (subject(spec, 0), holds)))] == ["fleet.virtual-address"]


def test_unknown_ids_are_known_as_such() -> None:
    assert unknown(["os.systemd", "os.sytemd"]) == ["os.sytemd"]


def test_a_skipped_check_is_not_asked(spec: ClusterSpec) -> None:
    fleet = Fleet(spec, (subject(spec, uid=1000, selinux="1"),))
    assert [result.check for result in judge(fleet, {"os.selinux"})] == ["access.root"]


def test_examining_this_machine_answers_everything_that_checks_ask(spec: ClusterSpec) -> None:
    argv = [sys.executable, "-I", examine_host.__file__, json.dumps({"fsync": ["/var/lib/etcd"]})]
    told = json.loads(subprocess.run(argv, capture_output=True, check=True, timeout=15).stdout)
    assert set(told) == set(FIT)
    assert told["machine_id"] is not None
    assert told["devices"]
    found = judge(Fleet(spec, (dataclasses.replace(subject(spec), examined=Examined(told, 0.1)),)))
    assert all(result.why for result in found)


def test_hosts_call_each_other() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        open_port = taken.getsockname()[1]
    question = {"ports": [open_port], "address": "127.0.0.1", "seconds": 1.0}
    listening = threading.Thread(target=call_hosts.listen, args=(question,))
    listening.start()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        shut = taken.getsockname()[1]
        target = {"address": "127.0.0.1", "ports": [open_port, shut], "size": 1500}
        (answer,) = call_hosts.call({"targets": [target], "seconds": 0.4})
    listening.join()
    assert answer["closed"] == [shut]
    assert answer["whole"] or answer["seconds"] is None  # without the right to ping, nothing comes back
