"""Nodes come and go: only they are touched, and their Pods go elsewhere first."""

import json
import signal

import pytest

from tests.machines.conftest import BIN, NAME, WEB, Operator, carry_out, long_run, run

BUDGETED = f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: held, namespace: default}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: held}}}}
  template:
    metadata: {{labels: {{app: held}}}}
    spec:
      nodeName: {NAME}-6
      terminationGracePeriodSeconds: 1
      containers: [{{name: web, image: "{WEB}"}}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{name: held, namespace: default}}
spec: {{minAvailable: 1, selector: {{matchLabels: {{app: held}}}}}}
"""


def starts(cluster: Operator) -> dict[str, str]:
    """Node -> when its kubelet registered and what it says of its boot: changes when a node is touched roughly."""
    return {
        node["metadata"]["name"]: node["metadata"]["uid"] + node["status"]["nodeInfo"]["bootID"]
        for node in cluster.get("nodes")["items"]
    }


def test_a_plan_is_printed_and_another_one_refused(cluster: Operator) -> None:
    done = cluster.provision("nodes", "add", NAME, "--dry-run", "--json")
    plan = json.loads(done.out.splitlines()[-1])
    assert [action["id"].split("/")[1] for action in plan["actions"]][:2] == ["machine", "fit"]

    refused = cluster.provision("nodes", "add", NAME, "--count", "2", "--plan", plan["digest"])

    assert refused.code == 2
    assert "is not what would be done now" in refused.err
    assert len(cluster.get("nodes")["items"]) == 5


@pytest.mark.parametrize("place", ["did {}/certificates", "begun {}/files", "did {}/runtime"])
def test_a_worker_is_half_added(cluster: Operator, place: str) -> None:
    """The next test goes on from what this one leaves."""
    killed = {**cluster.env, "PROVISION_FAILPOINT": f"{place.format(f'{NAME}-6')}=kill"}

    assert run([str(BIN / "provision"), "nodes", "add", NAME], env=killed).code == -signal.SIGKILL


def test_a_worker_is_added_by_the_same_command(cluster: Operator) -> None:
    before = starts(cluster)
    other = cluster.provision("nodes", "add", NAME, "--count", "2")
    assert f"{NAME}-6 came to {NAME} half way" in other.err

    done = cluster.provision("nodes", "add", NAME)

    assert done.code == 0, done.err + done.out
    cluster.kubectl("wait", "--for=condition=Ready", f"node/{NAME}-6", "--timeout=5s")
    assert {name: value for name, value in starts(cluster).items() if name != f"{NAME}-6"} == before
    again = cluster.provision("cluster", NAME)
    assert "Nothing to do" in again.out, again.out + again.err


def test_budgets_hold_a_node_back(cluster: Operator) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=BUDGETED)
    cluster.kubectl("wait", "--for=condition=Available", "deployment/held", "--timeout=60s")

    done = cluster.provision("nodes", "remove", NAME, f"{NAME}-6", "--drain-timeout", "3")

    assert done.code == 1
    assert "disruption budget" in done.err
    assert cluster.get("node", f"{NAME}-6")["spec"]["unschedulable"] is True


def test_a_worker_is_removed_once_its_pods_may_go(cluster: Operator) -> None:
    cluster.kubectl("delete", "deployment,poddisruptionbudget", "held")

    done = cluster.provision("nodes", "remove", NAME, f"{NAME}-6")

    assert done.code == 0, done.err + done.out
    assert len(cluster.get("nodes")["items"]) == 5
    assert not (cluster.home / "clusters" / NAME / "machines" / f"{NAME}-6").exists()
    assert not (cluster.home / "clusters" / NAME / "pki" / "hosts" / f"{NAME}-6").exists()
    assert "Nothing to do" in cluster.provision("cluster", NAME).out


@long_run
def test_a_dead_worker_is_replaced(cluster: Operator) -> None:
    assert cluster.provision("nodes", "add", NAME).code == 0
    assert cluster.provision("machines", "kill", NAME, f"{NAME}-7").code == 0
    cluster.kubectl("wait", "--for=condition=Ready=Unknown", f"node/{NAME}-7", "--timeout=90s")

    done = carry_out(cluster, "replace_worker", NODE=f"{NAME}-7")

    assert done.code == 0, done.err + done.out
    assert {node["metadata"]["name"] for node in cluster.get("nodes")["items"]} >= {f"{NAME}-8"}
    assert cluster.provision("nodes", "remove", NAME, f"{NAME}-8").code == 0
    assert len(cluster.get("nodes")["items"]) == 5


@pytest.mark.parametrize(
    ("hosts", "said"),
    [(["1"], "etcd would have 2 members"), (["4", "5"], "no node would be left"), (["99"], "has no host")],
)
def test_what_would_be_no_cluster_is_refused(cluster: Operator, hosts: list[str], said: str) -> None:
    done = cluster.provision("nodes", "remove", NAME, *(f"{NAME}-{number}" for number in hosts))

    assert done.code == 2
    assert said in done.err
