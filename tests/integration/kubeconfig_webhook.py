"""A webhook of the test's own: HTTPS under its own CA on loopback, and the kubeconfig that names it."""

import asyncio
import contextlib
import datetime as dt
import json
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from cluster.pki.authority import Authority, make_authority
from cluster.pki.issue import CertificateContent, Usage, issue_key_pair

Answer = Callable[[Any], Any]
"""From the posted object to the answer's: an object, or an HTTP status."""


class WebhookServer:
    """Counts and keeps what it is asked; `answer` may be replaced, `open` cleared to keep everybody waiting."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[Any] = []
        self.open = asyncio.Event()
        self.open.set()
        self.url = ""
        self.authority_pem = b""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        given = json.loads(await request.read())
        self.asked.append(given)
        await self.open.wait()
        answer = self.answer(given)
        if isinstance(answer, int):
            return web.Response(status=answer, text="no")
        return web.json_response(answer)

    def kubeconfig(self, path: Path, authority_pem: bytes = b"") -> Path:
        """Write a kubeconfig that names this server and its CA, or another CA."""
        authority = path.with_suffix(".ca.crt")
        authority.write_bytes(authority_pem or self.authority_pem)
        config = {
            "kind": "Config", "apiVersion": "v1", "current-context": "hook",
            "clusters": [{"name": "hook", "cluster": {"server": self.url, "certificate-authority": str(authority)}}],
            "users": [{"name": "apiserver", "user": {"token": "webhook-password"}}],
            "contexts": [{"name": "hook", "context": {"cluster": "hook", "user": "apiserver"}}],
        }  # fmt: skip
        path.write_text(json.dumps(config))
        return path


def new_authority(name: str = "webhook-ca") -> Authority:
    return make_authority(name, now=dt.datetime.now(dt.UTC))


def server_context(directory: Path, authority: Authority) -> ssl.SSLContext:
    """TLS for a server on loopback."""
    content = CertificateContent("localhost", (), ("localhost",), ("127.0.0.1",), (Usage.SERVER,))
    pair = issue_key_pair(authority, content, now=dt.datetime.now(dt.UTC))
    (directory / "server.crt").write_bytes(pair.certificate_pem)
    (directory / "server.key").write_bytes(pair.key_pem)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(directory / "server.crt", directory / "server.key")
    return context


@contextlib.asynccontextmanager
async def webhook(directory: Path, answer: Answer) -> AsyncIterator[WebhookServer]:
    """A running one."""
    hook, authority = WebhookServer(answer), new_authority()
    hook.authority_pem = authority.certificate_pem
    server = web.Server(hook.handle, access_log=None)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(server, "127.0.0.1", 0, ssl=server_context(directory, authority))
    hook.url = f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}/hook"
    try:
        yield hook
    finally:
        hook.open.set()
        listener.close()
        await server.shutdown(0)
