"""
A webhook as operators run them: an HTTPS server on loopback with a certificate of an authority of its own.
"""

import asyncio
import base64
import contextlib
import datetime as dt
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from cluster.pki.authority import make_authority
from cluster.pki.issue import CertificateContent, Usage, issue_key_pair

Answer = dict[str, Any]
Handler = Callable[[dict[str, Any]], Awaitable[Answer | web.Response] | Answer | web.Response]
"""From the review's `request` to its `response`; uid and the rest of the review are filled in."""


@dataclass
class WebhookServer:
    """Pages are handlers by path; `requests` holds what each was asked, in order."""

    url: str
    port: int
    ca_bundle: str
    """base64, as in a clientConfig."""
    handlers: dict[str, Handler] = field(default_factory=dict)
    requests: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def client(self, path: str) -> dict[str, Any]:
        return {"url": f"{self.url}{path}", "caBundle": self.ca_bundle}

    def asked(self, path: str) -> list[dict[str, Any]]:
        return self.requests.get(path, [])

    async def handle(self, request: web.Request) -> web.Response:
        review = await request.json()
        asked = review["request"]
        self.requests.setdefault(request.path, []).append(asked)
        handler = self.handlers[request.path]
        answer = handler(asked)
        if not isinstance(answer, dict | web.Response):
            answer = await answer
        if isinstance(answer, web.Response):
            return answer
        response = {"uid": asked["uid"], **answer}
        return web.json_response({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response})


@contextlib.asynccontextmanager
async def webhook_server(directory: Path, port: int = 0) -> AsyncIterator[WebhookServer]:
    """Certificate and key are made in `directory`, or found there from an earlier start."""
    certificate, key, authority_file = directory / "hook.crt", directory / "hook.key", directory / "hook-ca.crt"
    if not certificate.exists():
        now = dt.datetime.now(dt.UTC)
        authority = make_authority("webhook-ca", now=now)
        content = CertificateContent(
            "hook", dns_names=("hook.hooks.svc",), ip_addresses=("127.0.0.1",), usages=(Usage.SERVER,)
        )
        pair = issue_key_pair(authority, content, now=now)
        certificate.write_bytes(pair.certificate_pem)
        key.write_bytes(pair.key_pem)
        authority_file.write_bytes(authority.certificate_pem)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    application = web.Application(client_max_size=16 << 20)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    server = WebhookServer("", 0, base64.b64encode(authority_file.read_bytes()).decode())
    application.router.add_post("/{path:.*}", server.handle)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=context)
    await site.start()
    server.port = runner.addresses[0][1]
    server.url = f"https://127.0.0.1:{server.port}"
    try:
        yield server
    finally:
        await runner.cleanup()
        await asyncio.sleep(0)
