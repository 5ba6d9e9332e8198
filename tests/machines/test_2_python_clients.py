"""Python clients reach into a Pod that runs: exec, each with its own WebSocket."""

import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import kr8s
import lightkube
import pytest
from kr8s.asyncio import objects
from kubernetes import client, config
from kubernetes.stream import stream
from lightkube.resources.core_v1 import Pod

from tests.machines.conftest import WEB, Operator

# kr8s warns of servers newer than those it was tested with.
pytestmark = pytest.mark.filterwarnings("ignore:Kubernetes version .* is not supported:UserWarning")
ECHO = ["sh", "-c", "read line; echo heard $line; echo aside >&2; exit 7"]


@pytest.fixture(scope="module")
def place(cluster: Operator) -> Iterator[str]:
    """A namespace with a Pod `web` that serves pages."""
    name = f"python-{uuid.uuid4().hex[:6]}"
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl("run", "web", f"--image={WEB}", "--port=80", "-n", name)
    cluster.kubectl("wait", "--for=condition=Ready", "pod/web", "-n", name, "--timeout=60s")
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
async def api(cluster: Operator) -> AsyncIterator[Any]:
    made = await kr8s.asyncio.api(kubeconfig=str(cluster.kubeconfig))
    yield made
    await made._session.aclose()


def test_the_official_client_runs_programs(cluster: Operator, place: str) -> None:
    with config.new_client_from_config(str(cluster.kubeconfig)) as made:
        core = client.CoreV1Api(made)
        session = stream(
            core.connect_get_namespaced_pod_exec, "web", place, command=ECHO, stdin=True, stdout=True, stderr=True,
            tty=False, _preload_content=False,
        )  # fmt: skip
        session.write_stdin("you\n")
        session.run_forever(timeout=20)

        assert (session.read_stdout(), session.read_stderr()) == ("heard you\n", "aside\n")
        assert session.returncode == 7


def test_lightkube_runs_programs(cluster: Operator, place: str) -> None:
    made = lightkube.Client(config=lightkube.KubeConfig.from_file(str(cluster.kubeconfig)))
    try:
        done = made.exec("web", namespace=place, command=ECHO, stdin="you\n", stdout=True, stderr=True)
        assert (done.stdout, done.stderr, done.exit_code) == ("heard you\n", "aside\n", 7)
        assert made.get(Pod, "web", namespace=place).status.phase == "Running"
    finally:
        made._client._client.close()


async def test_kr8s_runs_programs(api: Any, place: str) -> None:
    pod = await objects.Pod.get("web", namespace=place, api=api)
    done = await pod.exec(["hostname"])
    assert (done.stdout, done.returncode) == (b"web\n", 0)
