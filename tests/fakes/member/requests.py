"""
One request to a fake member, from its path to the answer; the verbs of a resource.

Not here    sockets, tokens and trouble (tests.fakes.fake_member).
"""

import datetime as dt
import uuid
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

import orjson
from aiohttp import web

from cluster.api import selectable_fields
from cluster.api.custom_resource import CustomResource
from cluster.api.resources import ALL, NAMESPACES, Resource
from cluster.api.schema import schemas
from cluster.apiserver.custom_resources import definitions
from cluster.apiserver.discovery import Discovery, Document, wants_aggregated
from cluster.machinery import json_patch, managed_fields, merge_patch, strategic_merge
from cluster.machinery.decode import decode_yaml, media_type
from cluster.machinery.fields import FieldSelector
from cluster.machinery.labels import Selector
from cluster.machinery.objects import Key, Object
from cluster.machinery.status_errors import (
    ApiError,
    BadRequest,
    MethodNotAllowed,
    NotFound,
    UnsupportedMediaType,
)
from cluster.machinery.timestamps import format_time
from tests.fakes.member.controllers import DEFINITIONS, Controllers
from tests.fakes.member.generated import nodes
from tests.fakes.member.peculiarities import Peculiarities
from tests.fakes.member.store import Rest, Store, Stored
from tests.fakes.member.watching import Matches, Watcher
from tests.fakes.member.writes import MADE, Asked, Writes

_PATCHES = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
}
"""In the order in which refusals name them."""
WATCH_SECONDS = 1800.0
JSON = "application/json"


