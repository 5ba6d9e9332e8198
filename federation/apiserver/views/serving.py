"""
Pods, Nodes, Events, Endpoints and EndpointSlices at the federation's API: what the members have of them.

Who may see them is decided by the federation's roles; members are asked with the federation's own credentials.
Decisions: federation/decisions/0002-views-of-members.md
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson
from aiohttp import web

from cluster.api import resources
from cluster.apiserver import list_options, responses
from cluster.apiserver.app import Apiserver
from cluster.apiserver.negotiation import TABLE, WATCHED, View, not_acceptable
from cluster.apiserver.verbs import Call
from cluster.apiserver.watch import MAX_SECONDS, MIN_SECONDS
from cluster.machinery.objects import Key, Object
from cluster.machinery.status_errors import (
    ApiError,
    BadRequest,
    Conflict,
    Gone,
    MethodNotAllowed,
    NotFound,
    ServiceUnavailable,
    not_found,
    qualified,
)
from federation.api.kinds import GROUP, SYSTEM_NAMESPACE
from federation.api.resources import placement_name
from federation.apiserver.member_proxy import pass_on_all
from federation.apiserver.tunnels import Tunnels
from federation.apiserver.views import marks, metrics, versions
from federation.apiserver.views.asked import CLUSTER_PARAMETER, Asked, asked
from federation.apiserver.views.asking import UnansweredError, accept, ask
from federation.apiserver.views.lists import Wanted, listed
from federation.apiserver.views.streams import pass_on
from federation.apiserver.views.watches import MergedWatch
from federation.membership.agents import is_pull
from federation.membership.member_clients import Member, MemberClients, MemberFault, secret_name

VIEWS = frozenset(
    {
        ("", "pods"), ("", "nodes"), ("", "events"), ("", "endpoints"),
        ("events.k8s.io", "events"), ("discovery.k8s.io", "endpointslices"),
    }
)  # fmt: skip
READS = frozenset({"get", "list", "watch"})
CONNECTED = ("federation", "clusters")
CONNECTIONS = frozenset({(*CONNECTED, "tunnel"), (*CONNECTED, "proxy")})
_CLUSTERS = ("federation", "v1beta1", "clusters")
_STREAMS = frozenset({"log", "exec", "attach", "portforward", "proxy"})


class MemberViews:
    """Satisfies `cluster.apiserver.profile.Views`."""

    def __init__(self, server: Apiserver) -> None:
        self._registry = server.registry
        self._authorizer = server.security.authorizer
        self._clients = MemberClients("federation-apiserver")
        self._tunnels = Tunnels(self._cluster, self._on_clusters)
        self._stopped = asyncio.Event()

    async def serve(self, call: Call) -> web.StreamResponse:
        route = call.route
        if (route.group, route.resource) == CONNECTED:
            return await self._connect(call)
        names = self._names()
        if route.subresource in _STREAMS and route.name:
            question = asked(route, names)
            member, _ = await self._find(call, question)
            return await pass_on(call, member, question.name)
        if route.verb not in call.kind.resource.verbs & READS or (route.subresource and route.subresource != "status"):
            raise _read_only(call)
        question = asked(route, names)
        if route.verb == "get":
            return await self._get(call, question)
        return await (self._list(call, question) if route.verb == "list" else self._watch(call, question))

    async def close(self) -> None:
        """Watches end, and connections to members."""
        self._stopped.set()
        await self._tunnels.close()
        await self._clients.close()

    async def _connect(self, call: Call) -> web.StreamResponse:
        """`clusters/tunnel` and `clusters/proxy`."""
        if call.route.subresource == "tunnel":
            return await self._tunnels.serve(call)
        name = call.route.name
        cluster = self._cluster(name)
        if cluster is None:
            raise not_found(*CONNECTED, name)
        try:
            member = self._member(cluster)
        except MemberFault as fault:
            raise ServiceUnavailable(str(fault)) from fault
        return await pass_on_all(call, member, self._authorizer)

    # Members.

    def _cluster(self, name: str) -> Object | None:
        kind = self._registry.find(*_CLUSTERS)
        return self._registry.get(kind.resource, "", name) if kind is not None else None

    def _on_clusters(self, call: Callable[[], None]) -> Callable[[], None]:
        kind = self._registry.find(*_CLUSTERS)
        assert kind is not None  # noqa: S101 - of our profile, and somebody has asked for one
        return kind.cache.subscribe(lambda *_: call(), lambda *_: call())

    def _clusters(self) -> Sequence[Object]:
        kind = self._registry.find(*_CLUSTERS)
        return self._registry.list(kind.resource) if kind is not None else ()

    def _names(self) -> frozenset[str]:
        return frozenset(cluster["metadata"]["name"] for cluster in self._clusters())

    async def _members(self, names: Collection[str], warnings: list[str]) -> list[Member]:
        """Those that can be asked; a warning about each of the others."""
        clusters = {cluster["metadata"]["name"]: cluster for cluster in self._clusters()}
        await self._clients.tidy(clusters.keys())
        found = []
        for name in sorted(set(names) & clusters.keys()):
            try:
                found.append(self._member(clusters[name]))
            except MemberFault as fault:
                warnings.append(str(UnansweredError(name, str(fault))))
        return found

    def _member(self, cluster: Object) -> Member:
        """Raises MemberFault."""
        if is_pull(cluster):
            return self._tunnels.member(cluster)
        wanted = secret_name(cluster)
        secret = self._registry.get(resources.SECRETS, SYSTEM_NAMESPACE, wanted) if wanted else None
        return self._clients.member(cluster, secret)

    # One object.

    async def _get(self, call: Call, question: Asked) -> web.Response:
        view = call.view()
        member, obj = await self._find(call, question)
        name = question.shown_name if question.shown_name != question.name else ""
        if _is_metrics(call):
            obj = marks.mark(obj, member.name, name)
            obj = metrics.table([obj], {}, view.version) if view.shape == TABLE else obj
        elif view.shape == TABLE:
            columns = marks.Columns()
            obj["rows"] = columns.take(obj, member.name, marks.column_names(obj), name)
            obj["columnDefinitions"] = columns.definitions
        else:
            marks.mark(obj, member.name, name)
        response = responses.json(obj)
        responses.add_warnings(response, call.warnings)
        return response

    async def _find(self, call: Call, question: Asked) -> tuple[Member, Object]:
        """
        The member that has the object, and the object in the form that the client wants.

        Raises NotFound, Conflict when several have one of that name, ServiceUnavailable when nobody who answers has
        it and not all do.
        """
        resource, route = call.kind.resource, call.route
        members = await self._members(question.clusters, call.warnings)
        streams = route.subresource in _STREAMS
        form = "application/json" if streams or _is_metrics(call) else accept(call.view(), many=False)
        params = {} if streams else _others(route.query)
        path = resource.path(route.namespace, question.name, "" if streams else route.subresource)

        silent: list[str] = []

        async def one(member: Member) -> Object | None:
            try:
                return await ask(member, path, params, form)
            except NotFound:
                return None
            except UnansweredError as fault:
                silent.append(str(fault))
            except ApiError as fault:
                silent.append(str(UnansweredError(member.name, fault.message)))
            return None

        answers = await asyncio.gather(*(one(member) for member in members))
        call.warnings += silent
        found = [(member, answer) for member, answer in zip(members, answers, strict=True) if answer is not None]
        what = f'{qualified(resource.group, resource.plural)} "{question.name}"'
        if len(found) > 1:
            listed_names = ", ".join(member.name for member, _ in found)
            raise Conflict(
                f"{what} is in several clusters: {listed_names}; say which, as in {found[0][0].name}:{question.name}"
            )
        if found:
            return found[0]
        if silent:
            raise ServiceUnavailable(f"{what} is in no cluster that answers; {'; '.join(silent)}")
        raise not_found(resource.group, resource.plural, question.name)

    # Many.

    def _wanted(self, call: Call, question: Asked) -> Wanted:
        params = _others(call.route.query)
        if question.label_selector:
            params["labelSelector"] = question.label_selector
        fields = question.field_selector
        if question.name:  # /api/v1/watch/…/NAME
            fields = ",".join([part for part in (fields, f"metadata.name={question.name}") if part])
        if fields:
            params["fieldSelector"] = fields
        view = View() if _is_metrics(call) else call.view()
        return Wanted(call.kind.resource, call.kind.resource.path(call.route.namespace), params, view)

    async def _list(self, call: Call, question: Asked) -> web.Response:
        wanted = self._wanted(call, question)
        options = list_options.parse(replace(call.route, query=_numeric(call.route.query)))
        if options.match == list_options.EXACT:
            raise BadRequest("resourceVersionMatch Exact cannot be had of several clusters; leave it out")
        members = await self._members(question.clusters, call.warnings)
        token = call.route.query.get("continue", "")
        body = await listed(wanted, members, options.limit, token, call.warnings, self._ours(call, wanted))
        if _is_metrics(call) and (view := call.view()).shape == TABLE:
            found = orjson.loads(body)
            body = orjson.dumps(metrics.table(found["items"], found["metadata"], view.version))
        response = responses.body(body)
        responses.add_warnings(response, call.warnings)
        return response

    def _ours(self, call: Call, wanted: Wanted) -> Object | None:
        """Events that the federation tells itself, where one object's are asked for."""
        if call.kind.resource.plural != "events" or CLUSTER_PARAMETER in call.route.query:
            return None
        from federation.apiserver.views.placement_events import told  # few ask for it

        fields = wanted.params.get("fieldSelector", "")
        return told(call.kind.resource, call.route.namespace, fields, wanted.view, self._placements)

    def _placements(self, kind: str, key: Key) -> Sequence[Object]:
        """Of objects of a kind, in whatever group it is."""
        placements = self._registry.find(GROUP, "v1beta1", "placements" if key.namespace else "clusterplacements")
        if placements is None:
            return ()
        groups = {one.resource.group for one in self._registry.kinds if one.resource.kind == kind}
        names = sorted(placement_name(group, kind, key.name) for group in groups)
        found = [self._registry.get(placements.resource, key.namespace, name) for name in names]
        return [one for one in found if one is not None]

    async def _watch(self, call: Call, question: Asked) -> web.StreamResponse:
        wanted, query = self._wanted(call, question), call.route.query
        if wanted.view.yaml:
            raise not_acceptable(WATCHED)
        options = list_options.parse(replace(call.route, query=_numeric(query)))
        given = query.get("resourceVersion", "")
        tell_end = query.get("sendInitialEvents") not in (None, "false", "0")
        initial = tell_end or given in ("", "0")
        seen = {} if initial else versions.unpack(given)
        members = await self._members(question.clusters, call.warnings)
        response = web.StreamResponse(
            headers={"Content-Type": "application/json", "Cache-Control": "no-cache, private"}
        )
        responses.add_warnings(response, call.warnings)
        response.enable_chunked_encoding()
        await response.prepare(call.http)
        merged = MergedWatch(wanted, options.allow_bookmarks, dict(seen or {}), response)
        if seen is None or not seen.keys() <= set(question.clusters):
            # Another server's, or from before a member left.
            await merged.error(Gone(f"too old resource version: {given}"))
        else:
            seconds = options.timeout_seconds or random.uniform(MIN_SECONDS, MAX_SECONDS)  # noqa: S311
            await self._run(merged, merged.run(members, seconds, initial=initial, tell_end=tell_end))
        await response.write_eof()
        return response

    async def _run(self, merged: MergedWatch, running: Coroutine[None, None, None]) -> None:
        """Until it ends, members come or go, or the server stops."""
        kind = self._registry.find(*_CLUSTERS)
        if kind is None:
            running.close()
            return
        before = self._names()
        changed = asyncio.Event()

        def look(*_: object) -> None:
            if self._names() != before:
                changed.set()

        stop = kind.cache.subscribe(look, look)
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(stop)
            tasks = [asyncio.create_task(one) for one in (running, changed.wait(), self._stopped.wait())]
            stack.push_async_callback(_end, tasks)
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if tasks[0].done():
                tasks[0].result()
        if changed.is_set():
            await merged.error(Gone("members of the federation have changed; list again"))


async def _end(tasks: Sequence["asyncio.Task[Any]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _numeric(query: Mapping[str, str]) -> dict[str, str]:
    """Without the tokens that are ours, which the usual checks do not know."""
    left = {key: value for key, value in query.items() if key not in ("continue", "resourceVersion")}
    return {**left, "resourceVersion": "0"} if query.get("resourceVersion") else left


def _others(query: Mapping[str, str]) -> dict[str, str]:
    """What goes on to members as it is."""
    found = {key: query[key] for key in ("includeObject",) if key in query}
    return {**found, "resourceVersion": "0"} if query.get("resourceVersion") == "0" else found


def _is_metrics(call: Call) -> bool:
    """Of which members make no tables."""
    return call.route.group == metrics.GROUP


def _read_only(call: Call) -> MethodNotAllowed:
    what = call.kind.resource.qualified
    return MethodNotAllowed(
        f"{what} of the federation are a view of its member clusters and cannot be written here: "
        "write the Deployment, Service or other object that they come from, or go to the member cluster itself"
    )
