"""One command, five machines, a cluster; the same command again changes nothing."""

import base64
import json

from tests.machines.conftest import BIN, NAME, Operator, run


def ready(node: dict[str, object]) -> bool:
    conditions = node["status"]["conditions"]  # type: ignore[index]
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def test_five_nodes_are_ready_and_three_of_them_are_control_plane(cluster: Operator) -> None:
    nodes = cluster.get("nodes")["items"]

    assert [node["metadata"]["name"] for node in nodes if not ready(node)] == []
    assert len(nodes) == 5
    masters = [n for n in nodes if "node-role.kubernetes.io/control-plane" in n["metadata"]["labels"]]
    assert len(masters) == 3
    assert all(n["spec"]["taints"][0]["effect"] == "NoSchedule" for n in masters)


def test_kubectl_shows_them_as_people_expect(cluster: Operator) -> None:
    table = cluster.kubectl("get", "nodes").splitlines()

    assert table[0].split() == ["NAME", "STATUS", "ROLES", "AGE", "VERSION"]
    assert sum(line.split()[1] == "Ready" for line in table[1:]) == 5
    assert sum(line.split()[2] == "control-plane" for line in table[1:]) == 3


def test_verify_passes_and_leaves_nothing_behind(cluster: Operator) -> None:
    before = cluster.get("namespaces")["items"]

    done = cluster.provision("verify", NAME)

    assert done.code == 0, done.err + done.out
    after = {n["metadata"]["name"] for n in cluster.get("namespaces")["items"]}
    assert after == {n["metadata"]["name"] for n in before}


def test_status_reads_and_reports_every_part(cluster: Operator) -> None:
    done = cluster.provision("status", NAME, "--json")

    assert done.code == 0, done.err
    assert json.loads(done.out)


def test_preflight_finds_its_own_hosts_fit(cluster: Operator) -> None:
    done = cluster.provision("preflight", NAME, "--json")

    told = [json.loads(line) for line in done.out.splitlines()]
    errors = [one for one in told if one["event"] == "finding" and one["severity"] == "error"]
    assert (done.code, errors) == (0, [])
    assert told[-1]["event"] == "checked"
    assert told[-1]["checks"] >= 60


def test_a_check_that_does_not_exist_cannot_be_skipped(cluster: Operator) -> None:
    done = cluster.provision("preflight", NAME, "--skip-check", "all")

    assert done.code == 2
    assert "there is no check all" in done.err


def test_second_run_changes_nothing(cluster: Operator) -> None:
    versions = {n["metadata"]["name"]: n["metadata"]["uid"] for n in cluster.get("nodes")["items"]}

    done = cluster.provision("cluster", NAME, "--nodes", "5")

    assert done.code == 0, done.err
    assert "Nothing to do" in done.out
    assert {n["metadata"]["name"]: n["metadata"]["uid"] for n in cluster.get("nodes")["items"]} == versions


def test_dry_run_of_a_finished_cluster_plans_nothing(cluster: Operator) -> None:
    done = cluster.provision("cluster", NAME, "--nodes", "5", "--dry-run")

    assert done.code == 0, done.err
    assert "Nothing to do" in done.out


def test_secrets_are_sealed_in_etcd_by_the_same_key_on_every_master(cluster: Operator) -> None:
    cluster.kubectl("create", "secret", "generic", "sealed", "--from-literal=password=plain-as-day")
    pki = cluster.home / "clusters" / NAME / "pki"
    masters = [
        n for n in cluster.get("nodes")["items"] if "node-role.kubernetes.io/control-plane" in n["metadata"]["labels"]
    ]
    for node in masters:
        address = next(a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP")
        own = pki / "hosts" / node["metadata"]["name"]
        stored = run(
            [
                str(BIN.parent / "release/bin/etcdctl"), f"--endpoints=https://{address}:2379",
                f"--cacert={pki}/etcd/ca.crt", f"--cert={own}/apiserver-etcd-client.crt",
                f"--key={own}/apiserver-etcd-client.key", "get", "/registry/secrets/default/sealed", "--hex",
                "--print-value-only",
            ]
        )  # fmt: skip
        value = bytes.fromhex(stored.out.strip().replace("\\x", ""))
        assert value.startswith(b"k8s:enc:secretbox:v1:key1:"), stored.err
        assert b"plain" not in value
        # Each master reads it, so each has the key.
        direct = cluster.kubectl(
            f"--server=https://{address}:6443", "get", "secret", "sealed", "-o", "jsonpath={.data.password}"
        )
        assert base64.b64decode(direct) == b"plain-as-day"
    cluster.kubectl("delete", "secret", "sealed")
