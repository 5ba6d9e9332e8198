"""
Writes down who asked for what and what came of it, around the whole handling of a request.

Made only when there is a policy and a backend: without, requests do not pass here.
Called by   server.py, which tells who asks (`begin`) before anything else is done for him.
Source: k8s.io/apiserver, pkg/endpoints/filters/audit.go and authn_audit.go.
"""

import asyncio
import base64
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from cluster.apiserver.audit import policy, webhook
from cluster.apiserver.audit.log_file import LogFile
from cluster.apiserver.audit.options import AuditOptions
from cluster.apiserver.audit.policy import Level, Stage
from cluster.apiserver.audit.queue import AuditQueue
from cluster.apiserver.audit.trail import HEADER, KEY, Trail, trail_of
from cluster.apiserver.requests import Attributes, Decision, UserInfo
from cluster.apiserver.webhooks.kubeconfig import KubeconfigWebhook, load_config
from cluster.machinery.decode import BODY_LIMIT
from cluster.machinery.status_errors import InternalError
from cluster.store.backend import StoreError

log = logging.getLogger(__name__)

_ASKED = web.RequestKey("asked", Attributes)
DRAIN_SECONDS = 3.0
"""How long the events that are left may take when the server ends."""
Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class AuditedRequest(web.BaseRequest):
    """
    A request that tells its record when the answer's head goes out, which for a watch is long before its end.
    """

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        trail = trail_of(self)
        if trail is None:
            return
        response.headers[HEADER] = trail.id
        await trail.answer_begins(response.status)


def audited_request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return AuditedRequest(message, payload, protocol, writer, task, loop, client_max_size=BODY_LIMIT + 1)


