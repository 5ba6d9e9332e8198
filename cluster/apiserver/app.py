"""
The apiserver as a whole: puts the parts together, starts them in order and stops them without losing a request.
"""

import asyncio
import contextlib
import functools
import logging
import signal
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from cluster.api import resources
from cluster.apiserver import health, security, serving_certificate, start_up
from cluster.apiserver.admission import configuration as admission_configuration
from cluster.apiserver.admission.chain import build_admission
from cluster.apiserver.admission.plugin import Plugin, Surroundings
from cluster.apiserver.admission.policies.plugins import MutatingAdmissionPolicy, ValidatingAdmissionPolicy
from cluster.apiserver.admission.policies.served_kinds import ServedKinds
from cluster.apiserver.admission.webhooks import Webhooks
from cluster.apiserver.aggregation.aggregator import Aggregator
from cluster.apiserver.aggregation.registration import Registration
from cluster.apiserver.custom_resources.serving import CustomResources
from cluster.apiserver.custom_resources.strategy import DefinitionStrategy
from cluster.apiserver.encryption_at_rest import EncryptionAtRest
from cluster.apiserver.file_changes import FileChanges
from cluster.apiserver.flow_control.controller import FlowControl
from cluster.apiserver.front_door.connection import HEAD_LIMIT, Listener
from cluster.apiserver.front_door.plain_reads import PlainReads
from cluster.apiserver.front_door.plain_writes import PlainWrites
from cluster.apiserver.in_flight import InFlight
from cluster.apiserver.kubelet_proxy import KubeletProxy
from cluster.apiserver.lists import Lister
from cluster.apiserver.metrics import RequestMetrics
from cluster.apiserver.options import Options
from cluster.apiserver.own_checks import own_checks
from cluster.apiserver.pages import PageServer
from cluster.apiserver.profile import CLUSTER, Profile
from cluster.apiserver.registry.generic import Writer
from cluster.apiserver.registry.registry import Registry
from cluster.apiserver.registry.services import Allocator, ServiceStrategy
from cluster.apiserver.review_pages import ReviewServer
from cluster.apiserver.router import Route
from cluster.apiserver.server import ApiServer
from cluster.apiserver.service_resolver import ServiceResolver
from cluster.apiserver.subresources import Subresources
from cluster.apiserver.upkeep import Upkeep
from cluster.apiserver.verbs import Verbs
from cluster.apiserver.watch import Watcher, WatchStream
from cluster.machinery import systemd
from cluster.machinery.decode import BODY_LIMIT
from cluster.store.object_store import ObjectStore
from cluster.store.opening import open_backend, read_servers_file
from cluster.store.watch_cache import WatchCache

if TYPE_CHECKING:
    from cluster.apiserver.audit.recorder import Recorder
    from cluster.apiserver.webhooks.client import WebhookClient

log = logging.getLogger(__name__)

Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

DRAIN_SECONDS = 1.0
"""
How long streams get when the server stops, and after that their cancelling. Ordinary requests are waited for before,
as long as one may take; watches and idle connections end at once: their clients go on at another server.
"""
HANDSHAKE_SECONDS = 10.0
HEADERS = 8192
"""Header lines of a request: a proxy in front of us sends one for each group of the user."""


