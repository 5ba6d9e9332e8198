"""
Looks after one server that serves a group version: is it there, and what does it say it serves?

Each apiserver does so for itself; the condition Available in the APIService's status is what all of them go by.
Source: k8s.io/kube-aggregator, pkg/controllers/status/remote and pkg/apiserver/handler_discovery.go.
"""

import asyncio
import contextlib
import datetime as dt
import logging
from collections.abc import Awaitable, Mapping

import aiohttp
from aiohttp import web

from cluster.api import resources
from cluster.apiserver.aggregation import documents
from cluster.apiserver.aggregation.api_services import (
    API_SERVICES,
    PASSED,
    Backend,
    Verdict,
    group_version,
    verdict_without_asking,
    with_verdict,
)
from cluster.apiserver.aggregation.remote import Answer, CannotConnectError, Remote
from cluster.apiserver.discovery import ServedElsewhere
from cluster.apiserver.options import Options
from cluster.apiserver.proxy.forwarding import reason_of
from cluster.apiserver.registry.registry import Registry
from cluster.apiserver.requests import UserInfo
from cluster.apiserver.router import Route
from cluster.apiserver.service_resolver import CannotRouteError, ServiceResolver
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError, Conflict, NotFound
from cluster.store.backend import StoreError
from cluster.store.resource_cache import Change

log = logging.getLogger(__name__)

_CHECK_SECONDS = 30.0
_FIRST_PAUSE = 0.2
_ATTEMPTS = 5
"""Questions at once, each perhaps to another endpoint; one good answer is enough."""
_LEARN_EVERY = 2
"""Of so many checks one also asks what is served: about once a minute."""
_FAULTS = (ApiError, CannotRouteError, CannotConnectError, aiohttp.ClientError, TimeoutError, OSError)


