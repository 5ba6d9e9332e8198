"""Tokens of controllers are had anew when one is refused."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from cluster.client.kubeconfig import ClientConfig
from cluster.client.rest import ApiClient
from cluster.controller_manager import credentials
from cluster.controller_manager.credentials import controller_logins
from cluster.machinery.status_errors import ApiError


class Server:
    """Gives tokens, and knows none but those of its present key."""

    def __init__(self) -> None:
        self.key = "old"

    async def create(self, request: web.Request) -> web.Response:
        body: dict[str, Any] = {"metadata": {"name": "x"}}
        if request.path.endswith("/token"):
            body = {"status": {"token": self.key, "expirationTimestamp": "2126-01-01T00:00:00Z"}}
        return web.json_response(body, status=201)

    async def get(self, request: web.Request) -> web.Response:
        known = request.headers.get("Authorization") == f"Bearer {self.key}"
        return web.json_response({} if known else {"kind": "Status", "code": 401}, status=200 if known else 401)


async def test_a_token_that_is_refused_is_had_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "REFUSED_PAUSE", 0.0)
    server, app = Server(), web.Application()
    app.router.add_post("/{path:.*}", server.create)
    app.router.add_get("/{path:.*}", server.get)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with ApiClient(ClientConfig(servers=(url,))) as client, controller_logins(client, ["a"]) as logins:
        renewing = asyncio.create_task(logins.run())
        await logins.client_of("a").request("GET", "/api/v1/pods")
        server.key = "new"
        with pytest.raises(ApiError):
            await logins.client_of("a").request("GET", "/api/v1/pods")
        async with asyncio.timeout(5):
            while True:
                await asyncio.sleep(0.01)
                try:
                    await logins.client_of("a").request("GET", "/api/v1/pods")
                    break
                except ApiError:
                    continue
        renewing.cancel()
    await runner.cleanup()
