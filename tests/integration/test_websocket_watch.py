"""Watches over WebSockets, as browsers and web consoles open them."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.integration.conftest import TOKEN, Api, serving

TOKEN_PROTOCOL = "base64url.bearer.authorization.k8s.io." + base64.urlsafe_b64encode(TOKEN.encode()).decode().rstrip(
    "="
)
PROTOCOL = "base64.binary.k8s.io"


async def event(socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    """The next that is no bookmark."""
    while True:
        found: dict[str, Any] = await socket.receive_json(timeout=10)
        if found["type"] != "BOOKMARK":
            return found


def watched(api: Api, path: str) -> str:
    return f"{api.url}{path}?watch=1&allowWatchBookmarks=true"


def config(name: str, size: int = 1) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"text": "é" * size}}


async def test_events_come_as_text_frames_of_any_size(api: Api) -> None:
    path = await api.namespace("framed")
    maps = f"{path}/configmaps"
    await api.call("POST", maps, config("before"))
    async with api.session.ws_connect(watched(api, maps), max_msg_size=0) as socket:
        first = await event(socket)
        assert (first["type"], first["object"]["metadata"]["name"]) == ("ADDED", "before")
        for size in (1, 100, 5_000, 40_000):
            await api.call("POST", maps, config(f"of-{size}", size))
            added = await event(socket)
            assert (added["type"], len(added["object"]["data"]["text"])) == ("ADDED", size)
        await asyncio.gather(*(api.call("POST", maps, config(f"one-of-many-{i}")) for i in range(20)))
        names = {(await event(socket))["object"]["metadata"]["name"] for _ in range(20)}
        assert names == {f"one-of-many-{i}" for i in range(20)}
        await api.call("DELETE", f"{maps}/before")
        assert (await event(socket))["type"] == "DELETED"


async def test_a_browser_gives_its_token_as_a_subprotocol(api: Api) -> None:
    path = await api.namespace("of-a-browser")
    origin = {"Origin": "https://console.example.com"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as browser:
        url = watched(api, f"{path}/configmaps")
        async with browser.ws_connect(url, protocols=[PROTOCOL, TOKEN_PROTOCOL], headers=origin) as socket:
            assert socket.protocol == PROTOCOL
            await api.call("POST", f"{path}/configmaps", config("new"))
            assert (await event(socket))["object"]["metadata"]["name"] == "new"
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await browser.ws_connect(url, protocols=[PROTOCOL, TOKEN_PROTOCOL[:-4] + "AAAA"])
        assert refused.value.status == 401


async def test_a_page_from_elsewhere_cannot_use_a_login_of_the_browser(api: Api) -> None:
    url = watched(api, "/api/v1/namespaces")
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await api.session.ws_connect(url, headers={"Origin": "https://evil.example.com"})
    assert refused.value.status == 403
    async with api.session.ws_connect(url, headers={"Origin": api.url}) as socket:
        assert (await event(socket))["type"] == "ADDED"


async def test_a_version_that_is_too_old_is_told_and_the_socket_closed(api: Api, etcd_url: str, tmp_path: Path) -> None:
    path = await api.namespace("too-old")
    await api.call("POST", f"{path}/configmaps", config("some"))
    async with (
        serving(etcd_url, tmp_path / "later") as later,  # which has not seen what was before it
        later.session.ws_connect(f"{watched(later, '/api/v1/configmaps')}&resourceVersion=1") as socket,
    ):
        told = await event(socket)
        assert (told["type"], told["object"]["code"]) == ("ERROR", 410)
        assert (await socket.receive(timeout=10)).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)


async def test_the_end_of_its_time_and_a_client_that_leaves_end_a_watch(api: Api) -> None:
    path = await api.namespace("ending")
    async with api.session.ws_connect(f"{watched(api, f'{path}/configmaps')}&timeoutSeconds=1") as socket:
        while (told := await socket.receive(timeout=10)).type == aiohttp.WSMsgType.TEXT:
            assert json.loads(told.data)["type"] == "BOOKMARK"
        assert told.type == aiohttp.WSMsgType.CLOSE
    watcher = api.server.watcher
    async with api.session.ws_connect(watched(api, f"{path}/configmaps")) as socket:
        await socket.send_str("nobody listens to this")
        async with asyncio.timeout(10):
            while not watcher.watching:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    async with asyncio.timeout(10):
        while watcher.watching:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
