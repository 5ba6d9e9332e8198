"""A control plane in one process, and the pytest plugin that gives it to the suites of others."""

import contextlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cluster.testing import ControlPlane, control_plane

ROOT = Path(__file__).parents[2]
KUBECTL = shutil.which("kubectl", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))


def call(plane: ControlPlane, path: str, body: Any = None, method: str = "") -> Any:
    """The answer, decoded."""
    request = urllib.request.Request(
        plane.url + path,
        None if body is None else json.dumps(body).encode(),
        {"Authorization": f"Bearer {plane.token}", "Content-Type": "application/json"},
        method=method or ("GET" if body is None else "POST"),
    )
    context = ssl.create_default_context(cafile=plane.ca_file)
    with urllib.request.urlopen(request, context=context, timeout=20) as answer:
        raw = answer.read()
    return json.loads(raw) if raw.startswith(b"{") else raw


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"not within 30 s: {what}"
        time.sleep(0.1)


def deployment(name: str, replicas: int) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "web:1"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def test_controllers_scheduler_and_hollow_nodes_bring_a_deployment_up_and_away() -> None:
    with control_plane(hollow_nodes=2) as plane:
        call(plane, "/api/v1/namespaces", {"metadata": {"name": "team"}})
        path = "/apis/apps/v1/namespaces/team/deployments"
        call(plane, path, deployment("web", 4))
        eventually(lambda: call(plane, f"{path}/web")["status"].get("availableReplicas") == 4, "four replicas")
        pods = call(plane, "/api/v1/namespaces/team/pods")["items"]
        assert sorted(pod["spec"]["nodeName"] for pod in pods) == ["node-1", "node-1", "node-2", "node-2"]
        call(plane, "/api/v1/namespaces/team", method="DELETE")

        def gone() -> bool:
            return all(n["metadata"]["name"] != "team" for n in call(plane, "/api/v1/namespaces")["items"])

        eventually(gone, "the namespace is gone")


@contextlib.contextmanager
def started(data: Path, *flags: str, end: int = signal.SIGTERM) -> Iterator[None]:
    """One that keeps its objects, until the block ends."""
    argv = [sys.executable, "-m", "cluster", f"--data-dir={data}", "--secure-port=0", *flags]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            assert "is ready" in process.stdout.readline()
            yield
        finally:
            process.send_signal(end)
            ended = process.wait(20)
    assert ended == (0 if end == signal.SIGTERM else -end)


def kubectl(kubeconfig: Path, *words: str) -> str:
    assert KUBECTL is not None
    done = subprocess.run([KUBECTL, f"--kubeconfig={kubeconfig}", *words], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_second_start_has_all_objects_and_the_same_identity(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with started(data, f"--kubeconfig-out={tmp_path / 'first'}"):
        kubectl(tmp_path / "first", "create", "configmap", "kept", "--from-literal=a=1")
    with started(data, f"--kubeconfig-out={tmp_path / 'second'}"):
        assert kubectl(tmp_path / "second", "get", "configmap", "kept", "-o=jsonpath={.data.a}") == "1"
        configs = [json.loads((tmp_path / name).read_bytes()) for name in ("first", "second")]
        for config in configs:
            config["clusters"][0]["cluster"].pop("server")
        assert configs[0] == configs[1]
        modes = {file.name: file.stat().st_mode & 0o077 for file in data.rglob("*")}
        assert set(modes.values()) == {0}, modes


def test_a_data_directory_in_use_is_refused_until_its_process_is_gone(tmp_path: Path) -> None:
    with started(tmp_path / "data", end=signal.SIGKILL):
        argv = [sys.executable, "-m", "cluster", f"--data-dir={tmp_path / 'data'}", "--secure-port=0"]
        second = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert second.returncode == 1
        assert "is in use by another process" in second.stderr
        assert "Traceback" not in second.stderr
    with started(tmp_path / "data"):
        pass


FOREIGN = """
import ssl, subprocess, urllib.request

def get(plane, path):
    request = urllib.request.Request(plane.url + path, headers={"Authorization": "Bearer " + plane.token})
    with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=plane.ca_file)) as answer:
        return answer.read()

def kubectl(plane, *words):
    return subprocess.check_output(["KUBECTL", "--kubeconfig", plane.kubeconfig, *words], text=True)

def test_raw(hanse_control_plane):
    assert get(hanse_control_plane, "/readyz") == b"ok"
    assert hanse_control_plane.token not in repr(hanse_control_plane)

def test_kubectl(hanse_control_plane):
    kubectl(hanse_control_plane, "create", "namespace", "shared")
    kubectl(hanse_control_plane, "wait", "node/node-1", "--for=condition=Ready", "--timeout=30s")

def test_shared_keeps_its_objects(hanse_control_plane):
    assert "shared" in kubectl(hanse_control_plane, "get", "namespaces")

def test_fresh_is_empty(fresh_hanse_control_plane, hanse_control_plane):
    assert "shared" not in kubectl(fresh_hanse_control_plane, "get", "namespaces")
    assert fresh_hanse_control_plane.url != hanse_control_plane.url
"""


def test_a_foreign_suite_gets_control_planes_by_the_entry_point(tmp_path: Path) -> None:
    suite, site = tmp_path / "suite", tmp_path / "site"
    (suite / "cluster").mkdir(parents=True)  # a package of the same name is no hindrance
    (suite / "test_foreign.py").write_text(FOREIGN.replace("KUBECTL", str(KUBECTL)))
    (suite / "pytest.ini").write_text("[pytest]\nhanse_nodes = 1\nfilterwarnings = error\n")
    # The entry points as an installation of this very project lays them down.
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    info = site / "hanse_under_test-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hanse-under-test\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[pytest11]\n" + "".join(f"{k} = {v}\n" for k, v in points.items()))
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", str(suite)],
        cwd=suite, env={**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
