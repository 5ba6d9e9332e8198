"""Terminals, attach, ephemeral containers and logs over rotation, on a real containerd."""

import asyncio
import contextlib
import dataclasses
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from cluster.api import resources
from cluster.kubelet.housekeeping import old_logs, rotate_logs
from cluster.kubelet.settings import KubeletSettings
from tests.integration.containerd_host import SHELL_IMAGE, ContainerdHost, missing_programs, running_containerd
from tests.integration.kubelet_node import NodeUnderTest, is_running, running_node

if TYPE_CHECKING:
    from tests.integration.conftest import Api

LACKING = missing_programs()
pytestmark = pytest.mark.skipif(bool(LACKING), reason=f"a real containerd needs {', '.join(LACKING)} here")

STDIN, STDOUT, ERROR, RESIZE = b"\x00", 1, 3, b"\x04"


@pytest.fixture(scope="module")
def host() -> Iterator[ContainerdHost]:
    with running_containerd() as found:
        yield found


@pytest.fixture
async def node(api: "Api", host: ContainerdHost, request: pytest.FixtureRequest) -> AsyncIterator[NodeUnderTest]:
    name = f"io-{uuid.uuid4().hex[:8]}"
    await api.namespace(name)
    async with running_node(api, host, name) as running:
        yield running


