"""A real Chromium without a window, driven over its DevTools protocol."""

import asyncio
import base64
import contextlib
import itertools
import json
import pathlib
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from tests.integration.control_plane_processes import process

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NEEDS_CHROMIUM = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium")
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-extensions", "--disable-sync",
    "--ignore-certificate-errors", "--remote-debugging-port=0",
)  # fmt: skip
START_SECONDS = 40.0


class Page:
    """
    One tab. What the page logs as an error and what its policy forbids is kept in `complaints`, unless it holds one of
    the words in `expected`.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.complaints: list[str] = []
        self.expected: tuple[str, ...] = ()

    async def listen(self) -> None:
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" in told:
                self._waiting.pop(told["id"]).set_result(told)
            elif (complaint := _complaint(told)) and not any(word in complaint for word in self.expected):
                self.complaints.append(complaint)

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_str(json.dumps({"id": number, "method": method, "params": params}))
        told = await asyncio.wait_for(answer, 30)
        assert "error" not in told, (method, told)
        found: dict[str, Any] = told["result"]
        return found

    async def run(self, script: str) -> Any:
        """The value of an expression in the page, awaited."""
        told = await self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, (script, told["exceptionDetails"])
        return told["result"].get("value")

    async def until(self, script: str, seconds: float = 20.0) -> None:
        """Until the expression is truthy."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not await self.run(f"Boolean({script})"):  # noqa: ASYNC110
                    await asyncio.sleep(0.03)
                return
        shown = await self.run("document.body.innerText")
        raise AssertionError(f"not within {seconds} s: {script}\n{self.complaints}\n{shown}")

    async def open(self, url: str) -> None:
        await self.send("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    async def type(self, text: str) -> None:
        await self.send("Input.insertText", text=text)

    async def press(self, key: str) -> None:
        code = {"Enter": 13, "Tab": 9, "Escape": 27, "ArrowDown": 40, "ArrowRight": 39, "End": 35}.get(key, 0)
        given = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        text = {"text": "\r"} if key == "Enter" else {}
        await self.send("Input.dispatchKeyEvent", type="keyDown", **given, **text)
        await self.send("Input.dispatchKeyEvent", type="keyUp", **given)

    async def size(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        await self.send("Emulation.setDeviceMetricsOverride", **metrics)

    async def screenshot(self) -> bytes:
        """PNG, to look at."""
        return base64.b64decode((await self.send("Page.captureScreenshot", format="png"))["data"])


def _complaint(told: dict[str, Any]) -> str:
    params = told["params"]
    match told["method"]:
        case "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            return str((details.get("exception") or {}).get("description") or details["text"])
        case "Log.entryAdded" if params["entry"]["level"] == "error":
            entry = params["entry"]
            return f"{entry['source']}: {entry['text']} {entry.get('url', '')}"
        case "Audits.issueAdded" if params["issue"]["code"] == "ContentSecurityPolicyIssue":
            return json.dumps(params["issue"])
        case _:
            return ""


@contextlib.contextmanager
def browser(home: pathlib.Path) -> Iterator[str]:
    """One of its own with one empty tab; the address of its DevTools."""
    assert CHROMIUM is not None
    home.mkdir(parents=True, exist_ok=True)
    profile, log = home / "profile", home / "chromium.log"
    port = profile / "DevToolsActivePort"
    with process(log, CHROMIUM, *_FLAGS, f"--user-data-dir={profile}", "about:blank"):
        deadline = time.monotonic() + START_SECONDS
        while not (port.exists() and port.read_text().strip()):
            assert time.monotonic() < deadline, log.read_text(errors="replace")[-2000:]
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port.read_text().split()[0]}"


@contextlib.asynccontextmanager
async def page(address: str) -> AsyncIterator[Page]:
    """A new tab, without what others have stored."""
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{address}/json/version") as answer:
            whole = (await answer.json())["webSocketDebuggerUrl"]
        async with session.ws_connect(whole) as control:
            alone = await _ask(control, 1, "Target.createBrowserContext")
            context = alone["browserContextId"]
            made = await _ask(control, 2, "Target.createTarget", url="about:blank", browserContextId=context)
            url = f"{address.replace('http', 'ws')}/devtools/page/{made['targetId']}"
            async with session.ws_connect(url, max_msg_size=0) as socket:
                found = Page(socket)
                listening = asyncio.create_task(found.listen())
                try:
                    for domain in ("Page", "Runtime", "Log", "Audits", "Network"):
                        await found.send(f"{domain}.enable")
                    yield found
                finally:
                    listening.cancel()
            await _ask(control, 3, "Target.disposeBrowserContext", browserContextId=context)


async def _ask(control: aiohttp.ClientWebSocketResponse, number: int, method: str, **params: Any) -> dict[str, Any]:
    await control.send_str(json.dumps({"id": number, "method": method, "params": params}))
    while True:
        told = await control.receive_json(timeout=30)
        if told.get("id") == number:
            assert "error" not in told, (method, told)
            found: dict[str, Any] = told["result"]
            return found
