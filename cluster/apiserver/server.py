"""
One request from the socket to the answer: who asks, for what, whether they may, and then the verb.
"""

import asyncio
import logging
import time
from dataclasses import replace
from typing import Protocol

from aiohttp import web

from cluster.api.resources import PODS
from cluster.apiserver import pod_writes, responses
from cluster.apiserver.aggregation.aggregator import Aggregator
from cluster.apiserver.authorization import refusal
from cluster.apiserver.deadlines import seconds_allowed
from cluster.apiserver.impersonation import impersonated
from cluster.apiserver.in_flight import InFlight
from cluster.apiserver.negotiation import negotiate
from cluster.apiserver.profile import PublicPages, Views
from cluster.apiserver.registry.registry import Registry
from cluster.apiserver.requests import ANONYMOUS, Attributes, Authorizer, Decision, UserInfo
from cluster.apiserver.router import Route, route, segments_are_safe
from cluster.apiserver.subresources import Subresources
from cluster.apiserver.verbs import Call, Verbs
from cluster.machinery.decode import BODY_LIMIT, too_large
from cluster.machinery.status_errors import ApiError, BadRequest

log = logging.getLogger(__name__)

_LONG_RUNNING = frozenset({"log", "exec", "attach", "portforward", "proxy", "tunnel"})
_READS = frozenset({"get", "list", "watch"})
_SESSIONS = frozenset({"exec", "attach", "portforward"})


class Authenticate(Protocol):
    async def __call__(self, request: web.BaseRequest) -> UserInfo:
        """Raises Unauthorized."""


class ApiServer:
    """The aiohttp handler. `pages` serve what is no API resource."""

    def __init__(
        self,
        *,
        registry: Registry,
        verbs: Verbs,
        subresources: Subresources,
        authenticate: Authenticate,
        authorizer: Authorizer,
        pages: "Pages",
        reviews: "Reviews",
        aggregator: Aggregator,
        in_flight: InFlight,
        request_timeout: float = 60.0,
        audit: "Audit | None" = None,
        views: Views | None = None,
        viewed: frozenset[tuple[str, str]] = frozenset(),
        connected: frozenset[tuple[str, str, str]] = frozenset(),
        public: PublicPages | None = None,
    ) -> None:
        """`viewed` are the kinds, by group and plural, that `views` serve; of the `connected` one subresource."""
        self._registry = registry
        self._verbs = verbs
        self._subresources = subresources
        self._authenticate = authenticate
        self._authorizer = authorizer
        self._pages = pages
        self._reviews = reviews
        self._aggregator = aggregator
        self._audit = audit
        self._in_flight = in_flight
        self._request_timeout = request_timeout
        self._views = views
        self._viewed = viewed
        self._connected = connected
        self._public = public

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        began = time.perf_counter()
        found: Route | None = None
        try:
            found = route(request.method, request.rel_url.raw_path, request.rel_url.raw_query_string)
            if found.verb == "watch" or found.subresource in _LONG_RUNNING:
                response = await self._serve(request, found)
            else:
                async with asyncio.timeout(seconds_allowed(found, self._request_timeout)):
                    response = await self._serve(request, found)
        except ApiError as fault:
            response = responses.error(fault)
        except web.HTTPRequestEntityTooLarge:
            response = responses.error(too_large())
        except (ConnectionResetError, web.HTTPException):
            raise
        except Exception as fault:
            response = responses.error(responses.as_api_error(fault))
            if self._audit is not None:
                self._audit.failed(request, fault)
        if "yaml" in request.headers.get("Accept", "") and _prefers_yaml(request):
            response = responses.as_yaml(response)
        if found is not None:
            self._in_flight.ended(found, response.status, time.perf_counter() - began)
        if self._in_flight.draining and not response.prepared:
            response.force_close()
        return response

    async def _serve(self, request: web.BaseRequest, found: Route) -> web.StreamResponse:
        if self._public is not None and not found.resource and (page := self._public.find(request)) is not None:
            return page  # whoever asks: a browser has no login before it has the page
        user = await (self._user(request) if self._audit is None else self._audited_user(request, found, self._audit))
        attributes = _attributes(found, user)
        decision = await self._authorizer.authorize(attributes)
        if self._audit is not None:
            self._audit.decided(request, decision)
        if not decision.allowed:
            raise refusal(attributes, decision.reason)
        if found.verb == "watch" or found.subresource in _LONG_RUNNING:
            return await self._run(request, attributes, found)
        place = await self._in_flight.enter(attributes, seconds_allowed(found, self._request_timeout))
        if self._aggregator.remote and self._aggregator.find(found) is not None:
            # However slow that server is, ours has room for others.
            place.delegate()
        try:
            response = await self._run(request, attributes, found)
        finally:
            place.leave()
        if place.flow is not None and not response.prepared:
            response.headers.update(place.flow.headers)
        return response

    async def _run(self, request: web.BaseRequest, attributes: Attributes, found: Route) -> web.StreamResponse:
        user = attributes.user
        if self._aggregator.remote:
            other = self._aggregator.find(found)
            if other is not None:
                _let_go_on(request)
                return await other.serve(request, found, user)
        if not found.resource:
            return await self._pages.serve(request, found, user)
        if not segments_are_safe(found):
            raise BadRequest(f"the path {found.path!r} holds a name that no object can have")
        long_running = found.verb == "watch" or found.subresource in _LONG_RUNNING
        if attributes.verb not in _READS and not long_running and (request.content_length or 0) > BODY_LIMIT:
            raise too_large()  # before a byte of it is awaited
        _let_go_on(request)
        if found.subresource in _SESSIONS and found.verb == "get":
            # A WebSocket begins with a GET, but who may only read Pods shall not run programs in them.
            session = replace(attributes, verb="create")
            decision = await self._authorizer.authorize(session)
            if not decision.allowed:
                raise refusal(session, decision.reason)
        return await self._resource(request, found, user)

    async def _user(self, request: web.BaseRequest) -> UserInfo:
        user = await self._authenticate(request)
        return await impersonated(user, request.headers, self._authorizer)

    async def _audited_user(self, request: web.BaseRequest, found: Route, audit: "Audit") -> UserInfo:
        asked = _attributes(found, ANONYMOUS)
        audit.remember(request, asked)
        user = await self._authenticate(request)
        long_running = found.verb == "watch" or found.subresource in _LONG_RUNNING
        await audit.begin(request, replace(asked, user=user), long_running=long_running)
        acting = await impersonated(user, request.headers, self._authorizer)
        if acting is not user:
            audit.impersonated(request, acting)
        return acting

    async def _resource(self, request: web.BaseRequest, found: Route, user: UserInfo) -> web.StreamResponse:
        kind = self._registry.find(found.group, found.version, found.resource)
        if kind is None:
            if (found.group, found.resource, found.verb) == ("", "bindings", "create") and found.namespace:
                # The first API's way to assign a Pod; the name is in the body.
                pods = self._registry.kind(PODS)
                return await pod_writes.bind(self._verbs, Call(request, found, user, pods))
            special = await self._reviews.serve(request, found, user)
            if special is not None:
                return special
            # Perhaps another apiserver serves it since a moment ago, and its definition is still on the way to us.
            kind = await self._registry.find_current(found.group, found.version, found.resource)
            if kind is None:
                return responses.page_not_found()
        if found.namespace and not kind.resource.namespaced:
            if found.resource != "namespaces":
                return responses.page_not_found()
            found = replace(found, namespace="")
        call = Call(request, found, user, kind)
        if self._audit is not None:
            call.audit_annotations = self._audit.annotations(request)
        if kind.resource.namespaced and not found.namespace and (found.name or found.verb == "create"):
            return responses.page_not_found()
        try:
            if self._views is not None and (found.group, found.resource) in self._viewed:
                return await self._views.serve(call)
            if found.subresource:
                if self._views is not None and (found.group, found.resource, found.subresource) in self._connected:
                    return await self._views.serve(call)
                return await self._subresources.serve(self._verbs, call)
            return await self._verbs.serve(call)
        except ApiError as fault:
            if not call.warnings:
                raise
            refused = responses.error(fault)
            responses.add_warnings(refused, call.warnings)
            return refused


