"""Fifty writes a second while something is done to the cluster: how long nothing was written, and whether all that was
acknowledged is there."""

import asyncio
import contextlib
import dataclasses
import itertools
import pathlib
import threading
import time
import uuid
from collections.abc import Iterator

from cluster.api import resources
from cluster.client.kubeconfig import load_kubeconfig
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import AlreadyExists, ApiError

RATE = 50
TRY = 5.0  # seconds that one write has


@dataclasses.dataclass
class Writes:
    """What became of them."""

    namespace: str
    acknowledged: list[tuple[float, str]] = dataclasses.field(default_factory=list)
    """When, and which ConfigMap."""
    failed: int = 0
    lost: list[str] = dataclasses.field(default_factory=list)
    """Acknowledged, and not there in the end."""

    @property
    def longest_gap(self) -> float:
        """Seconds between two answers that said yes."""
        times = sorted(when for when, _ in self.acknowledged)
        return max((b - a for a, b in itertools.pairwise(times)), default=0.0)

    def since(self, seconds: float) -> bool:
        """Whether one was acknowledged in the last `seconds`."""
        return bool(self.acknowledged) and time.monotonic() - self.acknowledged[-1][0] < seconds


@contextlib.contextmanager
def writing(kubeconfig: pathlib.Path) -> Iterator[Writes]:
    """Through the address that kubectl uses, from a thread of its own, for the length of the block."""
    told = Writes(f"writes-{uuid.uuid4().hex[:6]}")
    stop = threading.Event()
    failed: list[BaseException] = []

    def work() -> None:
        try:
            asyncio.run(_write(kubeconfig, told, stop))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield told
    finally:
        stop.set()
        thread.join()
    if failed:
        raise failed[0]  # what was acknowledged could not be counted


async def _write(kubeconfig: pathlib.Path, told: Writes, stop: threading.Event) -> None:
    config = load_kubeconfig(kubeconfig)
    only = dataclasses.replace(config, servers=config.servers[:1])
    async with ApiClient(only, user_agent="writes") as client:
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": told.namespace}}
        await client.create(resources.NAMESPACES, namespace)
        running: set[asyncio.Task[None]] = set()
        number, begun = 0, time.monotonic()
        while not stop.is_set():
            task = asyncio.create_task(_one(client, told, f"w{number}"))
            running.add(task)
            task.add_done_callback(running.discard)
            number += 1
            await asyncio.sleep(max(0.0, begun + number / RATE - time.monotonic()))
        await asyncio.gather(*running)
        there = await _listed(client, told.namespace)
        names = {item["metadata"]["name"] for item in there["items"]}
        told.lost = [name for _, name in told.acknowledged if name not in names]
        await client.delete(resources.NAMESPACES, told.namespace)


async def _listed(client: ApiClient, namespace: str) -> Object:
    async with asyncio.timeout(90):
        while True:
            try:
                return await client.list(resources.CONFIG_MAPS, namespace=namespace, metadata_only=True)
            except ApiError:
                await asyncio.sleep(0.5)


async def _one(client: ApiClient, told: Writes, name: str) -> None:
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": told.namespace},
        "data": {"x": "y" * 100},
    }
    try:
        async with asyncio.timeout(TRY):
            await client.create(resources.CONFIG_MAPS, body)
    except AlreadyExists:
        pass
    except (ApiError, TimeoutError, OSError):
        told.failed += 1
        return
    told.acknowledged.append((time.monotonic(), name))
