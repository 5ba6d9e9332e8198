"""A federation on one host and its members, from the command line on: join, health, facts, a lost member, leave."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.testing import control_plane
from tests.integration.federation_processes import NEEDS_KUBECTL, Endpoint
from tests.ports import free_ports


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    home = tmp_path_factory.mktemp("home")
    api, dns = free_ports(2)
    endpoint = Endpoint(home, f"https://127.0.0.1:{api}", home / "federations" / "world" / "kubeconfig")
    ports = (f"--secure-port={api}", f"--dns-port={dns}")
    assert federate(home, "init", "world", "--dns-zone=world.example", *ports)["federation"] == "world"
    try:
        yield endpoint
    finally:
        federate(home, "destroy", "world")


def federate(home: Path, *arguments: str, code: int = 0) -> Any:
    environment = {**os.environ, "HANSE_HOME": str(home)}
    argv = [sys.executable, "-m", "federation", *arguments, "--json"]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == code, (arguments, done.stdout, done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def cluster(home: Path, name: str) -> dict[str, Any]:
    found = federate(home, "status", "world")["clusters"]
    return next((one for one in found if one["name"] == name), {})


def eventually(condition: Callable[[], bool], what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s: {what}")
        time.sleep(0.3)


@NEEDS_KUBECTL
def test_a_member_joins_is_known_seen_through_lost_and_let_go(host: Endpoint) -> None:
    with contextlib.ExitStack() as running:
        member = running.enter_context(control_plane(hollow_nodes=2))
        joined = federate(host.home, "join", "one", f"--kubeconfig={member.kubeconfig}")
        assert joined["cluster"] == "one"
        eventually(lambda: cluster(host.home, "one").get("phase") == "Ready", "the member is ready", 20)
        eventually(lambda: cluster(host.home, "one").get("nodes") == {"total": 2, "ready": 2}, "nodes are known", 20)
        assert "one" in host.did("get", "clusters")
        assert cluster(host.home, "one")["version"].startswith("v1.")
        nodes = host.did("get", "nodes", "-o", "name").split()
        assert len(nodes) == 2
        spare(host)
        version = host.did("get", "cluster", "one", "-o", "jsonpath={.metadata.resourceVersion}")
        time.sleep(5)
        assert host.did("get", "cluster", "one", "-o", "jsonpath={.metadata.resourceVersion}") == version
    eventually(lambda: cluster(host.home, "one").get("phase") == "Unreachable", "the member is given up", 30)
    offline = '{.status.conditions[?(@.type=="Offline")].status}'
    assert host.did("get", "cluster", "one", "-o", f"jsonpath={offline}") == "True"
    assert federate(host.home, "leave", "one", code=4)["event"] == "error"
    assert federate(host.home, "leave", "one", "--force")["left"]
    assert cluster(host.home, "one") == {}


def spare(host: Endpoint) -> None:
    assert federate(host.home, "cordon", "one") == {"cluster": "one", "cordoned": True, "changed": True}
    assert federate(host.home, "cordon", "one")["changed"] is False
    assert federate(host.home, "taint", "one", "night:NoSchedule", "gpu=no:NoSchedule")["taints"] == [
        "night:NoSchedule",
        "gpu=no:NoSchedule",
    ]
    found = cluster(host.home, "one")
    assert (found["cordoned"], found["taints"]) == (True, ["night:NoSchedule", "gpu=no:NoSchedule"])
    assert federate(host.home, "taint", "one", "night-", "gpu-")["taints"] == []
    assert federate(host.home, "taint", "one", "night-", code=2)["what"] == "cluster one has no such taint"
    assert federate(host.home, "uncordon", "one")["changed"] is True
    assert federate(host.home, "cordon", "nobody", code=2)["what"] == "there is no cluster nobody"


def test_what_cannot_join_or_leave_is_refused_in_words(host: Endpoint, tmp_path: Path) -> None:
    (tmp_path / "broken").write_text("{}")
    said = federate(host.home, "join", "two", f"--kubeconfig={tmp_path / 'broken'}", code=2)
    assert said["what"] == "cluster two cannot join"
    dead = {
        "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1", "insecure-skip-tls-verify": True}}],
        "users": [{"name": "c", "user": {"token": "x"}}],
    }  # fmt: skip
    (tmp_path / "dead").write_text(json.dumps(dead))
    said = federate(host.home, "join", "two", f"--kubeconfig={tmp_path / 'dead'}", code=1)
    assert (said["what"], "does not answer" in said["why"]) == ("cluster two is no member", True)
    assert cluster(host.home, "two") == {}
    assert federate(host.home, "leave", "nobody", code=2)["why"] == "there is no such member"
