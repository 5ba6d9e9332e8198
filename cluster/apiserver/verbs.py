"""
The verbs on resources: from a routed request to the registry, and the answer back.

Called by `server` for authenticated and authorized requests.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import orjson
from aiohttp import web

from cluster.apiserver import list_options, patches, responses, selection, views, write_options
from cluster.apiserver.lists import Lister
from cluster.apiserver.negotiation import OBJECT, TABLE, WATCHED, View, negotiate, not_acceptable
from cluster.apiserver.registry import rules
from cluster.apiserver.registry.generic import WriteContext, Writer
from cluster.apiserver.registry.kinds import Kind
from cluster.apiserver.requests import UserInfo
from cluster.apiserver.router import Route
from cluster.apiserver.watch import Watcher
from cluster.machinery.decode import decode_body
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import BadRequest, MethodNotAllowed, not_found
from cluster.store.encoding import Entry

_INCLUDABLE = frozenset({"", "None", "Metadata", "Object"})


class Asked(Protocol):
    """What most verbs need of a request; those that came through the door are nothing more."""

    @property
    def headers(self) -> Mapping[str, str]: ...

    async def read(self) -> bytes:
        """The body."""


@dataclass(slots=True)
class Call:
    """One request on one kind."""

    request: Asked
    route: Route
    user: UserInfo
    kind: Kind
    warnings: list[str] = field(default_factory=list)
    audit_annotations: dict[str, str] = field(default_factory=dict)

    def view(self) -> View:
        """Raises NotAcceptable, and BadRequest for rows that cannot be as they are wanted."""
        view = negotiate(self.request.headers.get("Accept", ""))
        if view.shape == TABLE and self.include not in _INCLUDABLE:
            raise BadRequest(
                f'Unable to convert to Table as requested: includeObject: Invalid value: "{self.include}": '
                "must be 'Metadata', 'Object', 'None', or empty"
            )
        return view

    @property
    def http(self) -> web.BaseRequest:
        """The request for verbs that pass it on or stream; those never come through the door."""
        if not isinstance(self.request, web.BaseRequest):
            raise TypeError(f"{self.route.verb} {self.route.path} needs its HTTP request")
        return self.request

    @property
    def include(self) -> str:
        return self.route.query.get("includeObject", "")

    def context(self, options: Object) -> WriteContext:
        return WriteContext(
            user=self.user,
            dry_run=bool(options.get("dryRun")),
            field_manager=options.get("fieldManager") or manager_of(self.request.headers.get("User-Agent", "")),
            options=options,
            warnings=self.warnings,
            audit_annotations=self.audit_annotations,
        )


def manager_of(user_agent: str) -> str:
    """The default field manager: the program's name, what stands before the first slash."""
    name = "".join(c for c in user_agent.split("/", 1)[0] if c.isprintable())[:128]
    return name or "unknown"


