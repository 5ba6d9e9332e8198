"""One etcd on tmpfs and one real apiserver process before it: what the apiserver's figures are taken from."""

import base64
import contextlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.ports import free_port

ADMIN, USER = "bench-administrator", "bench-user"
"""Bearer tokens, good for one run on loopback. The load is the user's, whose rights come from RBAC."""
OBJECT_BYTES = 2048
NAMESPACE = "bench"
_MEMORY_DISK = "/dev/shm"
_ROLE = {
    "kind": "ClusterRole",
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "metadata": {"name": "bench"},
    "rules": [{"apiGroups": [""], "resources": ["configmaps", "pods"], "verbs": ["*"]}],
}
_BINDING = {
    "kind": "ClusterRoleBinding",
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "metadata": {"name": "bench"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "bench"},
    "subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "benchers"}],
}


@dataclass(frozen=True, slots=True)
class Server:
    """A running apiserver."""

    pid: int
    port: int
    directory: Path
    seconds_to_ready: float
    """From the process's start to the first 200 of /readyz."""

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def certificate(self) -> str:
        return str(self.directory / "apiserver.crt")

    def call(self, method: str, path: str, body: Any = None, token: str = ADMIN) -> Any:
        """The decoded answer. Raises HTTPError for everything but 2xx."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, context=_trusting(self.directory), timeout=30) as answer:
            return json.load(answer)


def config_map(name: str, at: int) -> dict[str, Any]:
    """An object whose JSON has OBJECT_BYTES; every second one is labelled `half=even`."""
    labels = {"app": "bench", "half": "even" if at % 2 == 0 else "odd"}
    obj: dict[str, Any] = {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": f"00000000-0000-4000-8000-{at:012d}",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": labels,
        },
        "data": {"text": ""},
    }
    obj["data"]["text"] = "x" * (OBJECT_BYTES - len(json.dumps(obj, separators=(",", ":"))))
    return obj


def pod(name: str) -> dict[str, Any]:
    """What a client sends to create a Pod with two containers, OBJECT_BYTES long."""
    container = {
        "image": "hanse.local/web:1",
        "ports": [{"name": "http", "containerPort": 8080}],
        "env": [{"name": f"SETTING_{at}", "value": "x" * 30} for at in range(8)],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
        "readinessProbe": {"httpGet": {"path": "/", "port": "http"}},
    }
    obj: dict[str, Any] = {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": "bench"}, "annotations": {"text": ""}},
        "spec": {"containers": [{"name": "first", **container}, {"name": "second", **container}]},
    }
    obj["metadata"]["annotations"]["text"] = "x" * max(0, OBJECT_BYTES - len(json.dumps(obj, separators=(",", ":"))))
    return obj


@contextlib.contextmanager
def etcd(identity: Path | None = None) -> Iterator[str]:
    """
    Yields its client URL.

    Args:
        identity: A folder with ca.crt, server.crt and server.key: TLS, and clients need a certificate of that CA.
    """
    program = shutil.which("etcd", path=os.environ.get("HANSE_ETCD_BIN", "") or "/opt/hanse/current/bin")
    if program is None:
        raise SystemExit("no etcd; name the folder that holds it in HANSE_ETCD_BIN (`make integration` unpacks one)")
    url = f"{'http' if identity is None else 'https'}://127.0.0.1:{free_port()}"
    peer, metrics = f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
    with TemporaryDirectory(prefix="hanse-bench-", dir=_MEMORY_DISK) as directory:
        argv = [
            program, f"--data-dir={directory}/data", f"--listen-client-urls={url}", f"--advertise-client-urls={url}",
            f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}",
            f"--listen-metrics-urls={metrics}", "--log-level=error", "--quota-backend-bytes=4294967296",
        ]  # fmt: skip
        if identity is not None:
            argv += [
                f"--trusted-ca-file={identity / 'ca.crt'}", "--client-cert-auth",
                f"--cert-file={identity / 'server.crt'}", f"--key-file={identity / 'server.key'}",
            ]  # fmt: skip
        with open(f"{directory}/log", "wb") as log, _process(argv, log):
            _wait(lambda: json.load(urllib.request.urlopen(f"{metrics}/health", timeout=1))["health"] == "true", "etcd")
            yield url


def seed(etcd_url: str, first: int, last: int) -> None:
    """Put objects number first..last-1 into the store itself, as the apiserver would have: creates would take long."""
    for start in range(first, last, 100):
        puts = [
            {
                "requestPut": {
                    "key": _base64(f"/registry/configmaps/{NAMESPACE}/object-{at:06d}".encode()),
                    "value": _base64(json.dumps(config_map(f"object-{at:06d}", at), separators=(",", ":")).encode()),
                }
            }
            for at in range(start, min(start + 100, last))
        ]
        body = json.dumps({"success": puts}).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{etcd_url}/v3/kv/txn", body), timeout=30) as answer:
            answer.read()


@contextlib.contextmanager
def apiserver(etcd_url: str, profile: Path | None = None) -> Iterator[Server]:
    """A process of its own, ready. With `profile` it runs under cProfile, which writes there when it ends."""
    with TemporaryDirectory(prefix="hanse-bench-") as name:
        directory = Path(name)
        tokens = directory / "tokens.csv"
        tokens.write_text(f'{ADMIN},admin,1,"system:masters"\n{USER},bench,2,"benchers"\n')
        port = free_port()
        profiled = ["-m", "cProfile", "-o", str(profile)] if profile else []
        argv = [
            sys.executable, *profiled, "-m", "cluster.apiserver", f"--etcd-servers={etcd_url}",
            f"--secure-port={port}", "--bind-address=127.0.0.1", f"--cert-dir={directory}",
            f"--token-auth-file={tokens}", "--authorization-mode=Node,RBAC", "--endpoint-reconciler-type=none",
        ]  # fmt: skip
        began = time.monotonic()
        with (directory / "log").open("wb") as log, _process(argv, log) as process:
            server = Server(process.pid, port, directory, 0.0)
            _wait(lambda: _is_ready(server), "the apiserver", pause=0.01)
            server = Server(process.pid, port, directory, time.monotonic() - began)
            for path, body in _PREPARED.items():
                with contextlib.suppress(urllib.error.HTTPError):  # an earlier server on this etcd made it
                    server.call("POST", path, body)
            yield server


_PREPARED: Mapping[str, Any] = {
    "/apis/rbac.authorization.k8s.io/v1/clusterroles": _ROLE,
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings": _BINDING,
    "/api/v1/namespaces": {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": NAMESPACE}},
    f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts": {
        "kind": "ServiceAccount",
        "apiVersion": "v1",
        "metadata": {"name": "default"},
    },
}


def _is_ready(server: Server) -> bool:
    request = urllib.request.Request(f"{server.url}/readyz", headers={"Authorization": f"Bearer {ADMIN}"})
    with urllib.request.urlopen(request, context=_trusting(server.directory), timeout=1) as answer:
        return bool(answer.read() == b"ok")


def _trusting(directory: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(directory / "apiserver.crt"))


def _wait(check: Any, what: str, pause: float = 0.05) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if check():
                return
        except (OSError, ssl.SSLError):
            pass  # not yet
        time.sleep(pause)
    raise SystemExit(f"{what} was not ready within 60 s")


@contextlib.contextmanager
def _process(argv: list[str], log: Any) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(argv, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
