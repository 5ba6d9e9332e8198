"""
The kubelet's ports: HTTPS 10250 (logs, exec, attach, port-forward, stats, metrics) and HTTP 10248 (healthz, loopback).

Source of paths and parameters: upstream pkg/kubelet/server/server.go.
"""

import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
from aiohttp import web

from cluster.client.metrics import exposition
from cluster.client.serving_tls import RenewedContext
from cluster.kubelet.container_logs import LogOptions, open_log, parse_time, read_log
from cluster.kubelet.kubelet import Kubelet
from cluster.kubelet.node_stats import Rates, Running, read_node_usage, resource_metrics, summary
from cluster.kubelet.pod_worker import PodWorker
from cluster.kubelet.remote_command import (
    PORT_FORWARD_TUNNEL,
    StreamOptions,
    bridge_websocket,
    pass_through_spdy,
    tunnel_websocket,
)
from cluster.kubelet.runtime import Container, ContainerState, RuntimeFault
from cluster.kubelet.server_access import ServerAccess
from cluster.kubelet.serving_certificate import ensure_serving_pair
from cluster.kubelet.spdy import StreamingFault

log = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 0.2
"""For each step of closing connections: followed logs and terminals end with the kubelet, containers do not."""

Answer = Awaitable[web.StreamResponse]