class Recorder:
    """`run` in a task; `close` when the server has ended."""

    @staticmethod
    def remember(request: web.BaseRequest, asked: Attributes) -> None:
        """What is asked, while it is not known by whom: for the record of those who are turned away."""
        request[_ASKED] = asked

    def __init__(self, rules: policy.Policy, queues: list[AuditQueue], hook: webhook.AuditWebhook | None) -> None:
        self._policy = rules
        self._queues = queues
        self._hook = hook

    request_factory = staticmethod(audited_request)

    def figures(self) -> dict[str, float]:
        """For /metrics."""
        return {
            "apiserver_audit_event_total": sum(queue.delivered + queue.lost for queue in self._queues),
            "apiserver_audit_error_total": sum(queue.lost for queue in self._queues),
        }

    async def begin(self, request: web.BaseRequest, attributes: Attributes, *, long_running: bool) -> None:
        """
        Who asks is known. From here on the request has a record, if the policy wants one.

        Raises InternalError when a strict backend cannot take it.
        """
        decided = self._policy.decide(attributes)
        if decided.level == Level.NONE:
            return
        trail = Trail(request, decided, attributes)
        if long_running:
            trail.on_start = functools.partial(self._tell_start, trail)
        request[KEY] = trail
        for queue, done in self._put(trail, Stage.REQUEST_RECEIVED):
            if not await done and queue.strict:
                raise InternalError("Internal error occurred: failed to store audit event")

    def impersonated(self, request: web.BaseRequest, user: UserInfo) -> None:
        if (trail := trail_of(request)) is not None:
            trail.impersonates(user)

    def decided(self, request: web.BaseRequest, decision: Decision) -> None:
        if (trail := trail_of(request)) is not None:
            trail.decide(decision)

    def failed(self, request: web.BaseRequest, fault: Exception) -> None:
        """Not a refusal and not the store's doing: a fault of our own."""
        trail = trail_of(request)
        if trail is not None and not isinstance(fault, StoreError | TimeoutError):
            trail.panic(type(fault).__name__)

    def annotations(self, request: web.BaseRequest) -> dict[str, str]:
        trail = trail_of(request)
        return trail.annotations if trail is not None else {}

    async def handle(self, inner: Handle, request: web.BaseRequest) -> web.StreamResponse:
        """`inner` and, whatever becomes of it, its record."""
        try:
            response = await inner(request)
        except BaseException:
            # The client or the server went away: there is nobody to answer, and a record all the same.
            if (trail := trail_of(request)) is not None:
                self._end(trail)
            raise
        trail = trail_of(request)
        if trail is None and response.status == 401:
            trail = self._unauthenticated(request)
            if trail is not None:
                response.headers[HEADER] = trail.id
                for done in self.emit(trail, Stage.RESPONSE_STARTED):
                    await done
            return response
        if trail is not None:
            if not trail.panicked:
                trail.read_response(response)
            for done in self._end(trail):
                await done
        return response

    async def _tell_start(self, trail: Trail) -> None:
        for done in self.emit(trail, Stage.RESPONSE_STARTED):
            await done

    def emit(self, trail: Trail, stage: Stage) -> list[asyncio.Future[bool]]:
        """The results are there to be awaited when a backend blocks."""
        return [done for _, done in self._put(trail, stage)]

    async def run(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as tasks:
            for queue in self._queues:
                tasks.create_task(queue.run(), name="audit")

    async def close(self) -> None:
        """Deliver what is left."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                for queue in self._queues:
                    await queue.drain()
        if self._hook is not None:
            await self._hook.close()

    def _end(self, trail: Trail) -> list[asyncio.Future[bool]]:
        trail.read_request()
        if trail.panicked:
            return self.emit(trail, Stage.PANIC)
        waiting = []
        if trail.on_start is not None and not trail.started:
            waiting = self.emit(trail, Stage.RESPONSE_STARTED)
        return [*waiting, *self.emit(trail, Stage.RESPONSE_COMPLETE)]

    def _put(self, trail: Trail, stage: Stage) -> list[tuple[AuditQueue, asyncio.Future[bool]]]:
        if stage in trail.decided.omitted:
            return []
        event = trail.event(stage, at=trail.received if stage == Stage.REQUEST_RECEIVED else None)
        waiting = []
        for queue in self._queues:
            done = queue.put(event)
            if done is not None:
                waiting.append((queue, done))
        return waiting

    def _unauthenticated(self, request: web.BaseRequest) -> Trail | None:
        asked = request.get(_ASKED)
        decided = self._policy.decide(asked, known=False) if asked is not None else None
        if asked is None or decided is None or decided.level == Level.NONE:
            return None
        trail = Trail(request, decided, asked, known=False)
        request[KEY] = trail
        trail.fail(_attempted(request), 401)
        return trail


def _attempted(request: web.BaseRequest) -> str:
    """Which kinds of credentials were given."""
    methods = []
    authorization = request.headers.get("Authorization", "")
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "basic":
        with contextlib.suppress(ValueError):
            base64.b64decode(rest, validate=True)
            methods.append("basic")
    elif scheme.lower() == "bearer":
        methods.append("bearer")
    if "access_token" in request.rel_url.query:
        methods.append("access_token")
    tls = request.transport.get_extra_info("ssl_object") if request.transport is not None else None
    if tls is not None and tls.getpeercert(True):
        methods.append("x509")
    return f"Authentication failed, attempted: {', '.join(methods)}" if methods else (
        "Authentication failed, no credentials provided"
    )  # fmt: skip


def build(options: AuditOptions) -> Recorder | None:
    """
    None without a policy or a backend. Raises OSError or ValueError for files that cannot be used.
    """
    if not options.policy_file:
        if options.log.path or options.webhook_config_file:
            log.warning("no --audit-policy-file is given: no audit events will be recorded")
        return None
    rules = policy.load(Path(options.policy_file).read_bytes(), options.policy_file)
    queues, hook = [], None
    if options.log.path:
        file = LogFile(options.log)
        file.check()
        queues.append(AuditQueue("log", options.log_queue, file.deliver))
    if options.webhook_config_file:
        client = KubeconfigWebhook(load_config(options.webhook_config_file))
        hook = webhook.AuditWebhook(client, initial_backoff=options.webhook_initial_backoff)
        queues.append(AuditQueue("webhook", options.webhook_queue, hook.deliver))
    return Recorder(rules, queues, hook) if queues else None
