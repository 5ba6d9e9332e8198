"""An operator written with kopf does its work: handlers, timers, finalizers, status and Events."""

import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.clients.conftest import Run
from tests.integration.control_plane_processes import ControlPlane

HERE = pathlib.Path(__file__).parent
GREENHOUSE = """
apiVersion: kopf.hanse.test/v1
kind: Greenhouse
metadata: {{name: south}}
spec: {{crop: {crop}}}
"""


def eventually(probe: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + 20
    while not (found := probe()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within 20 s: {what}")
        time.sleep(0.1)
    return found


@pytest.fixture
def operator(plane: ControlPlane, person: Run, namespace: str, tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """`kopf run` over the namespace; gives its log."""
    person("kubectl", "apply", "-f", HERE / "greenhouse.yaml")
    person("kubectl", "wait", "--for=condition=Established", "crd/greenhouses.kopf.hanse.test", "--timeout=20s")
    log = tmp_path / "operator.log"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KUBECONFIG": str(plane.kubeconfig)}
    argv = [sys.executable, "-m", "kopf", "run", "--standalone", "-n", namespace, str(HERE / "greenhouse_operator.py")]
    with log.open("wb") as output, subprocess.Popen(argv, env=environment, stdout=output, stderr=output) as process:
        try:
            yield log
        finally:
            process.terminate()
            process.wait(20)
    assert "Traceback" not in log.read_text()


def test_an_operator_follows_an_object_from_its_birth_to_its_end(
    person: Run, namespace: str, operator: pathlib.Path
) -> None:
    def read(*what: str) -> Any:
        done = person("kubectl", "get", *what, "-n", namespace, "-o", "json", "--ignore-not-found")
        return json.loads(done.stdout or "null")

    person("kubectl", "apply", "-n", namespace, "-f", "-", stdin=GREENHOUSE.format(crop="tomato"))
    child = eventually(lambda: read("configmap", "south"), "the child is made")
    owner = eventually(
        lambda: (read("gh", "south").get("status") or {}).get("planted") and read("gh", "south"), "status"
    )
    assert child["data"] == {"crop": "tomato"}
    assert child["metadata"]["ownerReferences"][0]["uid"] == owner["metadata"]["uid"]
    assert owner["metadata"]["finalizers"] == ["kopf.hanse.test/goodbye"]
    assert owner["status"]["planted"] == {"crop": "tomato"}

    person("kubectl", "apply", "-n", namespace, "-f", "-", stdin=GREENHOUSE.format(crop="cress"))
    eventually(lambda: read("gh", "south")["status"].get("replaced") == "tomato", "the update is handled")
    assert read("configmap", "south")["data"] == {"crop": "cress", "before": "tomato"}
    eventually(lambda: read("gh", "south")["status"].get("watered", 0) >= 3, "the timer ticks")

    hello = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "hello", "labels": {"greet": "me"}}}
    person("kubectl", "create", "-n", namespace, "-f", "-", stdin=json.dumps(hello))
    eventually(lambda: "annotations" in read("configmap", "hello")["metadata"], "the new ConfigMap is greeted")

    person("kubectl", "delete", "gh", "south", "-n", namespace, "--timeout=20s")
    assert read("configmap", "south-goodbye") is not None
    eventually(lambda: read("configmap", "south") is None, "the child follows its owner")
    assert "Planted" in {event["reason"] for event in read("events")["items"]}
