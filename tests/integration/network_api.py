"""
A private etcd and apiserver as processes, and the few objects that the network services read, written by hand.
"""

import contextlib
import json
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.conftest import TOKEN, etcd_program
from tests.integration.network_namespaces import eventually, program
from tests.ports import free_ports

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: test
contexts: [{name: test, context: {cluster: test, user: test}}]
clusters: [{name: test, cluster: {server: "https://127.0.0.1:6443", insecure-skip-tls-verify: true}}]
users: [{name: test, user: {token: %s}}]
"""


@dataclass(frozen=True)
class ClusterApi:
    """Objects by hand: there is no controller beside."""

    port: int
    etcd_port: int
    kubeconfig: Path
    """Names 127.0.0.1:6443: a relay or an apiserver has to be there."""

    def call(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        request = urllib.request.Request(
            f"https://127.0.0.1:{self.port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": content_type},
        )
        context = ssl._create_unverified_context()
        try:
            with urllib.request.urlopen(request, context=context, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()[:1000]}") from error

    def service(self, name: str, *, ports: list[dict[str, Any]] | None = None, **spec: Any) -> Any:
        """A Service in the namespace default, port 80 by default; returns its spec as stored."""
        wanted = {"ports": ports or [{"name": "http", "port": 80, "targetPort": 8080}], **spec}
        body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": wanted}
        return self.call("POST", "/api/v1/namespaces/default/services", body)["spec"]

    def endpoints(
        self,
        service: str,
        *addresses: str | dict[str, Any],
        ports: list[dict[str, Any]] | None = None,
        node: str = "n1",
    ) -> None:
        """Make `addresses` the whole of the Service's one EndpointSlice; a dict is an endpoint as it stands."""
        path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
        labels = {"kubernetes.io/service-name": service}
        each = [
            {"addresses": [a], "nodeName": node, "conditions": {"ready": True}} if isinstance(a, str) else a
            for a in addresses
        ]
        body = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": f"{service}-1", "labels": labels},
            "addressType": "IPv4",
            "ports": ports or [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": each,
        }
        with contextlib.suppress(AssertionError):
            self.call("DELETE", f"{path}/{service}-1")
        self.call("POST", path, body)

    def node(self, name: str, address: str, pod_cidr: str) -> None:
        body = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name},
            "spec": {"podCIDR": pod_cidr, "podCIDRs": [pod_cidr]},
        }
        self.call("POST", "/api/v1/nodes", body)
        status = {"status": {"addresses": [{"type": "InternalIP", "address": address}]}}
        self.call("PATCH", f"/api/v1/nodes/{name}/status", status, "application/merge-patch+json")


@contextlib.contextmanager
def etcd(directory: Path) -> Iterator[int]:
    """The port of an etcd of its own."""
    found = etcd_program()
    client, peer = free_ports(2)
    url, peer_url = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    argv = [
        found, f"--data-dir={directory / 'etcd'}", f"--listen-client-urls={url}", f"--advertise-client-urls={url}",
        f"--listen-peer-urls={peer_url}", f"--initial-advertise-peer-urls={peer_url}",
        f"--initial-cluster=default={peer_url}", "--log-level=error", "--unsafe-no-fsync",
    ]  # fmt: skip
    with program(argv, directory / "etcd.log"):
        yield client


def apiserver_argv(directory: Path, etcd_port: int, port: int, address: str = "127.0.0.1") -> list[str]:
    directory.mkdir(exist_ok=True)
    tokens = directory / "tokens.csv"
    tokens.write_text(f'{TOKEN},admin,1,"system:masters"\n')
    return [
        sys.executable, "-m", "cluster.apiserver", f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        f"--secure-port={port}", f"--bind-address={address}", f"--cert-dir={directory}",
        f"--token-auth-file={tokens}", "--authorization-mode=Node,RBAC", "--endpoint-reconciler-type=none",
    ]  # fmt: skip


@contextlib.contextmanager
def cluster_api(directory: Path) -> Iterator[ClusterApi]:
    kubeconfig = directory / "kubeconfig"
    kubeconfig.write_text(KUBECONFIG % TOKEN)
    (port,) = free_ports(1)
    with etcd(directory) as etcd_port:
        log = directory / "apiserver.log"
        with program(apiserver_argv(directory / "certs", etcd_port, port), log) as process:
            api = ClusterApi(port, etcd_port, kubeconfig)

            def ready() -> bool:
                assert process.poll() is None, log.read_text()[-3000:]
                with contextlib.suppress(OSError, AssertionError):
                    api.call("GET", "/api/v1/namespaces/default")
                    return True
                return False

            eventually(ready, "the apiserver is ready", 20)
            yield api