class Verbs:
    def __init__(self, writer: Writer, lister: Lister, watcher: Watcher) -> None:
        self.writer = writer
        self.lister = lister
        self.watcher = watcher

    async def serve(self, call: Call) -> web.StreamResponse:
        verb = call.route.verb
        misplaced = (verb == "create" and call.route.name) or (verb in ("update", "patch") and not call.route.name)
        if misplaced or verb not in call.kind.resource.verbs:
            raise MethodNotAllowed("the server does not allow this method on the requested resource")
        match verb:
            case "get":
                return await self.get(call)
            case "list":
                return await self.list_objects(call)
            case "watch":
                return await self.watch(call)
            case _:
                return await self.write(call)

    async def write(self, call: Call) -> web.Response:
        """The verbs that change something, where the resource has them."""
        match call.route.verb:
            case "create":
                return await self.create(call)
            case "update":
                return await self.update(call)
            case "patch":
                return await patches.patch(self, call)
            case "delete":
                return await self.delete(call)
            case "deletecollection":
                return await self.delete_collection(call)
            case _:
                raise MethodNotAllowed("the server does not allow this method on the requested resource")

    def answer(self, call: Call, entry: Entry, status: int = 200) -> web.Response:
        view = call.view()
        response = responses.body(views.one(call.kind, entry, view, call.include), status=status)
        responses.add_warnings(response, call.warnings)
        return response

    # Reading.

    async def read(self, kind: Kind, namespace: str, name: str, resource_version: str = "") -> Entry:
        """One object, as new as `resource_version` asks. Raises NotFound, Timeout."""
        await self.lister.fresh(resource_version)
        entry = kind.cache.get(namespace, name)
        if entry is None:
            kind.cache.check_readable(namespace, name)
            raise not_found(kind.resource.group, kind.resource.plural, name)
        return await kind.shown(entry) if kind.converts else entry

    async def get(self, call: Call) -> web.Response:
        route, kind = call.route, call.kind
        view = call.view()
        version = route.query.get("resourceVersion", "")
        list_options.check_version(version)
        entry = await self.read(kind, route.namespace, route.name, version)
        if view.shape == OBJECT:
            return responses.body(kind.whole(entry))
        return responses.body(views.one(kind, entry, view, call.include))

    async def list_objects(self, call: Call) -> web.Response:
        route, kind = call.route, call.kind
        view = call.view()
        options = list_options.parse(route)
        matches = selection.build(kind.resource, options.label_selector, options.field_selector)
        data = await self.lister.body(kind, route.namespace, options, matches, view, call.include)
        return responses.body(data)

    async def watch(self, call: Call) -> web.StreamResponse:
        route, kind = call.route, call.kind
        view = call.view()
        if view.yaml:
            raise not_acceptable(WATCHED)
        options = list_options.parse(route)
        matches = selection.build(kind.resource, options.label_selector, options.field_selector, route.name)
        return await self.watcher.serve(call.http, kind, route.namespace, options, matches, view, call.include)

    # Writing.

    async def decode(self, call: Call, options: Object, kind: Kind | None = None) -> Object:
        """The request's object, normalized. Raises BadRequest; warns about or refuses unknown fields."""
        resource = (kind or call.kind).resource
        data = await call.request.read()
        decoded = decode_body(data, call.request.headers.get("Content-Type", ""), resource.kind)
        obj = decoded.obj
        unknown = rules.normalize(resource, obj)
        self.strictness(resource.kind, resource.version, options, [*unknown, *decoded.duplicates], call)
        return obj

    @staticmethod
    def strictness(kind: str, version: str, options: Object, faults: list[str], call: Call) -> None:
        if not faults:
            return
        level = options.get("fieldValidation") or write_options.WARN
        if level == write_options.STRICT:
            joined = ", ".join(faults)
            raise BadRequest(
                f'{kind} in version "{version}" cannot be handled as a {kind}: strict decoding error: {joined}'
            )
        if level == write_options.WARN:
            call.warnings.extend(faults)

    async def create(self, call: Call) -> web.Response:
        call.view()
        options = write_options.check_write(call.route, "CreateOptions")
        obj = await self.decode(call, options)
        entry = await self.writer.create(call.kind, call.route.namespace, obj, call.context(options))
        return self.answer(call, entry, 201)

    async def update(self, call: Call, subresource: str = "") -> web.Response:
        call.view()
        route = call.route
        options = write_options.check_write(route, "UpdateOptions")
        obj = await self.decode(call, options)
        check_name(route.name, obj)
        data = orjson.dumps(obj)

        async def make(old: Object) -> Object:
            wanted: Object = orjson.loads(data)
            return wanted

        entry, created = await self.writer.update(
            call.kind, route.namespace, route.name, make, call.context(options), subresource=subresource
        )
        return self.answer(call, entry, 201 if created else 200)

    async def delete_options(self, call: Call) -> Object:
        data = await call.request.read()
        given: Object = {}
        if data:
            given = decode_body(data, call.request.headers.get("Content-Type", ""), "DeleteOptions").obj
            write_options.normalize_delete(given)
        return write_options.check_delete(call.route, given)

    async def delete(self, call: Call) -> web.Response:
        route, kind = call.route, call.kind
        call.view()
        options = await self.delete_options(call)
        entry, gone = await self.writer.delete(kind, route.namespace, route.name, options, call.context(options))
        if not gone or kind.strategy.returns_deleted:
            return self.answer(call, entry)
        resource = kind.resource
        details: Object = {"name": entry.name}
        if resource.group:
            details["group"] = resource.group
        details |= {"kind": resource.plural, "uid": entry.uid}
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        response = responses.json(status)
        responses.add_warnings(response, call.warnings)
        return response

    async def delete_collection(self, call: Call) -> web.Response:
        route, kind = call.route, call.kind
        view = call.view()
        options = await self.delete_options(call)
        wanted = list_options.parse(route)
        matches = selection.build(kind.resource, wanted.label_selector, wanted.field_selector)
        entries, meta = await self.lister.entries(kind, route.namespace, wanted, matches)
        context = call.context(options)
        for entry in entries:
            try:
                await self.writer.delete(kind, entry.namespace, entry.name, options, context)
            except Exception as fault:
                if getattr(fault, "http_code", 0) != 404:
                    raise
        return responses.body(views.many(kind, entries, meta, view, call.include))


def check_name(name: str, obj: Object) -> None:
    """Raises BadRequest when the object says it is another one than the URL."""
    given = (obj.get("metadata") or {}).get("name") or ""
    if not given:
        raise BadRequest("name must be provided")
    if given != name:
        raise BadRequest(f"the name of the object ({given}) does not match the name on the URL ({name})")
