"""Runbooks, each after its fault: what the page says is done, and then it is well again."""

import json
import time

from tests.machines.conftest import NAME, Operator, address_of, carry_out, long_run, on_host, wait_for


def test_a_page_is_not_carried_out_where_its_fault_is_not(cluster: Operator) -> None:
    done = carry_out(cluster, "node_not_ready", NODE=f"{NAME}-4")

    assert done.code == 2
    assert f"Node {NAME}-4 is Ready" in done.err


@long_run
def test_a_node_is_not_ready(cluster: Operator) -> None:
    on_host(cluster, 4, "systemctl stop kubelet; truncate -s 40 /etc/kubernetes/kubelet.conf")
    cluster.kubectl("wait", "--for=condition=Ready=Unknown", f"node/{NAME}-4", "--timeout=90s")

    done = carry_out(cluster, "node_not_ready", NODE=f"{NAME}-4")

    assert done.code == 0, done.err + done.out
    cluster.kubectl("wait", "--for=condition=Ready", f"node/{NAME}-4", "--timeout=5s")


def test_all_hosts_lose_their_power(cluster: Operator) -> None:
    cluster.kubectl("create", "configmap", "before-the-dark", "--from-literal=kept=yes")
    uid = cluster.get("configmap", "before-the-dark")["metadata"]["uid"]
    for number in range(1, 6):
        assert cluster.provision("machines", "kill", NAME, f"{NAME}-{number}").code == 0

    done = carry_out(cluster, "power_loss")

    assert done.code == 0, done.err + done.out
    assert cluster.get("configmap", "before-the-dark")["metadata"]["uid"] == uid
    cluster.kubectl("delete", "configmap", "before-the-dark")


def served_version(cluster: Operator) -> int:
    return int(json.loads(cluster.kubectl("get", "--raw", "/api/v1/configmaps?limit=1"))["metadata"]["resourceVersion"])


def addresses_of(cluster: Operator) -> dict[int, str]:
    """Machine's number -> where it is."""
    nodes = cluster.get("nodes")["items"]
    return {int(node["metadata"]["name"].rpartition("-")[2]): address_of(node) for node in nodes}


def config_map(name: str, content: str) -> str:
    told = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"content": content}}
    return json.dumps(told)


def test_etcd_loses_its_quorum(cluster: Operator) -> None:
    cluster.kubectl("create", "configmap", "before-the-loss", "--from-literal=kept=yes")
    uid = cluster.get("configmap", "before-the-loss")["metadata"]["uid"]
    newest = served_version(cluster)
    time.sleep(0.5)  # what is committed is known to all a heartbeat later
    addresses = addresses_of(cluster)
    for number in (2, 3):
        lose = "systemctl kill -s KILL etcd; systemctl stop etcd; rm -rf /var/lib/etcd/member"
        on_host(cluster, number, lose, address=addresses[number])

    done = carry_out(cluster, "lost_quorum", HOST=f"{NAME}-1")

    print(f"brought back in {done.seconds:.1f} s")
    assert done.code == 0, done.err + done.out
    assert cluster.get("configmap", "before-the-loss")["metadata"]["uid"] == uid
    assert served_version(cluster) > newest
    members = [json.loads(line) for line in cluster.provision("etcd", "status", NAME, "--json").out.splitlines()]
    assert sum(one.get("healthy", False) for one in members) == 3
    gone = cluster.try_kubectl("get", "--raw", f"/api/v1/configmaps?watch=1&resourceVersion={newest}&timeoutSeconds=2")
    assert "too old resource version" in gone.out + gone.err
    cluster.kubectl("delete", "configmap", "before-the-loss")


@long_run
def test_etcd_is_out_of_space(cluster: Operator) -> None:
    quota = "sed -i 's/--quota-backend-bytes=[0-9]*/--quota-backend-bytes={}/' /etc/systemd/system/etcd.service"
    restart = "systemctl daemon-reload; systemctl restart etcd"
    for number in (1, 2, 3):
        on_host(cluster, number, f"{quota.format(16 << 20)}; {restart}")
    cluster.kubectl("create", "configmap", "before-the-flood", "--from-literal=kept=yes")
    uid = cluster.get("configmap", "before-the-flood")["metadata"]["uid"]
    refused = ""
    for number in range(80):
        done = cluster.try_kubectl(
            "replace", "--force", "-f", "-", stdin=config_map("flood", str(number) + "x" * 700_000)
        )
        if done.code:
            refused = done.err
            break
    assert "space exceeded" in refused

    done = carry_out(cluster, "etcd_out_of_space")

    print(f"repaired in {done.seconds:.1f} s")
    assert done.code == 0, done.err + done.out
    assert cluster.get("configmap", "before-the-flood")["metadata"]["uid"] == uid
    cluster.kubectl("delete", "configmap", "before-the-flood", "flood", "--ignore-not-found")
    for number in (1, 2, 3):
        on_host(cluster, number, f"{quota.format(4 << 30)}; {restart}")
        wait_for("etcd is well", lambda: cluster.provision("etcd", "status", NAME).code == 0, 60)


