"""Runbooks, each after its fault: what the page says is done, and then it is well again."""

from tests.machines.conftest import NAME, Operator, carry_out, long_run, on_host


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