class Apiserver:
    """One running apiserver. `async with Apiserver(options)` starts it; it serves when that returns."""

    def __init__(self, options: Options, profile: Profile = CLUSTER) -> None:
        self.options = options
        self.profile = profile
        self.files = FileChanges(_files(options))
        self.etcd = open_backend(
            options.etcd_servers,
            ca_file=options.etcd_cafile,
            cert_file=options.etcd_certfile,
            key_file=options.etcd_keyfile,
        )
        self.encryption = EncryptionAtRest(options)
        sealing = self.encryption.sealing
        self.cache = WatchCache(self.etcd, sealing=sealing)
        self.store = ObjectStore(self.etcd, sealing, self.cache.own_writes)
        self.writer = Writer(self.store)
        self.registry = Registry(self.store, self.cache, self.writer, event_ttl=int(options.event_ttl), profile=profile)
        self.registry.add_built_in()
        self.services = ServiceResolver(self.registry, to_endpoints=options.enable_aggregator_routing)
        self.webhooks: WebhookClient | None = None
        self.custom = CustomResources(
            self.registry, self.cache, self.writer, self._webhook_client,
            profile.definitions, profile.resources, profile.viewed,
        )  # fmt: skip
        self.aggregator = Aggregator(self.registry, options, self.services)
        self.registration = Registration(self.registry, profile.definitions)
        self.lister = Lister(self.cache, self.store)
        self.watcher = Watcher(self.cache, self.lister)
        self.watcher.converting = _converting_stream
        self.verbs = Verbs(self.writer, self.lister, self.watcher)
        self.security = security.build(options, self.registry, profile)
        self.audit = _recorder(options)
        self.around = Surroundings(self.registry, self.registry, self.security.authorizer)
        self.views = profile.views(self) if profile.views is not None else None
        self.hooks = Webhooks(self.around, self._webhook_client, self.registry)
        self.writer.admission = build_admission(
            options.enable_admission_plugins,
            {*options.disable_admission_plugins, *profile.plugins_off},
            self.registry,
            self.registry,
            authorizer=self.security.authorizer,
            extra=self._late_plugins(),
            more=profile.plugins,
            configurations=admission_configuration.load(options.access.admission_config),
            kept_namespaces=profile.namespaces,
        )
        self._reserve(profile)
        self.allocator: Allocator | None = None
        services = self.registry.kind(resources.SERVICES).strategy
        if isinstance(services, ServiceStrategy) and not profile.only_stores:
            self.allocator = services.allocator = Allocator(
                self.store,
                self.registry.create,
                self.registry.delete,
                options.service_cluster_ip_range.split(",")[0],
                options.service_node_port_range,
            )
        seats = options.max_requests_inflight + options.max_mutating_requests_inflight
        flow_control = FlowControl(self.registry, seats) if options.enable_priority_and_fairness else None
        self.in_flight = InFlight(
            RequestMetrics(self.aggregator.gauges),
            options.max_requests_inflight,
            options.max_mutating_requests_inflight,
            flow_control,
        )
        if flow_control is not None:
            self.in_flight.metrics.lines.append(flow_control.render)
        self.booted = asyncio.Event()
        self.upkeep = Upkeep(self)
        self.stopping = False
        self.port = 0
        """The port in use; differs from the option when that is 0."""
        self.serving = serving_certificate.serving_files(options, start_up.service_address(options))

    def _reserve(self, profile: Profile) -> None:
        """What the profile brings is nobody else's."""
        definitions = self.registry.kind(resources.named("customresourcedefinitions.apiextensions.k8s.io")).strategy
        if isinstance(definitions, DefinitionStrategy):
            definitions.reserved = profile.groups

    def _late_plugins(self) -> list[Plugin]:
        """Policies and webhooks; the chain puts them into their order."""
        around = self.around
        kinds = ServedKinds(self.registry)
        policies = MutatingAdmissionPolicy(around, kinds), ValidatingAdmissionPolicy(around, kinds)
        return [*policies, *self.hooks.plugins]

    def _webhook_client(self) -> "WebhookClient":
        """The one client of all webhooks, made for the first of them."""
        if self.webhooks is None:
            from cluster.apiserver.webhooks.client import WebhookClient

            self.webhooks = WebhookClient(self.services)
        return self.webhooks

    @property
    def advertised(self) -> str:
        return f"{start_up.advertise_address(self.options)}:{self.port or self.options.secure_port}"

    def _handler(self) -> ApiServer:
        metrics = self.in_flight.metrics
        metrics.others.append(self.hooks.lines)
        metrics.others.append(self.encryption.lines)
        if self.audit is not None:
            metrics.figures = self.audit.figures
        kubelets = KubeletProxy(self.options, self.registry)
        client = self.options.kubelet_client_certificate, self.options.kubelet_client_key
        authority = self.options.kubelet_certificate_authority
        self.files.on_change("the kubelet client certificate", [*client, authority], kubelets.forget_certificate)
        proxy = self.options.proxy_client_cert_file, self.options.proxy_client_key_file
        self.files.on_change("the front proxy's client certificate", proxy, self.aggregator.forget_certificate)
        checks = health.Health(own_checks(self))
        pages = PageServer(checks, metrics, self.security.token_pages, self.advertised, self.custom, self.aggregator)
        return ApiServer(
            registry=self.registry,
            verbs=self.verbs,
            subresources=Subresources(self.registry, self.security.issuer, kubelets),
            authenticate=self.security.authenticate,
            authorizer=self.security.authorizer,
            pages=pages,
            reviews=ReviewServer(self.security.reviews, self.etcd),
            aggregator=self.aggregator,
            in_flight=self.in_flight,
            request_timeout=self.options.request_timeout,
            audit=self.audit,
            views=self.views,
            viewed=self.profile.viewed,
            connected=self.profile.connected,
            public=self.profile.public,
        )

    def _elsewhere(self, found: Route) -> bool:
        """Whether what is asked for is not in our memory, but with another server."""
        if self.aggregator.remote and self.aggregator.find(found) is not None:
            return True
        return (found.group, found.resource) in self.profile.viewed

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Serve while the block runs."""
        certificate, key = self.serving
        context = serving_certificate.serving_context(self.options, certificate, key)
        handler = self._handler()
        self._watch_files(context)
        handle: Handle = handler.handle
        request_factory = _request
        reads: PlainReads | None = PlainReads(
            self.registry, self.cache, self.lister, self.security.authenticator, self.security.authorizer,
            self.in_flight, self._elsewhere,
        )  # fmt: skip
        writes: PlainWrites | None = PlainWrites(
            self.registry, self.verbs, self.security.authenticator, self.security.authorizer,
            self.in_flight, self._elsewhere, self.options.request_timeout,
        )  # fmt: skip
        if self.audit is not None:
            handle, request_factory = functools.partial(self.audit.handle, handle), self.audit.request_factory
            reads = writes = None  # the recorder sees every request, so all go through the handler
        server = Listener(
            handle,
            reads,
            writes,
            request_factory=request_factory,
            access_log=None,
            handler_cancellation=True,
            keepalive_timeout=120.0,
            lingering_time=2.0,
            tcp_keepalive=True,
            max_line_size=HEAD_LIMIT,
            max_field_size=HEAD_LIMIT,
            max_headers=HEADERS,
            auto_decompress=False,  # upstream takes bodies as they come, too
        )  # fmt: skip
        listener = await self._listen(server, context)
        try:
            async with asyncio.TaskGroup() as tasks:
                background = {name: tasks.create_task(job, name=name) for name, job in self.upkeep.jobs().items()}
                try:
                    await self._until_booted(background["boot"])
                    yield
                finally:
                    self.stopping = self.in_flight.draining = True
                    background["masters"].cancel()
                    await self.upkeep.leave()
                    await asyncio.sleep(self.options.shutdown_delay_duration)
                    listener.close()
                    # Without this, connections that nobody uses would be waited for like running requests.
                    server.pre_shutdown()
                    self.watcher.end_all()
                    if self.views is not None:
                        await self.views.close()
                    if not await self.in_flight.drained(self.options.request_timeout):
                        log.warning("stopping although requests still run")
                    await server.shutdown(DRAIN_SECONDS)
                    for task in background.values():
                        task.cancel()
        finally:
            if self.webhooks is not None:
                await self.webhooks.close()
            await self.security.close()
            if self.audit is not None:
                await self.audit.close()
            await self.etcd.close()

    def _watch_files(self, context: serving_certificate.ServingContext) -> None:
        """What is read again when it changes, except what the kubelet proxy needs."""
        certificate, key = self.serving
        options = self.options

        def renew() -> None:
            context.current = serving_certificate.server_context(options, certificate, key)
            self.upkeep.authorities_changed.set()

        authorities = [options.client_ca_file, options.requestheader_client_ca_file]
        self.files.on_change("the serving certificate or its client CAs", [certificate, key, *authorities], renew)
        self.security.watch_files(self.files)
        self.encryption.watch_file(self.files)
        self.files.on_change(
            "the etcd client certificate",
            [options.etcd_cafile, options.etcd_certfile, options.etcd_keyfile],
            self.upkeep.etcd_files_changed.set,
        )
        self.files.on_change(
            "the list of etcd's members",
            [options.etcd_servers_file],
            lambda: self.etcd.use_endpoints(read_servers_file(options.etcd_servers_file)),
        )

    async def _until_booted(self, boot: asyncio.Task[None]) -> None:
        waiting = asyncio.create_task(self.booted.wait())
        await asyncio.wait({waiting, boot}, return_when=asyncio.FIRST_COMPLETED)
        if not self.booted.is_set():
            waiting.cancel()
            await boot

    async def _listen(self, server: Listener, context: ssl.SSLContext) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(
            server,
            self.options.bind_address,
            self.options.secure_port,
            ssl=context,
            backlog=1024,
            reuse_address=True,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
        )
        self.port = listener.sockets[0].getsockname()[1]
        log.info("serving on %s:%d", self.options.bind_address, self.port)
        return listener


def _files(options: Options) -> list[str]:
    """Every file whose change is noticed."""
    return [
        options.tls_cert_file, options.tls_private_key_file, options.token_auth_file,
        options.client_ca_file, options.requestheader_client_ca_file,
        options.etcd_servers_file, options.etcd_cafile, options.etcd_certfile, options.etcd_keyfile,
        options.encryption_provider_config,
        options.kubelet_client_certificate, options.kubelet_client_key, options.kubelet_certificate_authority,
        options.proxy_client_cert_file, options.proxy_client_key_file,
        *options.service_account_key_file, options.service_account_signing_key_file,
        options.access.authentication_config, options.access.authorization_config,
    ]  # fmt: skip


def _recorder(options: Options) -> "Recorder | None":
    """Who writes down requests; None without a policy for it."""
    if not options.audit.policy_file and not options.audit.log.path and not options.audit.webhook_config_file:
        return None
    from cluster.apiserver.audit import recorder  # who does not audit shall not wait for it

    return recorder.build(options.audit)


def _converting_stream(*given: Any) -> WatchStream:
    from cluster.apiserver.custom_resources.watching import ConvertingStream  # few definitions convert by webhook

    return ConvertingStream(*given)


def _request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=BODY_LIMIT + 1)


async def serve(options: Options, profile: Profile = CLUSTER) -> None:
    """Until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Apiserver(options, profile).run():
        systemd.notify_ready()
        await stop.wait()
        systemd.notify_stopping()