@long_run
def test_a_member_whose_data_are_damaged_is_replaced(cluster: Operator) -> None:
    cluster.kubectl("create", "configmap", "before-the-damage", "--from-literal=kept=yes")
    uid = cluster.get("configmap", "before-the-damage")["metadata"]["uid"]
    on_host(
        cluster, 3,
        "systemctl stop etcd; f=$(ls /var/lib/etcd/member/wal/*.wal | tail -n 1); "
        "printf '\\377\\377\\377' | dd of=$f bs=1 seek=4000 conv=notrunc; "
        "truncate -s 20000 /var/lib/etcd/member/snap/db; "
        "systemctl start --no-block etcd",
    )  # fmt: skip
    cluster.kubectl("create", "configmap", "during-the-damage", "--from-literal=kept=yes")
    assert cluster.provision("etcd", "status", NAME).code == 1

    done = cluster.provision("etcd", "replace", NAME, f"{NAME}-3")

    print(f"replaced in {done.seconds:.1f} s")
    assert done.code == 0, done.err + done.out
    assert cluster.provision("etcd", "status", NAME).code == 0
    assert cluster.get("configmap", "before-the-damage")["metadata"]["uid"] == uid
    cluster.kubectl("delete", "configmap", "before-the-damage", "during-the-damage")


@long_run
def test_writes_go_on_while_the_disk_of_one_member_is_full(cluster: Operator) -> None:
    on_host(
        cluster, 2,
        "systemctl stop etcd; cd /var/lib; cp -a etcd etcd.kept; mount -t tmpfs -o size=300m tmpfs etcd; "
        "cp -a etcd.kept/. etcd/; systemctl start etcd; head -c 400000000 /dev/zero > etcd/filler || true",
    )  # fmt: skip
    for number in range(60):
        cluster.kubectl("create", "-f", "-", stdin=config_map(f"full-{number}", "x" * 500_000))
    on_host(cluster, 2, "rm /var/lib/etcd/filler")
    wait_for("the member is back", lambda: cluster.provision("etcd", "status", NAME).code == 0, 60)
    assert cluster.kubectl("get", "configmaps", "-o", "name").count("full-") == 60
    cluster.kubectl("delete", "configmaps", *(f"full-{number}" for number in range(60)))
    on_host(
        cluster, 2,
        "systemctl stop etcd; cd /var/lib; rm -rf etcd.kept; cp -a etcd etcd.now; umount etcd; rm -rf etcd/*; "
        "cp -a etcd.now/. etcd/; rm -rf etcd.now; systemctl start etcd",
    )  # fmt: skip


@long_run
def test_a_cluster_comes_back_on_new_hosts(cluster: Operator) -> None:
    cluster.kubectl("create", "secret", "generic", "before-the-fire", "--from-literal=kept=yes")
    before = cluster.get("secret", "before-the-fire")
    old = addresses_of(cluster)
    taken = cluster.provision("etcd", "snapshot", NAME, "--json")
    newest = served_version(cluster)
    for number in old:
        assert cluster.provision("machines", "kill", NAME, f"{NAME}-{number}").code == 0

    snapshot = json.loads(taken.out.splitlines()[-1])["snapshot"]
    done = carry_out(cluster, "restore_on_new_hosts", SNAPSHOT=snapshot)

    print(f"on new hosts in {done.seconds:.1f} s")
    assert done.code == 0, done.err + done.out
    assert not set(addresses_of(cluster).values()) & set(old.values())
    now = cluster.get("secret", "before-the-fire")
    assert (now["metadata"]["uid"], now["data"]) == (before["metadata"]["uid"], before["data"])
    assert served_version(cluster) > newest
    cluster.kubectl("delete", "secret", "before-the-fire")