class Terminal:
    """What `kubectl -it` does over a websocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket, self.shown, self.verdict = socket, "", ""

    async def type(self, text: str) -> None:
        await self.socket.send_bytes(STDIN + text.encode())

    async def resize(self, columns: int, rows: int) -> None:
        await self.socket.send_bytes(RESIZE + json.dumps({"Width": columns, "Height": rows}).encode())

    async def until(self, text: str) -> None:
        async with asyncio.timeout(10):
            while text not in self.shown:
                message = await self.socket.receive()
                assert message.type is aiohttp.WSMsgType.BINARY, (text, self.shown, self.verdict)
                if message.data[0] == STDOUT:
                    self.shown += message.data[1:].decode()
                elif message.data[0] == ERROR:
                    self.verdict += message.data[1:].decode()

    async def end(self) -> str:
        async with asyncio.timeout(10):
            async for message in self.socket:
                if message.data[0] == ERROR:
                    self.verdict += message.data[1:].decode()
        return str(json.loads(self.verdict)["status"])


@contextlib.asynccontextmanager
async def terminal(node: NodeUnderTest, path: str, query: str) -> AsyncIterator[Terminal]:
    url = f"{node.url}/{path}?{query}"
    async with node.session.ws_connect(url, protocols=["v5.channel.k8s.io"]) as socket:
        yield Terminal(socket)


async def test_a_shell_in_a_terminal_knows_its_size(node: NodeUnderTest) -> None:
    await node.create("box", "containers: [{name: main, command: [sleep, '1000']}]")
    await node.until("box", is_running)
    query = "command=sh&input=1&output=1&tty=1"
    async with terminal(node, f"exec/{node.namespace}/box/main", query) as shell:
        await shell.resize(101, 42)
        await asyncio.sleep(0.2)
        await shell.type("stty size\n")
        await shell.until("42 101")
        await shell.resize(77, 33)
        await asyncio.sleep(0.2)
        await shell.type("stty size; test -t 0 && echo is-a-$((40+2))\n")
        await shell.until("33 77")
        await shell.until("is-a-42")
        await shell.type("exit 0\n")
        assert await shell.end() == "Success"


async def test_attach_joins_the_first_process(node: NodeUnderTest) -> None:
    await node.create(
        "talk",
        """
        restartPolicy: Never
        containers:
        - {name: main, stdin: true, stdinOnce: true, command: [sh, -c, "while read x; do echo got $x; done; echo over"]}
        - {name: term, stdin: true, tty: true, command: [sh]}
        """,
    )
    await node.until("talk", is_running)
    async with terminal(node, f"attach/{node.namespace}/talk/main", "input=1&output=1&error=1") as joined:
        await joined.type("one\n")
        await joined.until("got one\n")
        await joined.socket.send_str("\0two\n")  # what the Python client does with text
        await joined.until("got two\n")
        await joined.socket.send_bytes(bytes([255, 0]))  # stdin ends, and with stdinOnce the process hears it
        await joined.until("over\n")
    async with terminal(node, f"attach/{node.namespace}/talk/term", "input=1&output=1&tty=1") as joined:
        await joined.resize(66, 22)
        await asyncio.sleep(0.2)
        await joined.type("stty size\n")
        await joined.until("22 66")
        await joined.type("exit 7\n")
    pod = await node.until("talk", lambda p: p["status"]["phase"] == "Failed")
    codes = {s["name"]: s["state"]["terminated"]["exitCode"] for s in pod["status"]["containerStatuses"]}
    assert codes == {"main": 0, "term": 7}


async def test_an_ephemeral_container_sees_the_processes_of_its_target(node: NodeUnderTest) -> None:
    await node.create("ill", "containers: [{name: main, command: [sleep, '4242']}]")
    pod = await node.until("ill", is_running)
    debugger = {
        "name": "debugger",
        "image": SHELL_IMAGE,
        "command": ["sh", "-c", "cat /proc/1/cmdline | tr '\\0' ' '; echo; exit 9"],
        "targetContainerName": "main",
    }
    await node.client.update(
        resources.PODS,
        {**pod, "spec": {**pod["spec"], "ephemeralContainers": [debugger]}},
        subresource="ephemeralcontainers",
    )

    def is_over(found: Any) -> bool:
        entries = found["status"].get("ephemeralContainerStatuses") or ()
        return any("terminated" in entry["state"] for entry in entries)

    pod = await node.until("ill", is_over)
    assert await node.log("ill", "debugger") == "sleep 4242 \n"
    (entry,) = pod["status"]["ephemeralContainerStatuses"]
    assert (entry["state"]["terminated"]["exitCode"], entry["restartCount"]) == (9, 0)
    assert pod["status"]["phase"] == "Running"
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0


async def test_a_followed_log_goes_on_over_rotations(node: NodeUnderTest) -> None:
    count = 12_000
    await node.create(
        "chatty",
        f"""
        restartPolicy: Never
        containers:
        - name: main
          command:
          - sh
          - -c
          - |
            i=0
            while [ $i -lt {count} ]; do i=$((i+1)); echo line $i; [ $((i % 3000)) = 0 ] && sleep 1.2; done
            sleep 1
        """,
    )
    await node.until("chatty", lambda p: p["status"].get("phase") == "Running")
    following = asyncio.create_task(node.log("chatty", query="follow=true"))
    worker = node.worker("chatty")
    small = _with_small_logs(node)
    rotated = 0
    run = worker.observed.latest("main")
    # A follower that comes after a rotation rightly begins with the newest file, so let it come first.
    await _is_read(str(worker.observed.latest("main").log_path))
    while not following.done():
        before = await asyncio.to_thread(_names, worker)
        await rotate_logs(node.kubelet.runtime, worker.observed.containers, small)
        rotated += await asyncio.to_thread(_names, worker) != before
        await asyncio.sleep(0.4)
    lines = (await following).splitlines()
    assert rotated >= 2
    assert lines == [f"line {number}" for number in range(1, count + 1)]
    assert run is not None
    assert len(await asyncio.to_thread(_names, worker)) <= 3


async def _is_read(path: str) -> None:
    """Returns once this process, in which the kubelet runs, has the file open."""
    async with asyncio.timeout(10):
        while True:
            if path in await asyncio.to_thread(_open_files):
                return
            await asyncio.sleep(0.02)


def _open_files() -> set[str]:
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(str(descriptor.readlink()))
    return found


def _names(worker: Any) -> list[Path]:
    return old_logs(Path(worker.observed.latest("main").log_path))


def _with_small_logs(node: NodeUnderTest) -> KubeletSettings:
    return dataclasses.replace(node.kubelet.settings, log_max_size=20_000, log_max_files=4)


async def test_a_log_over_ten_megabytes_is_rotated_and_five_files_are_kept(node: NodeUnderTest) -> None:
    settings = node.kubelet.settings
    assert (settings.log_max_size, settings.log_max_files) == (10 * 1024 * 1024, 5)
    await node.create(
        "flood",
        """
        containers:
        - {name: main, command: [sh, -c, "yes 0123456789012345678901234567890 | head -c 8000000; touch /ok; sleep 100"]}
        """,
    )
    await node.until("flood", is_running)
    worker = node.worker("flood")
    run = worker.observed.latest("main")
    log = Path(run.log_path)
    async with asyncio.timeout(15):
        while (await node.run("flood", ["test", "-e", "/ok"]))[0]:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    await asyncio.sleep(0.5)
    for number in range(6):
        await asyncio.to_thread(log.with_name(f"{log.name}.2020010{number}-000000").write_text, "old")
    await rotate_logs(node.kubelet.runtime, worker.observed.containers, settings)
    kept = await asyncio.to_thread(old_logs, log)
    assert len(kept) == 4
    assert kept[-1].stat().st_size > 10 * 1024 * 1024
    assert await node.log("flood", query="tailLines=1") == ""
