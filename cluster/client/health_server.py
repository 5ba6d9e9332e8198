"""
The HTTPS port of a service: /healthz, /livez, /readyz and /metrics.

Health needs no login, as upstream's; metrics do: the caller passes who decides.
"""

import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

from aiohttp import web

from cluster.client.metrics import exposition
from cluster.client.serving_tls import RenewedContext

Check = Callable[[], bool]
Allow = Callable[[web.BaseRequest], Awaitable[bool]]

OPEN_PATHS = frozenset({"/healthz", "/livez", "/readyz"})


async def nobody(_request: web.BaseRequest) -> bool:
    """The decision while nobody is there to decide: only the health paths are served."""
    return False


class HealthServer:
    """Answers `ok` while all checks hold. `checks` are those of /healthz, by name."""

    def __init__(self, checks: Mapping[str, Check], *, allow: Allow = nobody) -> None:
        self._checks = checks
        self._allow = allow

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path.rstrip("/") or "/"
        if path in OPEN_PATHS:
            return self._health("verbose" in request.query)
        if not await self._allow(request):
            return web.Response(status=403, text=f"Forbidden: no leave to get {path}\n")
        if path == "/metrics":
            return web.Response(
                body=exposition().encode(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
            )
        return web.Response(status=404, text="404 page not found\n")

    def _health(self, verbose: bool) -> web.Response:
        results = {name: check() for name, check in self._checks.items()}
        lines = [f"[{'+' if good else '-'}]{name} {'ok' if good else 'failed'}" for name, good in results.items()]
        if not all(results.values()):
            return web.Response(status=500, text="\n".join([*lines, "healthz check failed", ""]))
        return web.Response(text="\n".join([*lines, "healthz check passed", ""]) if verbose else "ok")


def server_context(cert_file: Path, key_file: Path, client_ca_file: Path | None) -> ssl.SSLContext:
    """
    TLS >= 1.2; a client certificate is asked for, not demanded, when there is a CA to check it with.

    Files that are replaced are taken up by the connections after it. Raises OSError or ssl.SSLError.
    """

    def make() -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(cert_file, key_file)
        if client_ca_file is not None:
            context.load_verify_locations(client_ca_file)
            context.verify_mode = ssl.CERT_OPTIONAL
        return context

    return RenewedContext.of(make, [cert_file, key_file, *([client_ca_file] if client_ca_file else [])])


@contextlib.asynccontextmanager
async def serving(server: HealthServer, *, host: str, port: int, context: ssl.SSLContext | None) -> AsyncIterator[int]:
    """Serve for the length of the block; yields the port, which is chosen by the system for 0."""
    runner = web.ServerRunner(web.Server(server.handle, access_log=None), shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=context).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
