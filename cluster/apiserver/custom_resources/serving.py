"""
Serves what definitions define: from the moment they are established until their instances are gone.

Every apiserver follows the definitions in its cache; each of them also keeps their status and removes instances of
deleted ones. Two that do the same at once lose nothing: one's write fails and the next look finds it done.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson

from cluster.api import resources
from cluster.api.custom_resource import CustomResource
from cluster.api.resources import Resource
from cluster.api.schema import schemas
from cluster.apiserver.custom_resources import names
from cluster.apiserver.custom_resources.definitions import FINALIZER, is_true, parts_of, served, storage_version
from cluster.apiserver.custom_resources.kind import CustomKind
from cluster.apiserver.custom_resources.strategy import InstanceStrategy
from cluster.apiserver.registry.generic import Writer
from cluster.apiserver.registry.registry import Registry, own_context
from cluster.machinery.objects import Object, copy_object
from cluster.machinery.status_errors import ApiError, Conflict, NotFound
from cluster.machinery.timestamps import format_time
from cluster.store.backend import StoreError
from cluster.store.keys import place
from cluster.store.resource_cache import Change
from cluster.store.watch_cache import WatchCache

if TYPE_CHECKING:
    from cluster.apiserver.custom_resources.conversion import Converter
    from cluster.apiserver.openapi import OpenApi
    from cluster.apiserver.webhooks.client import WebhookClient

log = logging.getLogger(__name__)

DEFINITIONS = resources.named("customresourcedefinitions.apiextensions.k8s.io")
_RETRY_SECONDS = 1.0
_LINGERING_SECONDS = 2.0
"""How often instances are looked at that finalizers keep from going."""


class CustomResources:
    """`run` in a task. `resources` and `openapi` are what is served at the moment."""

    def __init__(
        self,
        registry: Registry,
        cache: WatchCache,
        writer: Writer,
        webhooks: "Callable[[], WebhookClient]",
        built_in: Sequence[Object] = (),
        others: tuple[Resource, ...] = resources.ALL,
        read_only: Collection[tuple[str, str]] = (),
    ) -> None:
        """
        Args:
            built_in: definitions, established, that are served and not stored; their groups are theirs alone.
            others: resources that are no custom ones.
            read_only: (group, plural) of those that can be got and listed and nothing else.
        """
        self._others_served = others
        self._read_only = frozenset(read_only)
        self._built_in = {definition["metadata"]["name"]: definition for definition in built_in}
        self._reserved = frozenset(definition["spec"]["group"] for definition in built_in)
        self._registry = registry
        self._cache = cache
        self._writer = writer
        self._webhooks = webhooks
        self._serving: dict[str, tuple[bytes, list[CustomResource]]] = {}
        """By the definition's name: what it was when its resources were set up, and these."""
        self._resources = others
        self._openapi: OpenApi | None = None
        self._judged: dict[tuple[str, int], list[str]] = {}
        """By uid and generation of a definition: its rules that cannot be evaluated here."""
        self._work = asyncio.Event()
        definitions = registry.kind(DEFINITIONS).cache
        definitions.subscribe(self._on_change, self._on_reset)

    @property
    def resources(self) -> tuple[Resource, ...]:
        """All that is served, built in or not."""
        return self._resources

    @property
    def openapi(self) -> "OpenApi | None":
        """Documents that describe custom resources too; None while there are none."""
        custom = [resource for _, found in self._serving.values() for resource in found]
        if not custom:
            return None
        if self._openapi is None:
            from cluster.apiserver.openapi import OpenApi

            published = {(one.group, one.version, one.kind): one.schema for one in custom}
            self._openapi = OpenApi(self._resources, published)
        return self._openapi

    # Serving, from the cache's updates: nothing here waits.

    def _on_change(self, change: Change) -> None:
        self._serve_definitions()
        self._work.set()

    def _on_reset(self) -> None:
        # Not yet: the cache is in the middle of loading, and new kinds need to know the revision it gets to.
        asyncio.get_running_loop().call_soon(self._serve_definitions)
        self._work.set()

    def _serve_definitions(self) -> None:
        wanted = dict(self._built_in)
        for definition in self._registry.list(DEFINITIONS):
            if definition["spec"]["group"] not in self._reserved:
                wanted[definition["metadata"]["name"]] = definition
        changed = False
        for name in [name for name in self._serving if name not in wanted]:
            self._withdraw(name)
            changed = True
        for name, definition in wanted.items():
            # What decides over serving; other changes of a definition leave its resources alone.
            state = orjson.dumps(
                [
                    definition["metadata"]["uid"],
                    definition["metadata"].get("generation"),
                    (definition.get("status") or {}).get("acceptedNames"),
                    is_true(definition, "Established"),
                    bool(definition["metadata"].get("deletionTimestamp")),
                ]
            )
            if name in self._serving and self._serving[name][0] == state:
                continue
            self._withdraw(name)
            try:
                self._serve(name, state, definition)
            except Exception:
                # A definition that passed validation somewhere else must not stop the others from being served.
                log.exception("cannot serve CustomResourceDefinition %s", name)
                self._serving[name] = (state, [])
            changed = True
        if changed:
            custom = [one for name in sorted(self._serving) for one in self._serving[name][1]]
            self._resources = (*self._others_served, *custom)
            self._openapi = None

    def _serve(self, name: str, state: bytes, definition: Object) -> None:
        spec = definition["spec"]
        found = served(definition)
        if (spec["group"], spec["names"]["plural"]) in self._read_only:
            found = [replace(one, verbs=frozenset({"get", "list"})) for one in found]
        stored_as = f"{spec['group']}/{storage_version(definition)}"
        converter = self._converter(spec)
        for resource in found:
            schemas().add_custom(resource.api_version, resource.kind, resource.schema)
            where = place(resource, custom=True)
            cache = self._cache.register(where)
            for entry in cache.entries():
                entry.fields = None  # which fields can be selected by may have changed
            kind = CustomKind(
                resource=resource,
                place=where,
                cache=cache,
                strategy=InstanceStrategy(resource),
                storage_version=stored_as,
                custom=True,
                converts=converter is not None,
                converter=converter,
            )
            self._registry.put(kind)
        self._serving[name] = (state, found)

    def _converter(self, spec: Object) -> "Converter | None":
        conversion = spec.get("conversion") or {}
        if conversion.get("strategy") != "Webhook":
            return None
        from cluster.apiserver.custom_resources.conversion import Converter  # few definitions have one

        return Converter(self._webhooks(), conversion)

    def _withdraw(self, name: str) -> None:
        _, found = self._serving.pop(name, (b"", []))
        for resource in found:
            kind = self._registry.drop(resource)
            schemas().remove_custom(resource.api_version, resource.kind)
            if kind is not None:
                kind.cache.end_watches()

    # Keeping definitions' status and removing what deleted ones leave.

    async def run(self) -> None:
        """For ever; what fails is tried again."""
        await self._cache.wait_ready()
        while True:
            pause = None
            self._work.clear()
            for definition in self._registry.list(DEFINITIONS):
                try:
                    if await self._settle(definition):
                        pause = _LINGERING_SECONDS
                except (Conflict, NotFound):
                    pause = pause or _RETRY_SECONDS  # somebody else was faster, or it is gone: the next look knows
                except (ApiError, StoreError, TimeoutError) as fault:
                    log.warning("CustomResourceDefinition %s: %s", definition["metadata"]["name"], fault)
                    pause = pause or _RETRY_SECONDS
                except Exception:
                    # Written past our validation, straight into the store: it must not end the server for all others.
                    log.exception("CustomResourceDefinition %s cannot be handled", definition["metadata"]["name"])
            try:
                async with asyncio.timeout(pause):
                    await self._work.wait()
            except TimeoutError:
                continue

    async def _settle(self, definition: Object) -> bool:
        """Bring one definition a step further. Returns whether it has to be looked at again soon."""
        if definition["metadata"].get("deletionTimestamp"):
            return await self._finish(definition)
        status = names.next_status(definition, self._others(definition), _now(), self._unenforced(definition))
        if status != definition.get("status"):
            await self._registry.update(DEFINITIONS, copy_object({**definition, "status": status}), "status")
        return False

    def _unenforced(self, definition: Object) -> list[str]:
        """Rules of the definition that this server cannot evaluate."""
        schemas_of = [
            version.get("schema", {}).get("openAPIV3Schema") or {} for version in definition["spec"]["versions"]
        ]
        if not any("x-kubernetes-validations" in part for one in schemas_of for part in parts_of(one)):
            return []
        key = definition["metadata"]["uid"], definition["metadata"].get("generation", 0)
        if key not in self._judged:
            from cluster.api.structural_schema.cel_rules import unsupported  # few definitions have rules

            self._judged[key] = sorted({text for one in schemas_of for text in unsupported(one)})
        return self._judged[key]

    def _others(self, definition: Object) -> Iterable[Object]:
        name = definition["metadata"]["name"]
        return [one for one in self._registry.list(DEFINITIONS) if one["metadata"]["name"] != name]

    async def _finish(self, definition: Object) -> bool:
        finalizers = definition["metadata"].get("finalizers") or []
        if FINALIZER not in finalizers:
            return False
        left = 0
        # Also without a served version (never established, or all switched off) instances may lie in the store.
        kind = self._storing_kind(definition)
        await self._cache.catch_up()
        for entry in list(kind.cache.entries()):
            options: Object = {"propagationPolicy": "Background"}
            try:
                _, gone = await self._writer.delete(kind, entry.namespace, entry.name, options, own_context())
                left += not gone
            except NotFound:
                continue
        if left:
            text = f"CustomResource deletion is in progress: {left} instances are kept by their finalizers"
            await self._tell(definition, "InstanceDeletionInProgress", text)
            return True
        ended = copy_object(definition)
        ended["metadata"]["finalizers"] = [one for one in finalizers if one != FINALIZER]
        await self._registry.update(DEFINITIONS, ended)
        return False

    def _storing_kind(self, definition: Object) -> CustomKind:
        name = definition["metadata"]["name"]
        for resource in self._serving.get(name, (b"", []))[1]:
            kind = self._registry.kind(resource)
            if isinstance(kind, CustomKind) and resource.version == storage_version(definition):
                return kind
        spec = definition["spec"]
        resource = CustomResource(
            spec["group"],
            storage_version(definition),
            spec["names"]["plural"],
            spec["names"]["kind"],
            spec["scope"] == "Namespaced",
            schema={"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        )
        where = place(resource, custom=True)
        return CustomKind(
            resource=resource,
            place=where,
            cache=self._cache.register(where),
            strategy=InstanceStrategy(resource),
            storage_version=resource.api_version,
            custom=True,
            converts=(converter := self._converter(spec)) is not None,
            converter=converter,
        )

    async def _tell(self, definition: Object, reason: str, text: str) -> None:
        changed = copy_object(definition)
        names.set_condition(changed, "Terminating", "True", reason, text, _now())
        if changed != definition:
            await self._registry.update(DEFINITIONS, changed, "status")


def _now() -> str:
    return format_time(datetime.now(UTC))
