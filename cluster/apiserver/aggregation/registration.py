"""
Keeps an APIService for each group version that is served here, so that clients find all of them in one place.

Built-in ones are made at bootstrap; those of CustomResourceDefinitions come and go with these. Every apiserver does
this; who loses a race finds it done at the next look.
"""

import asyncio
import datetime as dt
import logging
from collections.abc import Awaitable, Iterable, Sequence

from cluster.api import resources
from cluster.apiserver.aggregation.api_services import (
    API_SERVICES,
    LOCAL,
    backend_of,
    next_changes,
    wanted_for,
    with_verdict,
)
from cluster.apiserver.bootstrap import api_services
from cluster.apiserver.registry.registry import Registry
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import AlreadyExists, ApiError, Conflict, NotFound
from cluster.store.backend import StoreError
from cluster.store.resource_cache import Change

log = logging.getLogger(__name__)

_DEFINITIONS = resources.named("customresourcedefinitions.apiextensions.k8s.io")
_RETRY_SECONDS = 1.0


class Registration:
    def __init__(self, registry: Registry, definitions: Sequence[Object] = ()) -> None:
        """`definitions` are served and not stored."""
        self._registry = registry
        self._definitions = definitions
        self._work = asyncio.Event()
        for resource in (_DEFINITIONS, API_SERVICES):
            registry.kind(resource).cache.subscribe(self._on_change, self._work.set)

    def _on_change(self, change: Change) -> None:
        self._work.set()

    async def run(self) -> None:
        """For ever, from when bootstrap is done; what fails is tried again."""
        built_in = {obj["metadata"]["name"] for obj in api_services()}
        at_start = {obj["metadata"]["name"] for obj in self._registry.list(API_SERVICES)}
        while True:
            self._work.clear()
            try:
                done = await self._settle(built_in, at_start)
            except Exception:
                # Something odd in one object must not end the server for all others.
                log.exception("cannot keep APIServices; trying again when they change")
                done = True
            if not done:
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            at_start = set()
            await self._work.wait()

    async def _settle(self, built_in: Iterable[str], at_start: Iterable[str]) -> bool:
        present = {obj["metadata"]["name"]: obj for obj in self._registry.list(API_SERVICES)}
        served = ((resource.group, resource.version) for resource in resources.ALL)
        wanted = wanted_for([*self._definitions, *self._registry.list(_DEFINITIONS)], served)
        changes = next_changes(present, wanted, built_in, at_start)
        done = True
        for obj in changes.create:
            done &= await self._tried(obj["metadata"]["name"], self._registry.create(API_SERVICES, obj))
        for obj in changes.update:
            done &= await self._tried(obj["metadata"]["name"], self._registry.update(API_SERVICES, obj))
        for name in changes.delete:
            done &= await self._tried(name, self._registry.delete(API_SERVICES, "", name))
        for name, obj in present.items():
            changed = None if backend_of(obj) else with_verdict(obj, LOCAL, dt.datetime.now(dt.UTC))
            if changed is not None and name not in changes.delete:
                done &= await self._tried(name, self._registry.update(API_SERVICES, changed, "status"))
        return done

    @staticmethod
    async def _tried(name: str, writing: Awaitable[object]) -> bool:
        try:
            await writing
        except (AlreadyExists, Conflict, NotFound):
            return True  # another apiserver was faster; its change brings the next look
        except (ApiError, StoreError, TimeoutError) as fault:
            log.warning("APIService %s: %s", name, fault)
            return False
        return True
