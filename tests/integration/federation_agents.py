"""A whole federation on this host as processes of a test's own, and agents of members beside it."""

import asyncio
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from cluster.client.kubeconfig import ClientConfig, load_kubeconfig
from cluster.client.rest import ApiClient
from cluster.machinery.status_errors import ApiError, NotFound
from federation.api.resources import CLUSTERS
from federation.host.home import Description, Home
from federation.host.services import prepare, url
from tests.integration.control_plane_processes import process
from tests.ports import free_ports

T = TypeVar("T")


def call(login: ClientConfig, ask: Callable[[ApiClient], Awaitable[T]]) -> T:
    """One thing that somebody does."""

    async def done() -> T:
        async with ApiClient(login) as client:
            return await ask(client)

    return asyncio.run(done())


@dataclass(frozen=True, slots=True)
class Federation:
    home: pathlib.Path
    """HANSE_HOME."""
    name: str
    url: str
    kubeconfig: pathlib.Path
    folder: pathlib.Path

    def federate(self, *arguments: str, code: int = 0) -> Any:
        """What the command says in JSON; it has to end with this code."""
        argv = [sys.executable, "-m", "federation", *arguments, "--json"]
        environment = {**os.environ, "HANSE_HOME": str(self.home)}
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code, (arguments, done.stdout, done.stderr)
        return json.loads(done.stdout.splitlines()[-1])

    def ready(self) -> bool:
        with contextlib.suppress(ApiError):
            return self.call(lambda client: client.request("GET", "/readyz")) == b"ok"
        return False

    def call(self, ask: Callable[[ApiClient], Awaitable[T]]) -> T:
        """One thing that its administrator does."""
        return call(load_kubeconfig(self.kubeconfig), ask)

    def cluster(self, name: str) -> dict[str, Any]:
        """What is known of a member; empty when there is none."""
        with contextlib.suppress(NotFound):
            found = self.call(lambda client: client.get(CLUSTERS, name))
            return {"name": name, **(found.get("status") or {})}
        return {}


@contextlib.contextmanager
def federation(home: pathlib.Path, *controller_flags: str) -> Iterator[Federation]:
    """An apiserver and a controller manager, as `federate init` would start them."""
    [port] = free_ports(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HANSE_HOME", str(home))
        place = Home("world")
        wanted = Description(
            "world", "world.example", data_dir=str(place.path / "data"), secure_port=port, dns_port=port
        )
        place.path.mkdir(mode=0o700, parents=True)
        place.write(wanted)
        argv = {service.name: service.argv for service in prepare(place, wanted)}
        made = Federation(home, "world", url(wanted), place.kubeconfig, place.path)
    with process(made.folder / "apiserver.log", *argv["apiserver"]) as apiserver:
        eventually(lambda: apiserver.poll() is not None or made.ready(), "the apiserver is ready", 30)
        assert apiserver.poll() is None, (made.folder / "apiserver.log").read_text()
        with process(made.folder / "manager.log", *argv["controller-manager"], *controller_flags):
            yield made


@contextlib.contextmanager
def agent(log: pathlib.Path, kubeconfig: pathlib.Path, arguments: list[str]) -> Iterator["subprocess.Popen[bytes]"]:
    """By hand, as on a host that reaches the federation and the member."""
    argv = (sys.executable, "-m", "federation.agent", f"--kubeconfig={kubeconfig}", *arguments)
    with process(log, *argv) as running:
        yield running


def eventually(condition: Callable[[], Any], what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s: {what}")
        time.sleep(0.1)
