"""Snapshots of etcd: taken, sealed, and the cluster put back to one with every watcher told."""

import json
import subprocess
import time
from typing import Any

from tests.machines.conftest import NAME, Operator, carry_out, wait_for

OBJECTS = 200


def a_list(count: int) -> str:
    items = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"kept-{n}"}, "data": {"n": str(n)}}
        for n in range(count)
    ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def served(cluster: Operator) -> Any:
    """The list as the server says it: kubectl's own has no resourceVersion."""
    return json.loads(cluster.kubectl("get", "--raw", "/api/v1/namespaces/kept/configmaps"))


def test_every_member_says_how_it_is(cluster: Operator) -> None:
    done = cluster.provision("etcd", "status", NAME, "--json")

    members = [json.loads(line) for line in done.out.splitlines() if '"healthy"' in line]
    assert done.code == 0, done.err + done.out
    assert len(members) == 3
    assert sum(one["state"]["is_leader"] for one in members) == 1


def test_a_cluster_goes_back_to_a_snapshot_and_versions_do_not(cluster: Operator) -> None:
    cluster.kubectl("create", "namespace", "kept")
    cluster.kubectl("-n", "kept", "create", "-f", "-", stdin=a_list(OBJECTS))
    before = {
        one["metadata"]["name"]: one["metadata"]["uid"] for one in cluster.get("-n", "kept", "configmaps")["items"]
    }

    taken = cluster.provision("etcd", "snapshot", NAME, "--json")
    assert taken.code == 0, taken.err + taken.out
    sealed = json.loads(taken.out.splitlines()[-1])["snapshot"]

    cluster.kubectl("-n", "kept", "delete", "configmap", "kept-7")
    cluster.kubectl("-n", "kept", "create", "configmap", "later")
    newest = int(served(cluster)["metadata"]["resourceVersion"])
    argv = [
        cluster.kubectl_binary,
        f"--kubeconfig={cluster.kubeconfig}",
        "-n",
        "kept",
        "get",
        "configmaps",
        "--watch",
        "-o",
        "name",
    ]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as watcher:
        began = time.monotonic()
        restored = carry_out(cluster, "restore_snapshot", SNAPSHOT=sealed)
        print(f"restored in {time.monotonic() - began:.1f} s")
        watcher.terminate()

    assert restored.code == 0, restored.err + restored.out
    found = served(cluster)
    assert {one["metadata"]["name"]: one["metadata"]["uid"] for one in found["items"]} == before
    assert int(found["metadata"]["resourceVersion"]) > newest
    gone = cluster.try_kubectl(
        "get", "--raw", f"/api/v1/namespaces/kept/configmaps?watch=1&resourceVersion={newest}&timeoutSeconds=2"
    )
    assert "too old resource version" in gone.out + gone.err


def test_controllers_and_nodes_go_on_after_it(cluster: Operator) -> None:
    wait_for("all nodes are Ready", lambda: cluster.provision("status", NAME).code == 0, 60)
    cluster.kubectl("-n", "kept", "create", "configmap", "after")
    cluster.kubectl("delete", "namespace", "kept", "--timeout=60s")


def test_a_changed_snapshot_is_refused_before_anything_is_stopped(cluster: Operator) -> None:
    folder = cluster.home / "clusters" / NAME / "snapshots"
    sealed = min(folder.glob("*.snapshot"))
    changed = folder / "changed.snapshot"
    content = bytearray(sealed.read_bytes())
    content[len(content) // 2] ^= 1
    changed.write_bytes(content)

    done = cluster.provision("etcd", "restore", NAME, str(changed))
    changed.unlink()

    assert done.code == 2
    assert "does not open" in done.err
    assert cluster.get("nodes")["items"]


def test_space_is_given_back(cluster: Operator) -> None:
    done = cluster.provision("etcd", "defragment", NAME)

    assert done.code == 0, done.err + done.out
    assert cluster.provision("etcd", "status", NAME).code == 0