class Attendant:
    def __init__(
        self,
        api_service: Object,
        backend: Backend,
        options: Options,
        resolver: ServiceResolver,
        registry: Registry,
        gauges: dict[str, float],
    ) -> None:
        self.name: str = api_service["metadata"]["name"]
        self.group, self.version = group_version(api_service)
        self.remote = Remote(backend, options, resolver)
        self._registry = registry
        self._gauges = gauges
        self._gauge = f'aggregator_unavailable_apiservice{{name="{self.name}"}}'
        self._service_name = backend.service.encode()
        self._work = asyncio.Event()
        self._priorities = 0, 0
        self._resources: tuple[Object, ...] | None = None
        self._current = False
        self.openapi_index: Object = {}
        """Its entry in /openapi/v3."""
        self.openapi_part = b""
        """Its part of /openapi/v2."""
        self._openapi_etag = ""

    @property
    def served(self) -> ServedElsewhere:
        """Its part of discovery."""
        return ServedElsewhere(self.group, self.version, *self._priorities, self._resources, self._current)

    async def serve(self, request: web.BaseRequest, found: Route, user: UserInfo) -> web.StreamResponse:
        return await self.remote.serve(request, found, user)

    def look_at(self, api_service: Object) -> None:
        """The APIService as it is now."""
        spec = api_service["spec"]
        self._priorities = spec.get("groupPriorityMinimum") or 0, spec.get("versionPriority") or 0

    async def close(self) -> None:
        self._gauges.pop(self._gauge, None)
        await self.remote.close()

    async def run(self) -> None:
        """For ever: check, tell, learn; soon again after a failure and whenever the Service or its endpoints change."""
        with contextlib.ExitStack() as stack:
            for resource in (resources.SERVICES, resources.ENDPOINT_SLICES):
                stack.callback(self._registry.kind(resource).cache.subscribe(self._on_change, self._work.set))
            rounds, pause = 0, _FIRST_PAUSE
            while True:
                self._work.clear()
                try:
                    good = await self._look(learn=rounds % _LEARN_EVERY == 0)
                except Exception:
                    # Whatever the other server says must not end this one.
                    log.exception("APIService %s cannot be looked after", self.name)
                    good = False
                if good:
                    wait, pause, rounds = _CHECK_SECONDS, _FIRST_PAUSE, rounds + 1
                else:
                    wait, pause, rounds = pause, min(pause * 2, _CHECK_SECONDS), 0
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._work.wait()

    async def _look(self, *, learn: bool) -> bool:
        """One round. Returns whether all is well, and told."""
        verdict = await self._verdict()
        self._gauges[self._gauge] = float(not verdict.passed)
        told = await self._tell(verdict)
        if not told or not verdict.passed:
            self._current = False
            return False
        if learn:
            await self._learn()
        return True

    def _on_change(self, change: Change) -> None:
        backend, entry = self.remote.backend, change.entry
        if entry.namespace == backend.namespace and self._service_name in entry.metadata_bytes:
            self._work.set()

    # Is it there?

    async def _verdict(self) -> Verdict:
        backend = self.remote.backend
        service = self._registry.get(resources.SERVICES, backend.namespace, backend.service)
        slices = [
            part
            for part in self._registry.list(resources.ENDPOINT_SLICES, backend.namespace)
            if (part["metadata"].get("labels") or {}).get("kubernetes.io/service-name") == backend.service
        ]
        found = verdict_without_asking(backend, service, slices)
        return found or await self._ask_discovery()

    async def _ask_discovery(self) -> Verdict:
        attempts = [asyncio.create_task(self._attempt()) for _ in range(_ATTEMPTS)]
        text = ""
        try:
            for attempt in asyncio.as_completed(attempts):
                text = await attempt
                if not text:
                    return PASSED
        finally:
            for task in attempts:
                task.cancel()
            await asyncio.gather(*attempts, return_exceptions=True)
        return Verdict("False", "FailedDiscoveryCheck", text)

    async def _attempt(self) -> str:
        """Empty when it answers, else what is wrong."""
        path = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        try:
            target = await self.remote.target(path, checked=False)
        except _FAULTS as fault:
            return str(fault)
        url = f"https://{target.authority}{path}"
        try:
            status, _, _ = await self.remote.ask(path, {"Accept": "application/json"}, target)
        except _FAULTS as fault:
            return f'failing or missing response from {url}: Get "{url}": {reason_of(target, fault)}'
        if 200 <= status < 300:
            return ""
        return f"failing or missing response from {url}: bad status from {url}: {status}"

    async def _tell(self, verdict: Verdict) -> bool:
        """Write the condition unless it is there. Returns False when that has to be tried again."""
        present = self._registry.get(API_SERVICES, "", self.name)
        changed = with_verdict(present, verdict, dt.datetime.now(dt.UTC)) if present else None
        if changed is None:
            return True
        try:
            await self._registry.update(API_SERVICES, changed, "status")
        except (Conflict, NotFound):
            return False  # another apiserver said the same, or the object is about to change: look again
        except (ApiError, StoreError, TimeoutError) as fault:
            log.warning("cannot tell that APIService %s is %s: %s", self.name, verdict.reason, fault)
            return False
        if not verdict.passed:
            log.warning("APIService %s is not available: %s", self.name, verdict.message)
        return True

    # What does it serve?

    async def _learn(self) -> None:
        self._current = await self._learned(self._learn_resources(), "what it serves")
        await self._learned(self._learn_openapi(), "its OpenAPI documents")

    async def _learned(self, learning: Awaitable[None], what: str) -> bool:
        try:
            await learning
        except _FAULTS as fault:
            log.warning("cannot learn %s from APIService %s: %s", what, self.name, fault)
            return False
        return True

    async def _learn_resources(self) -> None:
        """In one answer for all groups where the server can do that, else in the old form."""
        found = None
        status, _, body = await self._get("/apis", documents.AGGREGATED_ACCEPT)
        if status == 200:
            found = documents.resources_of(body, self.group, self.version)
        if found is None:
            path = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
            status, _, body = await self._get(path, "application/json")
            found = documents.resources_of_list(body, self.group, self.version) if status == 200 else None
        if found is None:
            raise CannotConnectError(f"it answers {status} and no list of resources")
        self._resources = found

    async def _learn_openapi(self) -> None:
        """Servers without such documents are fine: kubectl does without."""
        status, _, body = await self._get("/openapi/v3", "application/json")
        self.openapi_index = documents.index_entries(body, self.group, self.version) if status == 200 else {}
        headers = {"If-None-Match": self._openapi_etag} if self._openapi_etag else {}
        status, answered, body = await self._get("/openapi/v2", "application/json", headers)
        if status != 304:
            self.openapi_part = documents.version_2_part(body, self.group, self.version) if status == 200 else b""
            self._openapi_etag = answered.get("ETag", "")

    async def _get(self, path: str, accept: str, more: Mapping[str, str] | None = None) -> Answer:
        return await self.remote.ask(path, {"Accept": accept, **(more or {})}, await self.remote.target(path))
