"""The federation's runbooks, carried out one after the other against the faults and wishes that they are about."""

import contextlib
import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
import pytest

from provisioner.errors import InventoryError
from provisioner.progress import PlainProgress
from provisioner.runbooks.carry_out import carry_out
from provisioner.runbooks.library import runbook
from tests.integration.control_plane_processes import ROOT, process
from tests.integration.federation_processes import KUBECTL, NEEDS_KUBECTL, Endpoint

pytestmark = [NEEDS_KUBECTL, pytest.mark.timeout(240)]
FEDERATION = {"FEDERATION": "prod"}
# As an operator has it, but that a federation is made on ports that are free at that moment.
PORTS = 'import socket; one, two = [socket.create_server(("127.0.0.1", 0)) for _ in "12"]; ' + (
    "print(one.getsockname()[1], two.getsockname()[1])"
)
FEDERATE = f"""#!/bin/bash
if [ "$1" = init ]; then
  read -r port dns < <({sys.executable} -c '{PORTS}')
  set -- "$@" --secure-port=$port --dns-port=$dns
fi
PYTHONPATH={ROOT} exec {sys.executable} -m federation "$@"
"""


@dataclass(frozen=True, slots=True)
class Member:
    endpoint: Endpoint
    running: "subprocess.Popen[bytes]"