class Api:
    """A member's objects and what may be asked of them."""

    def __init__(self, behaves: Peculiarities) -> None:
        self.behaves = behaves
        self.store = Store()
        self.writes = Writes(self.store, behaves)
        self.watchers: set[Watcher] = set()
        self.tokens: set[str] = set()
        """Those that were requested here."""
        self._by_path: dict[tuple[str, str, str], Resource] = {}
        self._discovery: Discovery | None = None
        self.store.listeners.append(self._tell)
        Controllers(self.store, self.writes, behaves, self.refresh)
        if behaves.nodes:
            self.store.fill(*nodes(behaves))
        for name in ("kube-system", "default"):
            self.create_namespace(name)

    def create_namespace(self, name: str) -> None:
        obj: Object = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}}
        self.writes.create(NAMESPACES, "", obj, Asked(MADE))

    def refresh(self) -> None:
        """What is served has changed."""
        self._by_path.clear()
        self._discovery = None

    def _tell(self, change: Any) -> None:
        for watcher in list(self.watchers):
            watcher.tell(change)

    # --- what there is

    def _resources(self) -> Mapping[tuple[str, str, str], Resource]:
        if not self._by_path:
            found: list[Resource] = [one for one in ALL if self.behaves.serves(one.group, one.version)]
            for stored in self.store.objects(DEFINITIONS):
                for custom in definitions.served(stored.decode(DEFINITIONS)):
                    schemas().add_custom(custom.api_version, custom.kind, custom.schema)
                    found.append(custom)
            self._by_path = {(one.group, one.version, one.plural): one for one in found}
        return self._by_path

    def document(self, path: str, accept: str) -> Document | None:
        """Of discovery; None for a path that is none of its."""
        if self._discovery is None:
            self._discovery = Discovery(self._resources().values(), "192.0.2.1:6443")
        found = self._discovery
        aggregated = self.behaves.aggregated_discovery and wants_aggregated(accept)
        match path.strip("/").split("/"):
            case ["api"]:
                return found.core_aggregated if aggregated else found.core
            case ["apis"]:
                return found.groups_aggregated if aggregated else found.groups
            case ["api", version]:
                return found.group_version("", version)
            case ["apis", group]:
                return found.group(group)
            case ["apis", group, version]:
                return found.group_version(group, version)
            case _:
                pass
        return None

    def find(self, path: str) -> tuple[Resource, str, str, str]:
        """Resource, namespace, name and subresource. Raises NoSuchPath."""
        parts = [unquote(part) for part in path.strip("/").split("/")]
        group, rest = ("", parts[1:]) if parts[0] == "api" else (parts[1] if len(parts) > 1 else "", parts[2:])
        if parts[0] not in ("api", "apis") or len(rest) < 2:
            raise NoSuchPath(path)
        version, rest, namespace = rest[0], rest[1:], ""
        # `namespaces/x` and `namespaces/x/status` are of the Namespace; three parts more are of what is in it.
        if rest[0] == "namespaces" and len(rest) > 2 and not (not group and rest[2] in ("status", "finalize")):
            namespace, rest = rest[1], rest[2:]
        resource = self._resources().get((group, version, rest[0]))
        if resource is None or len(rest) > 3 or (namespace and not resource.namespaced):
            raise NoSuchPath(path)
        return resource, namespace, rest[1] if len(rest) > 1 else "", rest[2] if len(rest) > 2 else ""

    # --- reading

    def matches(self, resource: Resource, query: Mapping[str, str], name: str = "") -> Matches | None:
        """None selects everything. Raises BadRequest."""
        labels = Selector.parse(query["labelSelector"]) if query.get("labelSelector") else None
        fields = FieldSelector.parse(query["fieldSelector"]) if query.get("fieldSelector") else None
        for term in fields.terms if fields is not None else ():
            if not selectable_fields.is_selectable(resource, term.field):
                raise BadRequest(selectable_fields.refusal(resource, term.field))
        if labels is None and fields is None and not name:
            return None

        def match(stored: Stored) -> bool:
            if name and stored.key.name != name:
                return False
            if labels is not None and not labels.matches(stored.labels):
                return False
            if fields is None:
                return True
            return fields.matches(selectable_fields.selectable_fields(resource, stored.decode(resource)))

        return match

    def listing(self, resource: Resource, namespace: str, query: Mapping[str, str], *, partial: bool) -> bytes:
        if query.get("continue"):
            rest = self.store.continued(query["continue"])
        else:
            matches, listed = self.matches(resource, query), self.store.objects(resource, namespace)
            chosen = listed if matches is None else [one for one in listed if matches(one)]
            rest = Rest(self.store.version, chosen)
        page, token = self.store.page(rest, int(query.get("limit") or 0))
        metadata: Object = {"resourceVersion": str(rest.version)}
        if token:
            metadata |= {"continue": token, "remainingItemCount": len(rest.listed) - rest.start - len(page)}
        kind, api_version = f"{resource.kind}List", resource.api_version
        if partial:
            kind, api_version = "PartialObjectMetadataList", "meta.k8s.io/v1"
        whole = partial or isinstance(resource, CustomResource)
        encode = self.encoder(resource, partial=partial)
        items = b",".join([encode(one) for one in page] if whole else [one.body for one in page])
        head = orjson.dumps({"kind": kind, "apiVersion": api_version, "metadata": metadata})
        return b'%s,"items":[%s]}' % (head[:-1], items)

    def encoder(self, resource: Resource, *, partial: bool) -> Callable[[Stored], bytes]:
        if not partial:
            return lambda stored: stored.encode(resource)
        head = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
        return lambda stored: orjson.dumps({**head, "metadata": orjson.loads(stored.body)["metadata"]})

    def watch(
        self, resource: Resource, namespace: str, name: str, query: Mapping[str, str], *, partial: bool
    ) -> Watcher:
        """One that has all events up to now. Raises BadRequest."""
        matches = self.matches(resource, query, name)
        watcher = Watcher(resource, namespace, matches or (lambda _: True), self.encoder(resource, partial=partial))
        asked = query.get("resourceVersion") or ""
        initial = query.get("sendInitialEvents") == "true" and self.behaves.watch_list
        if initial or asked in ("", "0"):
            encode = self.encoder(resource, partial=partial)
            for stored in self.store.objects(resource, namespace):
                if matches is None or matches(stored):
                    watcher.line("ADDED", encode(stored))
            if initial:
                watcher.bookmark(self.store.version, initial=True)
        else:
            if not asked.isdecimal():
                raise BadRequest(f'Invalid value: "{asked}": strconv.ParseUint: parsing "{asked}": invalid syntax')
            try:
                for change in self.store.since(int(asked)):
                    watcher.tell(change)
            except ApiError as fault:
                watcher.fail(fault)
        self.watchers.add(watcher)
        return watcher

    # --- writing

    def patch(
        self, resource: Resource, key: Key, content_type: str, body: bytes, query: Mapping[str, str], asked: Asked
    ) -> tuple[Stored, int]:
        form = _PATCHES.get(media_type(content_type))
        usable = [
            media
            for media, known in _PATCHES.items()
            if (known != "apply" or self.behaves.server_side_apply)
            and (known != "strategic" or not isinstance(resource, CustomResource))
        ]
        if form is None or media_type(content_type) not in usable:
            raise UnsupportedMediaType(
                "the body of the request was in an unknown format - accepted media types include: " + ", ".join(usable)
            )
        if form == "apply":
            return self._apply(resource, key, body, query, asked)
        try:
            document = orjson.loads(body)
        except ValueError as fault:
            raise BadRequest(f"error decoding patch: {fault}") from None

        def make(old: Object) -> Object:
            if form == "json":
                return json_patch.apply(old, document)
            if form == "merge":
                return merge_patch.apply(old, document)
            return strategic_merge.apply(resource, old, document)

        return self.writes.update(resource, key, make, asked), 200

    def _apply(
        self, resource: Resource, key: Key, body: bytes, query: Mapping[str, str], asked: Asked
    ) -> tuple[Stored, int]:
        if not query.get("fieldManager"):
            raise BadRequest(
                'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
            )
        applied = orjson.loads(body) if body[:1] == b"{" else decode_yaml(body)[0]
        if not isinstance(applied, dict):
            raise BadRequest("error decoding YAML: it is no object")
        force = query.get("force") == "true"

        def merge(live: Object | None) -> Object:
            return managed_fields.apply(
                resource, live, applied, asked.manager, force, self.writes.now(), asked.subresource
            )

        if self.store.get(resource, key) is not None:
            return self.writes.update(resource, key, merge, asked), 200
        if asked.subresource:
            raise NotFound(f'{resource.qualified} "{key.name}" not found')
        if (applied.get("metadata") or {}).get("uid"):
            raise BadRequest("uid mismatch: the provided object specified uid, and no existing object was found")
        obj = merge(None)
        obj["metadata"]["name"] = key.name
        return self.writes.create(resource, key.namespace, obj, asked), 201

    def delete_all(
        self, resource: Resource, namespace: str, query: Mapping[str, str], options: Object, asked: Asked
    ) -> bytes:
        matches = self.matches(resource, query)
        chosen = [one for one in self.store.objects(resource, namespace) if matches is None or matches(one)]
        for one in chosen:
            self.writes.delete(resource, one.key, options, asked)
        items = b",".join(one.body for one in chosen)
        metadata = b'{"resourceVersion":"%d"}' % self.store.version
        head = b'{"kind":"%sList","apiVersion":"%s"' % (resource.kind.encode(), resource.api_version.encode())
        return b'%s,"metadata":%s,"items":[%s]}' % (head, metadata, items)

    def token(self, namespace: str, name: str, request: Object) -> Object:
        """A TokenRequest's answer; the token is good here from now on."""
        seconds = int((request.get("spec") or {}).get("expirationSeconds") or 3600)
        token = f"fake.{name}.{uuid.uuid4()}"
        self.tokens.add(token)
        expires = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds + self.behaves.clock_skew)
        status = {"token": token, "expirationTimestamp": format_time(expires)}
        metadata = {"name": name, "namespace": namespace, "creationTimestamp": self.writes.now()}
        return {**request, "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": metadata,
                "status": status}  # fmt: skip

    def scale(self, resource: Resource, stored: Stored) -> Object:
        obj = stored.decode(resource)
        metadata = {name: obj["metadata"][name] for name in ("name", "namespace", "uid", "resourceVersion")}
        status = {"replicas": (obj.get("status") or {}).get("replicas") or 0}
        spec = {"replicas": obj["spec"].get("replicas", 0)}
        return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status}


class NoSuchPath(Exception):
    """No group version is served there. Upstream answers it in plain text."""


def require_method(method: str) -> MethodNotAllowed:
    return MethodNotAllowed(f"the server does not allow this method on the requested resource ({method})")


def json_answer(body: bytes, status: int = 200, content_type: str = JSON) -> web.Response:
    return web.Response(body=body, status=status, headers={"Content-Type": content_type})
