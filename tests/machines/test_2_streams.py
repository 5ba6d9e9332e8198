"""What flows through an apiserver to a Pod: exec, attach, cp, port-forward and pages, over WebSocket and over SPDY."""

import contextlib
import os
import pathlib
import re
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator

import pytest

from tests.machines.conftest import Done, Operator, run, wait_for

WEB = "hanse.local/web:1"
SPDY = {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false", "KUBECTL_PORT_FORWARD_WEBSOCKETS": "false"}
TRANSPORTS = pytest.mark.parametrize("env", [{}, SPDY], ids=["websocket", "spdy"])


@pytest.fixture(scope="module")
def namespace(cluster: Operator) -> Iterator[str]:
    """With a Deployment and a Service of one Pod that serves pages."""
    name = f"streams-{uuid.uuid4().hex[:6]}"
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl("create", "deployment", "web", f"--image={WEB}", "--port=80", "-n", name)
    cluster.kubectl("expose", "deployment", "web", "--port=80", "-n", name)
    cluster.kubectl("rollout", "status", "deployment/web", "-n", name, "--timeout=90s")
    yield name
    cluster.kubectl("delete", "namespace", name, "--timeout=60s", timeout=90)


@pytest.fixture(scope="module")
def pod(cluster: Operator, namespace: str) -> str:
    return str(cluster.get("pods", "-n", namespace, "-l", "app=web")["items"][0]["metadata"]["name"])


def kubectl(person: Operator, env: dict[str, str], *args: str, stdin: str = "") -> Done:
    argv = [person.kubectl_binary, f"--kubeconfig={person.kubeconfig}", *args]
    done = run(argv, stdin=stdin, timeout=90, env={"HOME": str(person.home), **env})
    assert done.code == 0, f"kubectl {' '.join(args)} ended with {done.code}: {done.err}{done.out}"
    return done


@contextlib.contextmanager
def in_the_background(person: Operator, env: dict[str, str], telling: str, *args: str) -> Iterator[str]:
    """The first line that matches `telling`: its first group."""
    argv = [person.kubectl_binary, f"--kubeconfig={person.kubeconfig}", *args]
    process = subprocess.Popen(
        argv, stdout=subprocess.PIPE, text=True, env={**os.environ, "HOME": str(person.home), **env}
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if found := re.search(telling, line):
                yield found[1]
                break
        else:
            pytest.fail(f"kubectl {' '.join(args)} never said {telling}")
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


@TRANSPORTS
def test_files_are_copied_in_and_out(
    cluster: Operator, namespace: str, pod: str, env: dict[str, str], tmp_path: pathlib.Path
) -> None:
    sent, came_back = tmp_path / "sent", tmp_path / "back"
    sent.write_bytes(os.urandom(3 << 20))

    kubectl(cluster, env, "cp", str(sent), f"{namespace}/{pod}:/tmp/there")
    kubectl(cluster, env, "cp", f"{namespace}/{pod}:/tmp/there", str(came_back))

    assert came_back.read_bytes() == sent.read_bytes()


@TRANSPORTS
def test_exec_and_attach_pass_input_on(cluster: Operator, namespace: str, pod: str, env: dict[str, str]) -> None:
    done = kubectl(cluster, env, "exec", "-i", pod, "-n", namespace, "--", "cat", stdin="through exec\n")
    assert done.out == "through exec\n"

    name = f"once-{len(env)}"
    done = kubectl(cluster, env, "run", name, f"--image={WEB}", "--restart=Never", "-i", "--rm", "-n", namespace,
                   "--command", "--", "sh", "-c", "read line; echo heard $line", stdin="through attach\n")  # fmt: skip
    assert "heard through attach" in done.out


@TRANSPORTS
def test_a_port_is_forwarded(cluster: Operator, namespace: str, pod: str, env: dict[str, str]) -> None:
    told = r"Forwarding from 127\.0\.0\.1:(\d+) -> 80"
    with in_the_background(cluster, env, told, "port-forward", f"pod/{pod}", ":80", "-n", namespace) as port:
        for _ in range(3):
            assert page(f"http://127.0.0.1:{port}/").startswith(f"hello from {pod}")


def test_pages_are_shown_through_kubectl_proxy(cluster: Operator, namespace: str, pod: str) -> None:
    with in_the_background(cluster, {}, r"serve on 127\.0\.0\.1:(\d+)", "proxy", "--port=0") as port:
        base = f"http://127.0.0.1:{port}/api/v1/namespaces/{namespace}"

        def answer() -> str:
            with contextlib.suppress(OSError):
                return page(f"{base}/services/web:80/proxy/")
            return ""

        assert wait_for("the service's page", answer, 20).startswith(f"hello from {pod}")
        assert page(f"{base}/pods/{pod}:80/proxy").startswith(f"hello from {pod}"), "the slash is added"
        node = cluster.get("pod", pod, "-n", namespace)["spec"]["nodeName"]
        assert page(f"http://127.0.0.1:{port}/api/v1/nodes/{node}/proxy/healthz") == "ok"
