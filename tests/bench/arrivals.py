"""When objects arrive in fake members: told by their stores, so that looking costs nothing."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import orjson

from cluster.machinery.objects import Object
from tests.fakes.fake_member import FakeMember
from tests.fakes.member.store import DELETED, Change


class Arrivals:
    """`wait(name, value)` ends when an object of that name has that value in every member that is looked at."""

    def __init__(self, members: Iterable[FakeMember], value_of: Callable[[Object], Any] | None = None) -> None:
        self._value_of = value_of or (lambda obj: (obj.get("data") or {}).get("value"))
        self._names = [member.name for member in members]
        self._seen: dict[tuple[str, Any], dict[str, float]] = {}
        self._waiting: dict[tuple[str, Any], asyncio.Event] = {}
        self.writes = 0
        for member in members:
            member.api.store.listeners.append(self._listener(member.name))

    def _listener(self, member: str) -> Callable[[Change], None]:
        def heard(change: Change) -> None:
            if change.type == DELETED:
                return
            self.writes += 1
            what = change.stored.key.name, self._value_of(orjson.loads(change.stored.body))
            seen = self._seen.setdefault(what, {})
            seen.setdefault(member, time.perf_counter())
            if len(seen) == len(self._names) and what in self._waiting:
                self._waiting[what].set()

        return heard

    async def wait(self, name: str, value: Any, seconds: float = 60.0) -> float:
        """When it arrived in the last of them, by perf_counter. Raises TimeoutError."""
        what = name, value
        if len(self._seen.get(what, ())) < len(self._names):
            event = self._waiting.setdefault(what, asyncio.Event())
            async with asyncio.timeout(seconds):
                await event.wait()
        return max(self._seen[what].values())


def config_map(name: str, value: str, **labels: str) -> Object:
    metadata = {"name": name, "namespace": "default", "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"value": value, "fill": "x" * 800}}


def deployment(name: str, replicas: int, **labels: str) -> Object:
    chosen = {"app": name}
    container = {"name": "c", "image": "web:1", "resources": {"requests": {"cpu": "100m"}}}
    pod = {"metadata": {"labels": chosen}, "spec": {"containers": [container]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": chosen}, "template": pod}
    metadata = {"name": name, "namespace": "default", "labels": labels}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def percentile(times: Sequence[float], share: float) -> float:
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
