"""
etcd under trouble of its own, with fifty writes a second: killed members, leaders that change all the time, members cut
off from the others. Nothing that was acknowledged is lost, and nobody has to help.
"""

import contextlib
import time
from collections.abc import Iterator

import pytest

from tests.machines.conftest import NAME, Operator, long_run, on_host, run, wait_for
from tests.machines.writes import Writes, writing

pytestmark = long_run
MASTERS = (1, 2, 3)
TABLE = "hanse-test-cut"
ETCDCTL = (
    "/opt/hanse/current/bin/etcdctl --cacert=/etc/kubernetes/pki/etcd/ca.crt"
    " --cert=/etc/kubernetes/pki/etcd/healthcheck-client.crt --key=/etc/kubernetes/pki/etcd/healthcheck-client.key"
)


def address(cluster: Operator, number: int) -> str:
    node = cluster.get("node", f"{NAME}-{number}")
    return str(next(one["address"] for one in node["status"]["addresses"] if one["type"] == "InternalIP"))


def leader(cluster: Operator) -> int:
    told = cluster.provision("etcd", "status", NAME).out.splitlines()
    return next(int(line.split()[0].rpartition("-")[2]) for line in told if "leader, healthy" in line)


def end_etcd(cluster: Operator, numbers: tuple[int, ...]) -> None:
    """kill -9; systemd starts it anew."""
    addresses = [address(cluster, number) for number in numbers]
    home = cluster.home / "clusters" / NAME
    for one in addresses:
        argv = ["ssh", "-i", str(home / "ssh" / "id_ed25519"), f"-oUserKnownHostsFile={home / 'known_hosts'}"]
        assert run([*argv, f"root@{one}", "systemctl", "kill", "-s", "KILL", "etcd"]).code == 0


def until_well(cluster: Operator) -> None:
    wait_for("all is healthy", lambda: cluster.provision("status", NAME).code == 0, 90)


@contextlib.contextmanager
def peers_cut(cluster: Operator, numbers: tuple[int, ...]) -> Iterator[None]:
    """These members are silent to all others; ssh and the API's own port stay open."""
    rules = (
        f"table inet {TABLE} {{\n"
        ' chain in { type filter hook input priority -300; iifname != "lo" tcp dport { 2379, 2380 } drop;'
        ' iifname != "lo" tcp sport { 2379, 2380 } drop; }\n'
        ' chain out { type filter hook output priority -300; oifname != "lo" tcp dport { 2379, 2380 } drop;'
        ' oifname != "lo" tcp sport { 2379, 2380 } drop; }\n}\n'
    )
    program = "LD_LIBRARY_PATH=/opt/hanse/current/lib /opt/hanse/current/bin/nft"
    addresses = {number: address(cluster, number) for number in numbers}

    def on(number: int, script: str) -> None:
        home = cluster.home / "clusters" / NAME
        argv = ["ssh", "-i", str(home / "ssh" / "id_ed25519"), f"-oUserKnownHostsFile={home / 'known_hosts'}"]
        done = run([*argv, f"root@{addresses[number]}", "sh", "-s"], stdin=script)
        assert done.code == 0, done.err

    try:
        for number in numbers:
            on(number, f"{program} -f - <<'END'\n{rules}END\n")
        yield
    finally:
        for number in numbers:
            on(number, f"{program} delete table inet {TABLE}")


def told(what: str, writes: Writes) -> None:
    share = len(writes.acknowledged) / max(1, len(writes.acknowledged) + writes.failed)
    print(
        f"{what}: longest gap {writes.longest_gap:.2f} s, {share:.1%} of {len(writes.acknowledged)} writes, none lost"
    )
    assert writes.lost == []


@pytest.mark.parametrize("who", ["follower", "leader", "all"])
def test_members_are_killed(cluster: Operator, who: str) -> None:
    leads = leader(cluster)
    follower = next(number for number in MASTERS if number != leads)
    victims = {"follower": (follower,), "leader": (leads,), "all": MASTERS}[who]

    with writing(cluster.kubeconfig) as writes:
        time.sleep(2)
        end_etcd(cluster, victims)
        wait_for("writes go on", lambda: writes.since(3), 60)
        time.sleep(3)

    told(f"{who} killed", writes)
    until_well(cluster)


def test_ten_leaders_in_a_minute(cluster: Operator) -> None:
    with writing(cluster.kubeconfig) as writes:
        for turn in range(10):
            leads = leader(cluster)
            other = next(n for n in (*MASTERS[turn % 3 :], *MASTERS) if n != leads)
            members = on_host(cluster, leads, f"{ETCDCTL} --endpoints=https://127.0.0.1:2379 member list")
            to = next(line.partition(",")[0] for line in members.splitlines() if f" {NAME}-{other}," in line)
            on_host(cluster, leads, f"{ETCDCTL} --endpoints=https://127.0.0.1:2379 move-leader {to}")
            time.sleep(3)

    told("ten leaders", writes)
    assert len(writes.acknowledged) >= writes.failed
    until_well(cluster)


def ready(cluster: Operator, number: int, of: str) -> bool:
    """What the apiserver of that master says of itself."""
    done = run(
        [cluster.kubectl_binary, f"--kubeconfig={cluster.kubeconfig}", f"--server=https://{of}:6443",
         "--request-timeout=5s", "get", "--raw", "/readyz"]
    )  # fmt: skip
    return done.code == 0


def test_a_member_is_cut_off_from_the_others(cluster: Operator) -> None:
    leads = leader(cluster)
    where = address(cluster, leads)

    with writing(cluster.kubeconfig) as writes:
        time.sleep(2)
        with peers_cut(cluster, (leads,)):
            wait_for("its apiserver says that it is not ready", lambda: not ready(cluster, leads, where), 30)
            wait_for("writes go on through the others", lambda: writes.since(3), 60)
            wait_for(
                "it is no endpoint any more",
                lambda: where not in cluster.kubectl("get", "endpoints", "kubernetes", "-n", "default", "-o", "yaml"),
                60,
            )
            cluster.kubectl("create", "configmap", "after-the-cut", "--from-literal=a=b")
            seen = run(
                [cluster.kubectl_binary, f"--kubeconfig={cluster.kubeconfig}", f"--server=https://{where}:6443",
                 "--request-timeout=15s", "get", "configmap", "after-the-cut"]
            )  # fmt: skip
            assert "NotFound" not in seen.err, "a read that is not the latest"

    cluster.kubectl("delete", "configmap", "after-the-cut")
    told("leader cut off", writes)
    until_well(cluster)


def test_nobody_has_a_quorum(cluster: Operator) -> None:
    where = [address(cluster, number) for number in MASTERS]
    with writing(cluster.kubeconfig) as writes:
        time.sleep(2)
        with peers_cut(cluster, MASTERS):
            time.sleep(5)
            for one in where:
                began = time.monotonic()
                done = run(
                    [cluster.kubectl_binary, f"--kubeconfig={cluster.kubeconfig}", f"--server=https://{one}:6443",
                     "create", "configmap", "nobody", "--from-literal=a=b"], timeout=90,
                )  # fmt: skip
                assert done.code != 0, "a write without a quorum"
                print(f"{one}: refused after {time.monotonic() - began:.1f} s: {done.err.strip()[-160:]}")
        wait_for("writes go on by themselves", lambda: writes.since(3), 60)

    told("no quorum for a while", writes)
    cluster.kubectl("delete", "configmap", "nobody", "--ignore-not-found")
    until_well(cluster)