class KubeletServer:
    def __init__(self, kubelet: Kubelet, auth: ServerAccess) -> None:
        self._kubelet, self._auth = kubelet, auth
        self._rates = Rates()
        self._started = datetime.now(UTC)
        self._routes: dict[str, Callable[[web.BaseRequest, list[str]], Answer]] = {
            "healthz": self._healthz,
            "pods": self._pods,
            "containerLogs": self._logs,
            "exec": self._exec,
            "attach": self._attach,
            "portForward": self._port_forward,
            "run": self._run,
            "metrics": self._metrics,
            "stats": self._stats,
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        first, *rest = [part for part in request.path.split("/") if part] or [""]
        route = self._routes.get(first)
        try:
            await self._auth.check(request)
            if route is None:
                raise web.HTTPNotFound(text="404 page not found\n")
            return await route(request, rest)
        except web.HTTPException as refusal:
            return web.Response(status=refusal.status, text=refusal.text)
        except (RuntimeFault, StreamingFault, OSError) as fault:
            log.warning("%s %s: %s", request.method, request.path, fault)
            return web.Response(status=500, text=f"{fault}\n")

    # --- which container -----------------------------------------------------------------------------------

    def _worker(self, namespace: str, name: str) -> PodWorker:
        for worker in self._kubelet.workers.values():
            metadata = worker.pod["metadata"]
            if (metadata["namespace"], metadata["name"]) == (namespace, name):
                return worker
        raise web.HTTPNotFound(text=f'pod "{name}_{namespace}" does not exist\n')

    def _container(self, parts: list[str], *, running: bool = False) -> tuple[PodWorker, Container]:
        """[namespace, pod, (uid,) container]. Raises HTTPNotFound."""
        if len(parts) not in (3, 4):
            raise web.HTTPNotFound(text="404 page not found\n")
        worker = self._worker(parts[0], parts[1])
        run = worker.observed.latest(parts[-1])
        if run is None or (running and run.state is not ContainerState.RUNNING):
            raise web.HTTPNotFound(text=f'container not found ("{parts[-1]}")\n')
        return worker, run

    # --- logs ----------------------------------------------------------------------------------------------

    async def _logs(self, request: web.BaseRequest, parts: list[str]) -> web.StreamResponse:
        if len(parts) != 3:
            raise web.HTTPNotFound(text="404 page not found\n")
        worker, name = self._worker(parts[0], parts[1]), parts[2]
        options = _log_options(request)
        run = worker.observed.latest(name)
        if request.query.get("previous") == "true":
            run = worker.observed.previous(name)
            if run is None:
                text = f'previous terminated container "{name}" in pod "{parts[1]}" not found\n'
                raise web.HTTPBadRequest(text=text)
        if run is None:
            waiting = f'container "{name}" in pod "{parts[1]}" is waiting to start: ContainerCreating\n'
            raise web.HTTPBadRequest(text=waiting)
        try:
            (await open_log(Path(run.log_path))).close()
        except OSError as fault:
            text = f"failed to try resolving symlinks in path {run.log_path!r}: {fault.strerror}\n"
            raise web.HTTPNotFound(text=text) from fault
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        response.enable_chunked_encoding()
        await response.prepare(request)

        def is_running() -> bool:
            runs = worker.observed.containers
            return any(r.id == run.id and r.state is ContainerState.RUNNING for r in runs) and not worker.done

        try:
            async for block in read_log(Path(run.log_path), options, is_running):
                await response.write(block)
            await response.write_eof()
        except ConnectionError:
            log.debug("the reader of %s went away", run.log_path)
        except OSError as fault:  # too late for a status: a broken connection says that it is not all
            log.warning("log %s breaks off: %s", run.log_path, fault)
            if request.transport is not None:
                request.transport.abort()
        return response

    # --- exec, attach, port-forward ------------------------------------------------------------------------

    async def _exec(self, request: web.BaseRequest, parts: list[str]) -> web.StreamResponse:
        _, run = self._container(parts, running=True)
        options, command = _stream_options(request), request.query.getall("command", [])
        if not command:
            raise web.HTTPBadRequest(text="you must specify at least 1 command to execute\n")
        url = await self._kubelet.runtime.exec_url(
            run.id, command, stdin=options.stdin, stdout=options.stdout,
            stderr=options.stderr and not options.tty, tty=options.tty,
        )  # fmt: skip
        return await _stream(request, url, options)

    async def _attach(self, request: web.BaseRequest, parts: list[str]) -> web.StreamResponse:
        _, run = self._container(parts, running=True)
        options = _stream_options(request)
        url = await self._kubelet.runtime.attach_url(
            run.id, stdin=options.stdin, stdout=options.stdout,
            stderr=options.stderr and not options.tty, tty=options.tty,
        )  # fmt: skip
        return await _stream(request, url, options)

    async def _port_forward(self, request: web.BaseRequest, parts: list[str]) -> web.StreamResponse:
        if len(parts) not in (2, 3):
            raise web.HTTPNotFound(text="404 page not found\n")
        sandbox = self._worker(parts[0], parts[1]).observed.sandbox
        if sandbox is None or not sandbox.ready:
            raise web.HTTPNotFound(text="unable to do port forwarding: the pod's sandbox is not running\n")
        ports = [int(p) for value in request.query.getall("port", []) for p in value.split(",") if p.isdigit()]
        url = await self._kubelet.runtime.port_forward_url(sandbox.id, ports)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            if PORT_FORWARD_TUNNEL not in request.headers.get("Sec-WebSocket-Protocol", ""):
                raise web.HTTPBadRequest(text=f"port-forward needs the websocket protocol {PORT_FORWARD_TUNNEL}\n")
            return await tunnel_websocket(request, url)
        return await pass_through_spdy(request, url)

    async def _run(self, request: web.BaseRequest, parts: list[str]) -> web.StreamResponse:
        _, run = self._container(parts, running=True)
        command = request.query.getall("cmd", [])
        words = command[0].split() if len(command) == 1 else command
        if request.method != "POST" or not words:
            raise web.HTTPBadRequest(text="POST with cmd=… runs a command\n")
        result = await self._kubelet.runtime.exec_sync(run.id, words, 60)
        status = 200 if result.exit_code == 0 else 500
        return web.Response(status=status, body=result.stdout + result.stderr, content_type="text/plain")

    # --- what is going on ----------------------------------------------------------------------------------

    async def _healthz(self, request: web.BaseRequest, parts: list[str]) -> web.StreamResponse:
        return web.Response(text="ok")

    async def _pods(self, request: web.BaseRequest, parts: list[str]) -> web.StreamResponse:
        items = [{**w.pod, "status": w.last_status} for w in self._kubelet.workers.values()]
        body = orjson.dumps({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
        return web.Response(body=body, content_type="application/json")

    def _running(self) -> list[Running]:
        return [
            Running({**worker.pod, "status": worker.last_status}, run)
            for worker in self._kubelet.workers.values()
            for run in worker.observed.containers
            if run.state is ContainerState.RUNNING
        ]

    async def _metrics(self, request: web.BaseRequest, parts: list[str]) -> web.StreamResponse:
        if parts and parts[0] not in ("resource", "cadvisor", "probes"):
            raise web.HTTPNotFound(text="404 page not found\n")
        if not parts or parts[0] == "probes":
            return web.Response(text=exposition())
        usage = {u.container_id: u for u in await self._kubelet.runtime.usage()}
        return web.Response(text=resource_metrics(read_node_usage(self._rates), self._running(), usage))

    async def _stats(self, request: web.BaseRequest, parts: list[str]) -> web.StreamResponse:
        if parts != ["summary"]:
            raise web.HTTPNotFound(text="404 page not found\n")
        usage = {u.container_id: u for u in await self._kubelet.runtime.usage()}
        settings = self._kubelet.settings
        document = summary(
            settings.node_name,
            settings.root_dir,
            read_node_usage(self._rates),
            self._running(),
            usage,
            self._rates,
            self._started,
        )
        self._rates.keep(["", *usage])
        return web.Response(body=orjson.dumps(document), content_type="application/json")


async def _stream(request: web.BaseRequest, url: str, options: StreamOptions) -> web.StreamResponse:
    if request.headers.get("Upgrade", "").lower() == "websocket":
        return await bridge_websocket(request, url, options)
    if request.headers.get("Upgrade", "").lower().startswith("spdy/"):
        return await pass_through_spdy(request, url)
    raise web.HTTPBadRequest(text="you must upgrade the connection to a websocket or to SPDY/3.1\n")


def _flag(request: web.BaseRequest, *names: str) -> bool:
    return any(request.query.get(name, "").lower() in ("1", "true") for name in names)


def _stream_options(request: web.BaseRequest) -> StreamOptions:
    """The kubelet's own names, and the API's, which some clients use directly."""
    options = StreamOptions(
        stdin=_flag(request, "input", "stdin"),
        stdout=_flag(request, "output", "stdout"),
        stderr=_flag(request, "error", "stderr"),
        tty=_flag(request, "tty"),
    )
    if not (options.stdin or options.stdout or options.stderr):
        raise web.HTTPBadRequest(text="you must specify at least 1 of stdin, stdout, stderr\n")
    return options


def _log_options(request: web.BaseRequest) -> LogOptions:
    query = request.query
    try:
        tail = int(query["tailLines"]) if query.get("tailLines") else None
        limit = int(query["limitBytes"]) if query.get("limitBytes") else None
        since = None
        if query.get("sinceSeconds"):
            since = datetime.now(UTC) - timedelta(seconds=int(query["sinceSeconds"]))
        elif query.get("sinceTime"):
            since = parse_time(query["sinceTime"])
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"cannot read the log options: {error}\n") from error
    stream = {"Stdout": "stdout", "Stderr": "stderr"}.get(query.get("stream", ""), "")
    return LogOptions(_flag(request, "follow"), _flag(request, "timestamps"), tail, limit, since, stream)


def tls_context(kubelet: Kubelet) -> ssl.SSLContext:
    """Of the files as they are when somebody connects: renewed ones need no restart."""
    settings = kubelet.settings
    cert, key = Path(settings.tls_cert_file), Path(settings.tls_key_file)
    if not settings.tls_cert_file:
        cert, key = ensure_serving_pair(Path(settings.root_dir) / "pki", settings.node_name, kubelet.node.host_ips)
    authority = settings.client_ca_file

    def make() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.load_cert_chain(cert, key)
        if authority:
            context.load_verify_locations(authority)
            context.verify_mode = ssl.CERT_OPTIONAL
        return context

    return RenewedContext.of(make, [cert, key, *([Path(authority)] if authority else [])])


@contextlib.asynccontextmanager
async def serving(kubelet: Kubelet) -> AsyncIterator[KubeletServer]:
    """Serve both ports for the length of the block."""
    settings = kubelet.settings
    auth = ServerAccess(
        kubelet.client, settings.node_name, anonymous=settings.anonymous_auth, mode=settings.authorization_mode
    )
    server = KubeletServer(kubelet, auth)
    async with contextlib.AsyncExitStack() as stack:
        if settings.port:
            context = tls_context(kubelet)
            runner = await _runner(stack, server.handle)
            await web.TCPSite(runner, settings.address, settings.port, ssl_context=context).start()
        if settings.healthz_port:
            runner = await _runner(stack, _plain_healthz)
            await web.TCPSite(runner, settings.healthz_address, settings.healthz_port).start()
        yield server


async def _runner(stack: contextlib.AsyncExitStack, handler: Callable[[web.BaseRequest], Answer]) -> web.ServerRunner:
    runner = web.ServerRunner(web.Server(handler, access_log=None), shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    return runner


async def _plain_healthz(request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(text="ok") if request.path in ("/healthz", "/livez") else web.Response(status=404)