def _attributes(found: Route, user: UserInfo) -> Attributes:
    return Attributes(
        user=user,
        verb=found.verb,
        group=found.group,
        version=found.version,
        resource=found.resource,
        subresource=found.subresource,
        namespace=found.namespace,
        name=found.name or _name_in_selector(found),
        path=found.path,
        label_selector=found.query.get("labelSelector", ""),
        field_selector=found.query.get("fieldSelector", ""),
    )


class Audit(Protocol):
    """Who writes down what is asked; None where nothing is written down."""

    def remember(self, request: web.BaseRequest, asked: Attributes) -> None:
        """What is asked, before it is known by whom."""

    async def begin(self, request: web.BaseRequest, attributes: Attributes, *, long_running: bool) -> None:
        """It is known who asks. Raises InternalError when it cannot be written down and has to be."""

    def impersonated(self, request: web.BaseRequest, user: UserInfo) -> None: ...

    def decided(self, request: web.BaseRequest, decision: Decision) -> None: ...

    def failed(self, request: web.BaseRequest, fault: Exception) -> None: ...

    def annotations(self, request: web.BaseRequest) -> dict[str, str]:
        """Where admission writes what it has to say."""


class Pages(Protocol):
    async def serve(self, request: web.BaseRequest, found: Route, user: UserInfo) -> web.StreamResponse: ...


class Reviews(Protocol):
    async def serve(self, request: web.BaseRequest, found: Route, user: UserInfo) -> web.StreamResponse | None:
        """None when it is none of the kinds that are answered but not stored."""


def _let_go_on(request: web.BaseRequest) -> None:
    """A client with a big body asks first, and this is the answer; refusals come instead of it."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def _prefers_yaml(request: web.BaseRequest) -> bool:
    try:
        return negotiate(request.headers["Accept"]).yaml and request.rel_url.path.startswith("/api")
    except ApiError:
        return False  # the refusal itself, in JSON


def _name_in_selector(found: Route) -> str:
    """A list or watch of one name counts as asking for that name."""
    selector = found.query.get("fieldSelector", "")
    if found.verb in ("list", "watch", "deletecollection") and selector.startswith("metadata.name="):
        name = selector[len("metadata.name=") :].lstrip("=")
        return "" if "," in name else name
    return ""
