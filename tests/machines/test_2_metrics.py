"""`kubectl top` against a metrics API that a server outside of the cluster serves, through the masters' apiservers."""

import asyncio
import base64
import contextlib
import datetime as dt
import json
import pathlib
import socket
import ssl
import threading
import uuid
from collections.abc import Iterator
from typing import Any

from tests.fakes.extension_server import Certificates, ExtensionServer, api_service, service_objects
from tests.machines.conftest import Operator, wait_for

USAGE = {"cpu": "250m", "memory": "64Mi"}
VERBS = ["get", "list"]
RESOURCES = [
    {"name": "nodes", "singularName": "", "namespaced": False, "kind": "NodeMetrics", "verbs": VERBS},
    {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": VERBS},
]


def metrics(kind: str, objects: list[dict[str, Any]]) -> dict[str, Any]:
    """A list as metrics.k8s.io has it: the same usage for every node or container."""
    when = {"timestamp": dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "window": "15s"}
    items = []
    for obj in objects:
        containers = [{"name": c["name"], "usage": USAGE} for c in obj["spec"].get("containers", [])]
        used = {"containers": containers} if containers else {"usage": USAGE}
        metadata = {key: obj["metadata"][key] for key in ("name", "namespace") if key in obj["metadata"]}
        items.append({"metadata": metadata, **when, **used})
    return {"kind": f"{kind}List", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": {}, "items": items}


@contextlib.contextmanager
def in_a_thread(server: ExtensionServer, host: str, context: ssl.SSLContext) -> Iterator[None]:
    started, ended = threading.Event(), threading.Event()

    async def serve() -> None:
        async with server.running(host, context):
            started.set()
            await asyncio.to_thread(ended.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert started.wait(10)
        yield
    finally:
        ended.set()
        thread.join()


def address_towards(node: dict[str, Any]) -> str:
    """This machine's address on the network of the nodes."""
    addresses = {a["type"]: a["address"] for a in node["status"]["addresses"]}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((addresses["InternalIP"], 9))
        return str(probe.getsockname()[0])


def front_proxy_authority(person: Operator) -> str:
    """As the cluster publishes it for servers that extend its API."""
    published = person.get("configmap", "extension-apiserver-authentication", "-n", "kube-system")["data"]
    assert json.loads(published["requestheader-allowed-names"]) == ["front-proxy-client"]
    return str(published["requestheader-client-ca-file"])


def test_top_shows_what_a_metrics_server_measures(cluster: Operator, tmp_path: pathlib.Path) -> None:
    namespace = f"metrics-{uuid.uuid4().hex[:6]}"
    cluster.kubectl("create", "namespace", namespace)
    cluster.kubectl("run", "busy", "--image=hanse.local/web:1", "-n", namespace)
    nodes = cluster.get("nodes")["items"]
    host = address_towards(nodes[0])
    server = ExtensionServer("metrics.k8s.io", "v1beta1", RESOURCES)
    pods = cluster.get("pods", "-n", namespace)["items"]
    server.pages[f"{server.root}/nodes"] = metrics("NodeMetrics", nodes)
    server.pages[f"{server.root}/namespaces/{namespace}/pods"] = metrics("PodMetrics", pods)
    certificates = Certificates(tmp_path, proxy_authorities=front_proxy_authority(cluster))
    context = certificates.server_context(f"extension.{namespace}.svc")
    authorities = base64.b64encode(certificates.servers.certificate_pem).decode()

    with in_a_thread(server, host, context):
        objects = [obj for _, obj in service_objects(namespace, host, server.port)]
        wanted = [*objects, api_service(server, namespace, authorities)]
        cluster.kubectl("apply", "-f", "-", stdin=json.dumps({"kind": "List", "apiVersion": "v1", "items": wanted}))
        try:
            cluster.kubectl("wait", "--for=condition=Available", "apiservice/v1beta1.metrics.k8s.io", "--timeout=30s")
            wait_for(
                "every apiserver knows the metrics API",
                lambda: all("metrics.k8s.io/v1beta1" in cluster.kubectl("api-versions") for _ in range(3)),
                30,
            )
            table = wait_for("top", lambda: cluster.try_kubectl("top", "nodes").out, 30).splitlines()
            assert {line.split()[0] for line in table[1:]} == {node["metadata"]["name"] for node in nodes}
            assert {line.split()[1] for line in table[1:]} == {"250m"}
            shown = cluster.kubectl("top", "pods", "-n", namespace).splitlines()
            assert shown[1].split() == ["busy", "250m", "64Mi"]
            users = {headers.get("X-Remote-User") for _, _, headers in server.asked}
            assert {"kubernetes-admin", "system:kube-aggregator"} <= users
        finally:
            cluster.kubectl("delete", "apiservice", "v1beta1.metrics.k8s.io")
            cluster.kubectl("delete", "namespace", namespace, "--timeout=60s", timeout=90)
    gone = wait_for("top ends with the server", lambda: cluster.try_kubectl("top", "nodes").err, 20)
    assert "Metrics API not available" in gone
