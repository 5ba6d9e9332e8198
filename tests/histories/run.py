"""
One run: servers, clients, watchers and trouble; then quiet, and the history with etcd's own log.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import orjson

from tests.histories import check_operations, check_watches, linearizability
from tests.histories.clients import NAMESPACE, Client
from tests.histories.contests import bind_contest, quota_contest
from tests.histories.nemesis import Nemesis
from tests.histories.operations import History
from tests.histories.servers import HEADERS, PREFIX, Servers, running
from tests.histories.store_log import read_log
from tests.histories.timeline import Timeline
from tests.histories.watchers import Watcher

QUIET_SECONDS = 2.0
"""How long watches have to tell the last changes."""


@dataclass(frozen=True, slots=True)
class Settings:
    operations: int = 4000
    clients: int = 16
    watchers: int = 9
    apiservers: int = 3
    keys: int = 24
    seed: int = 1
    trouble: bool = True
    interval: float = 3.0
    """Seconds between two troubles."""
    contests: int = 3
    """Rounds in which many bind the same Pods, and many create against one quota."""
    bug: str = ""


async def run(settings: Settings) -> tuple[History, list[str]]:
    """The history, and all that is wrong with it."""
    history = History()
    async with running(settings.apiservers, settings.bug) as servers:
        await _namespaces(servers)
        watchers = [Watcher(at, servers, history.watches, settings.seed) for at in range(settings.watchers)]
        async with asyncio.TaskGroup() as tasks:
            watching = [tasks.create_task(watcher.run()) for watcher in watchers]
            async with _trouble(servers, settings, history):
                await _work(servers, settings, history)
            for watcher in watchers:
                watcher.stay()
            await asyncio.sleep(QUIET_SECONDS)
            for watcher in watchers:
                watcher.mark_live()
            for task in watching:
                task.cancel()
        findings = await _contests(servers, settings)
        history.log = await read_log(servers.etcd.url, f"{PREFIX}/configmaps/{NAMESPACE}/")
    return history, [*findings, *judge(history)]


def judge(history: History) -> list[str]:
    """All findings of all checkers."""
    timeline = Timeline(history.log)
    return [
        *check_operations.check(history, timeline),
        *check_watches.check(history.watches, timeline),
        *linearizability.check(history.operations, timeline.by_mark),
    ]


async def _work(servers: Servers, settings: Settings, history: History) -> None:
    share = settings.operations // settings.clients
    clients = [Client(at, servers, settings.keys, history.operations, settings.seed) for at in range(settings.clients)]
    async with asyncio.TaskGroup() as tasks:
        for client in clients:
            tasks.create_task(client.run(share))


@contextlib.asynccontextmanager
async def _trouble(servers: Servers, settings: Settings, history: History) -> AsyncIterator[None]:
    nemesis = Nemesis(servers, settings.seed, history.trouble, settings.interval)
    task = asyncio.create_task(nemesis.run()) if settings.trouble else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await nemesis.heal()


async def _namespaces(servers: Servers) -> None:
    server = servers.apiservers[0]
    async with aiohttp.ClientSession(headers=HEADERS) as session:
        for name in (NAMESPACE, "contest"):
            body = orjson.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
            url = f"{server.url}/api/v1/namespaces"
            kind = {"Content-Type": "application/json"}
            async with session.post(url, data=body, headers=kind, ssl=servers.context(server)) as answer:
                answer.raise_for_status()


async def _contests(servers: Servers, settings: Settings) -> list[str]:
    findings: list[str] = []
    for number in range(settings.contests):
        findings += await bind_contest(servers, number)
        findings += await quota_contest(servers, number)
    return findings
