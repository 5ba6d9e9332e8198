"""
The requests that a link sends to its member: one budget, one patience, and one answer to "who remembers who set what".

Writes go out in the budget, and a 429 is raised after the budget was told. A member that does not know server-side
apply is found out by its first 415.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import orjson

from cluster.api.resources import Resource
from cluster.client.metrics import Counter, Histogram
from cluster.client.rest import PATCH_MEDIA_TYPES, ApiClient, PatchType
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError, NotFound, ServiceUnavailable, TooManyRequests
from federation.controllers.links.budget import Budget
from federation.controllers.links.copies import FIELD_MANAGER

PATIENCE = 15.0  # seconds for one request: a member that hangs keeps its own workers busy, and not for a minute each
WRITES = Counter("hanse_federation_member_writes_total", "Writes sent to a member.", ("cluster", "verb"))
SECONDS = Histogram("hanse_federation_apply_duration_seconds", "Seconds one write to a member took.", ("cluster",))


class MemberApi:
    """One member. Every method raises ApiError; ServiceUnavailable when it does not answer."""

    def __init__(self, name: str, client: ApiClient) -> None:
        self.name = name
        self.client = client
        self.budget = Budget(time.monotonic)
        self.applies = True
        """It knows server-side apply."""

    async def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        try:
            return await self._send("GET", resource.path(namespace, name))
        except NotFound:
            return None

    async def apply(self, resource: Resource, obj: Object, *, dry_run: bool = False, force: bool = True) -> Object:
        """Server-side apply in our name."""
        params = {"fieldManager": FIELD_MANAGER, "force": "true" if force else "false"}
        return await self._patch(resource, obj["metadata"], obj, "apply", params, dry_run=dry_run)

    async def patch(
        self, resource: Resource, metadata: Object, patch: Any, patch_type: PatchType, *, dry_run: bool = False
    ) -> Object:
        return await self._patch(
            resource, metadata, patch, patch_type, {"fieldManager": FIELD_MANAGER}, dry_run=dry_run
        )

    async def create(self, resource: Resource, obj: Object) -> Object:
        """For members without server-side apply alone: a POST leaves an entry of its own in managedFields."""
        path = resource.path(obj["metadata"].get("namespace") or "")
        return await self._write("POST", path, obj, {"fieldManager": FIELD_MANAGER})

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str, propagation: str) -> None:
        """Raises Conflict when another object has the name by now."""
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": propagation,
        }
        await self._write("DELETE", resource.path(namespace, name), options, {})

    async def _patch(
        self,
        resource: Resource,
        metadata: Object,
        patch: Any,
        patch_type: PatchType,
        params: Mapping[str, str],
        *,
        dry_run: bool,
    ) -> Object:
        path = resource.path(metadata.get("namespace") or "", metadata["name"])
        headers = {"Content-Type": PATCH_MEDIA_TYPES[patch_type]}
        if dry_run:
            return await self._send("PATCH", path, patch, {**params, "dryRun": "All"}, headers)
        return await self._write("PATCH", path, patch, params, headers)

    async def _write(
        self, verb: str, path: str, body: Any, params: Mapping[str, str], headers: Mapping[str, str] | None = None
    ) -> Object:
        await self.budget.take()
        WRITES.inc(self.name, verb)
        started = time.perf_counter()
        try:
            return await self._send(verb, path, body, params, headers)
        finally:
            SECONDS.observe(time.perf_counter() - started, self.name)

    async def _send(
        self,
        verb: str,
        path: str,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Object:
        content = None if body is None else orjson.dumps(body)
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await self.client.request(
                    verb, path, params=params, body=content, headers=headers, patient=False
                )
        except TimeoutError:
            raise ServiceUnavailable(f"no answer to {verb} {path} within {PATIENCE:g} s") from None
        except TooManyRequests as error:
            self.budget.refused(error.retry_after)
            raise
        try:
            found = orjson.loads(answer)
        except orjson.JSONDecodeError:
            raise ApiError(f"the answer to {verb} {path} is no JSON: {answer[:100]!r}") from None
        if not isinstance(found, dict) or not isinstance(found.get("metadata"), dict):
            raise ApiError(f"the answer to {verb} {path} is no object of the API: {answer[:100]!r}")
        return found