@contextlib.contextmanager
def member(home: pathlib.Path) -> Iterator[Member]:
    """A cluster in one process, with two nodes on which Pods are said to run."""
    home.mkdir()
    kubeconfig = home / "kubeconfig"
    flags = ("--secure-port=0", f"--kubeconfig-out={kubeconfig}", "--hollow-nodes=2")
    with process(home / "log", sys.executable, "-P", "-m", "cluster", *flags) as running:
        deadline = time.monotonic() + 60
        while not kubeconfig.exists():
            assert time.monotonic() < deadline, (home / "log").read_text()
            time.sleep(0.05)
        url = json.loads(kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
        try:
            yield Member(Endpoint(home, url, kubeconfig), running)
        finally:
            running.send_signal(signal.SIGCONT)


@pytest.fixture
def operator(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """Who types `federate` and `kubectl`: on ports that are free, with a home of their own. Yields the federation."""
    programs = tmp_path / "bin"
    programs.mkdir()
    federate = programs / "federate"
    federate.write_text(FEDERATE)
    federate.chmod(0o755)
    (programs / "kubectl").symlink_to(str(KUBECTL))
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HANSE_HOME", str(tmp_path / "hanse"))
    try:
        yield Endpoint(tmp_path, "", tmp_path / "hanse" / "federations" / "prod" / "kubeconfig")
    finally:
        subprocess.run([str(federate), "stop", "prod"], timeout=60, capture_output=True, check=False)


async def carried_out(name: str, **variables: str) -> str:
    out = io.StringIO()
    await carry_out(runbook(name), {**FEDERATION, **variables}, PlainProgress(out))
    return out.getvalue()


def eventually(endpoint: Endpoint, expected: str, *arguments: str, seconds: float = 40.0) -> None:
    """Until kubectl prints this."""
    deadline = time.monotonic() + seconds
    while (said := endpoint.kubectl(*arguments)).stdout.strip() != expected:
        assert time.monotonic() < deadline, (arguments, said.stdout, said.stderr)
        time.sleep(0.2)


def run(*arguments: str, code: int = 0) -> str:
    """What `federate` says."""
    done = subprocess.run(["federate", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, (arguments, done.stdout, done.stderr)
    return done.stdout or done.stderr


def deployment(name: str, replicas: int) -> str:
    labels = {"app": name}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": "hanse.local/web:1"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": pod}
    head = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "default"}}
    return json.dumps({**head, "spec": spec})


async def test_a_federation_from_its_first_day_to_the_leaving_of_a_member(
    operator: Endpoint, tmp_path: pathlib.Path
) -> None:
    with member(tmp_path / "east") as east, member(tmp_path / "west") as west, member(tmp_path / "north") as north:
        logins = {"FIRST_KUBECONFIG": str(east.endpoint.kubeconfig), "SECOND_KUBECONFIG": str(west.endpoint.kubeconfig)}
        first = {"ZONE": "fed.example.com", "FIRST": "east", "SECOND": "west", **logins}
        await carried_out("federation_begins", **first)
        with pytest.raises(InventoryError, match="is there already"):
            await carried_out("federation_begins", **first)

        # The examples are taken as they are; what they begin with runs in both.
        operator.did("apply", "--validate=strict", "-f", str(ROOT / "federation" / "examples" / "everywhere.yaml"))
        for endpoint in (east.endpoint, west.endpoint):
            ready = ("get", "deployment", "web", "-n", "shop", "-o", "jsonpath={.status.readyReplicas}")
            eventually(endpoint, "2", *ready)
        for example in sorted((ROOT / "federation" / "examples").glob("*.yaml")):
            operator.did("apply", "--validate=strict", "--dry-run=server", "-f", str(example))

        rows = [row.split() for row in run("get", "deploy", "-n", "shop").splitlines()]
        assert rows[0] == ["NAME", "CLUSTER", "READY", "UP-TO-DATE", "AVAILABLE", "AGE", "FEDERATED"]
        assert [row[:3] for row in rows[1:]] == [["web", "east", "2/2"], ["web", "west", "2/2"]]
        assert "no cluster that answers has" in run("get", "deploy", "nothing", code=2)
        assert "there is no kind" in run("get", "lamps", code=2)

        # A third cluster, which has an object of the same name.
        north.endpoint.did("create", "configmap", "federation-begins", "--from-literal=said=other")
        joined = await carried_out(
            "federation_cluster_joins", CLUSTER="north", CLUSTER_KUBECONFIG=str(north.endpoint.kubeconfig)
        )
        assert "federate join" in joined
        eventually(north.endpoint, "other", "get", "configmap", "federation-begins", "-o", "jsonpath={.data.said}")

        # What runs in one cluster alone moves to another.
        east.endpoint.did("create", "-f", "-", stdin=deployment("solo", 2))
        eventually(east.endpoint, "2", "get", "deployment", "solo", "-o", "jsonpath={.status.readyReplicas}")
        solo = {"NAMESPACE": "default", "OBJECT": "deployment/solo"}
        await carried_out("federation_application_moves", **solo, SOURCE="east", TARGET="west")
        eventually(west.endpoint, "2", "get", "deployment", "solo", "-o", "jsonpath={.status.readyReplicas}")
        assert "NotFound" in east.endpoint.kubectl("get", "deployment", "solo").stderr

        # One of three is lost; what it had starts in the others.
        two_regions = json.dumps(policy_for_web())
        operator.did("apply", "-f", "-", stdin=two_regions)
        with pytest.raises(InventoryError, match="east is Ready"):
            await carried_out("federation_region_lost", CLUSTER="east")
        east.running.send_signal(signal.SIGSTOP)
        eventually(operator, "Unreachable", "get", "clusters.federation", "east", "-o", "jsonpath={.status.phase}")
        part = json.loads(run("get", "deployments", "-A", "--json"))
        found = {one["metadata"]["labels"]["federation.hanse.io/cluster"] for one in part["items"]}
        assert "west" in found
        assert "east" not in found
        assert "cluster east is left out: it does not answer in time" in part["warnings"]
        await carried_out("federation_region_lost", CLUSTER="east")
        others = ("get", "placement", "deployment.apps-web", "-n", "shop", "-o", "jsonpath={.spec.clusters[*].name}")
        eventually(operator, "north west", *others)
        east.running.send_signal(signal.SIGCONT)
        eventually(operator, "Ready", "get", "clusters.federation", "east", "-o", "jsonpath={.status.phase}")

        # A member leaves; its workloads are handed over before, and what a policy allows nowhere else is moved.
        await carried_out("federation_application_moves", **solo, SOURCE="west", TARGET="north")
        await carried_out("federation_cluster_leaves", CLUSTER="west")
        assert "NotFound" in operator.kubectl("get", "clusters.federation", "west").stderr
        assert psutil.pid_exists(west.running.pid)


def policy_for_web() -> dict[str, object]:
    """Two seconds of toleration instead of thirty."""
    return {
        "apiVersion": "federation.hanse.io/v1beta1",
        "kind": "PropagationPolicy",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "resourceSelectors": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}],
            "failover": {"tolerationSeconds": 2},
        },
    }
