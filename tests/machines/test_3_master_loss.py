"""A master dies; the API goes on within fifteen seconds, the workloads do not notice, and it comes back by itself."""

import time

import pytest

from tests.machines.conftest import NAME, Operator, wait_for


@pytest.mark.parametrize("number", [1, 2, 3])
def test_losing_a_master(cluster: Operator, number: int) -> None:
    if cluster.try_kubectl("get", "deployment", "steady").code != 0:
        cluster.kubectl("create", "deployment", "steady", "--image=hanse.local/web:1", "--replicas=2")
        cluster.kubectl("rollout", "status", "deployment/steady", "--timeout=60s")
    before = {p["metadata"]["uid"] for p in cluster.get("pods", "-l", "app=steady")["items"]}
    machine = f"{NAME}-{number}"

    killed = cluster.provision("machines", "kill", NAME, machine)
    assert killed.code == 0, killed.err
    lost_at = time.monotonic()
    try:
        wait_for(
            "the API answers and takes writes",
            lambda: (
                cluster.try_kubectl("annotate", "deployment", "steady", f"lost={machine}", "--overwrite",
                                    "--request-timeout=5s").code == 0
            ),
            30,
        )  # fmt: skip
        outage = time.monotonic() - lost_at
        assert outage <= 15, f"the API was away for {outage:.1f} s"
        pods = cluster.get("pods", "-l", "app=steady")["items"]
        assert {p["metadata"]["uid"] for p in pods} == before
        assert all(p["status"]["phase"] == "Running" for p in pods)
        if number == 1:  # once is enough: it takes the grace period
            wait_for("the node is NotReady", lambda: "NotReady" in cluster.kubectl("get", "node", machine), 90)
    finally:
        started = cluster.provision("machines", "start", NAME, machine)
        assert started.code == 0, started.err

    wait_for("everything is well again", lambda: cluster.provision("status", NAME).code == 0, 60)
