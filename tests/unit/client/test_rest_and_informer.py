"""The client against a real HTTP server on loopback that answers as the test says."""

import asyncio
import contextlib
import pathlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest
from aiohttp import web

from cluster.api import resources
from cluster.client import informer as informers
from cluster.client.informer import Informer
from cluster.client.kubeconfig import ClientConfig
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Key, Object
from cluster.machinery.status_errors import Conflict, NotFound, ServiceUnavailable

Handler = Callable[[web.BaseRequest], Any]


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def answer(obj: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=orjson.dumps(obj), status=status, content_type="application/json", headers=headers)


def status(code: int, reason: str, message: str) -> Object:
    return {"kind": "Status", "status": "Failure", "message": message, "reason": reason, "code": code}


def pod(name: str, version: int, uid: str = "") -> Object:
    return {"metadata": {"name": name, "namespace": "ns", "resourceVersion": str(version), "uid": uid or f"uid-{name}"}}


async def test_an_error_is_raised_as_the_class_the_server_meant() -> None:
    async def handler(request: web.BaseRequest) -> web.Response:
        return answer(status(404, "NotFound", 'pods "web" not found'), 404)

    async with serving(handler) as url, ApiClient(ClientConfig(servers=(url,))) as client:
        with pytest.raises(NotFound, match='pods "web" not found'):
            await client.get(resources.PODS, "web", namespace="ns")


async def test_a_dead_server_is_passed_over_for_reads_and_writes() -> None:
    seen: list[str] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        seen.append(request.method)
        return answer({"metadata": {"name": "web"}})

    async with (
        serving(handler) as url,
        ApiClient(ClientConfig(servers=("http://127.0.0.1:1", url))) as client,
    ):
        await client.create(resources.PODS, pod("web", 1))
        await client.get(resources.PODS, "web", namespace="ns")

    assert seen == ["POST", "GET"]
    assert client.server == url


async def test_no_server_at_all_is_service_unavailable_with_the_addresses_named() -> None:
    async with ApiClient(ClientConfig(servers=("http://127.0.0.1:1",))) as client:
        with pytest.raises(ServiceUnavailable, match=r"http://127\.0\.0\.1:1"):
            await client.get(resources.PODS, "web", namespace="ns")


async def test_too_many_requests_is_tried_again_after_the_time_the_server_asks_for() -> None:
    calls = 0

    async def handler(request: web.BaseRequest) -> web.Response:
        nonlocal calls
        calls += 1
        if calls < 3:
            return answer(status(429, "TooManyRequests", "slow down"), 429, {"Retry-After": "0"})
        return answer({"metadata": {"name": "web"}}, 201)

    async with serving(handler) as url, ApiClient(ClientConfig(servers=(url,))) as client:
        await client.create(resources.PODS, pod("web", 1))

    assert calls == 3


async def test_a_write_whose_answer_was_lost_is_not_sent_twice() -> None:
    calls = 0

    async def handler(request: web.BaseRequest) -> web.Response:
        nonlocal calls
        calls += 1
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    async with serving(handler) as url, ApiClient(ClientConfig(servers=(url,))) as client:
        with pytest.raises(ServiceUnavailable):
            await client.create(resources.PODS, pod("web", 1))

    assert calls == 1


async def test_conflict_is_never_repeated() -> None:
    async def handler(request: web.BaseRequest) -> web.Response:
        return answer(status(409, "Conflict", "modified"), 409)

    async with serving(handler) as url, ApiClient(ClientConfig(servers=(url,))) as client:
        with pytest.raises(Conflict):
            await client.update(resources.PODS, pod("web", 1))


class Api:
    """Lists and watches of pods, played from a script."""

    def __init__(self) -> None:
        self.lists: list[Object] = []
        self.watches: list[list[Object]] = []
        self.watched_from: list[str] = []

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        if "watch" not in request.query:
            return answer(self.lists.pop(0) if len(self.lists) > 1 else self.lists[0])
        self.watched_from.append(request.query["resourceVersion"])
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        if not self.watches:
            await asyncio.sleep(60)
        for event in self.watches.pop(0):
            line = orjson.dumps(event) + b"\n"
            await response.write(line[:7])  # lines arrive in pieces
            await response.write(line[7:])
        return response


@contextlib.asynccontextmanager
async def informing(api: Api) -> AsyncIterator[tuple[Informer, list[str]]]:
    async with serving(api) as url, ApiClient(ClientConfig(servers=(url,))) as client:
        informer = Informer(client, resources.PODS)
        told: list[str] = []
        informer.add_handler(
            lambda obj: told.append("+" + obj["metadata"]["name"]),
            lambda old, new: told.append("~" + new["metadata"]["name"]),
            lambda obj: told.append("-" + obj["metadata"]["name"]),
        )
        task = asyncio.create_task(informer.run())
        try:
            yield informer, told
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  (the cache has no event for every change)
            await asyncio.sleep(0.01)


async def test_pages_of_a_list_become_one_cache_and_the_watch_goes_on_from_there() -> None:
    api = Api()
    api.lists = [
        {"metadata": {"resourceVersion": "5", "continue": "more"}, "items": [pod("a", 1)]},
        {"metadata": {"resourceVersion": "5"}, "items": [pod("b", 2)]},
    ]
    api.watches = [
        [
            {"type": "ADDED", "object": pod("c", 6)},
            {"type": "MODIFIED", "object": pod("a", 7)},
            {"type": "DELETED", "object": pod("b", 8)},
            {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "11"}}},
        ]
    ]

    async with informing(api) as (informer, told):
        await informer.wait_synced()
        await eventually(lambda: len(api.watched_from) == 2)

        assert told == ["+a", "+b", "+c", "~a", "-b"]
        assert {key.name for key in map(Key._make, [("ns", "a"), ("ns", "c")]) if informer.get(key)} == {"a", "c"}
        assert api.watched_from == ["5", "11"]


async def test_a_compacted_version_is_listed_again_and_the_difference_is_told() -> None:
    api = Api()
    api.lists = [
        {"metadata": {"resourceVersion": "5"}, "items": [pod("a", 1), pod("b", 2), pod("c", 3)]},
        {"metadata": {"resourceVersion": "9"}, "items": [pod("b", 8), pod("c", 9, uid="another")]},
    ]
    api.watches = [[{"type": "ERROR", "object": status(410, "Expired", "too old resource version")}]]

    async with informing(api) as (informer, told):
        await eventually(lambda: len(api.watched_from) == 2)

        assert told == ["+a", "+b", "+c", "-a", "~b", "-c", "+c"]
        assert informer.last_version == "9"
        assert {obj["kind"] for obj in informer.list("ns")} == {"Pod"}


async def test_a_watch_that_goes_back_in_time_is_not_believed() -> None:
    api = Api()
    api.lists = [
        {"metadata": {"resourceVersion": "5"}, "items": []},
        {"metadata": {"resourceVersion": "3"}, "items": [pod("old", 2)]},
    ]
    api.watches = [[{"type": "ADDED", "object": pod("ghost", 4)}]]

    async with informing(api) as (_, told):
        await eventually(lambda: len(api.watched_from) == 2)

        assert told == ["+old"]


class Flaky(Api):
    """Breaks every watch after a while that is long enough to be a success; and is away when told so."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self.lists = [{"metadata": {"resourceVersion": "1"}, "items": []}]
        self.away = False

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        if self.away:
            request.transport.abort()
            return web.Response()
        if "watch" not in request.query:
            return await super().__call__(request)
        self.watched_from.append(request.query["resourceVersion"])
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        await asyncio.sleep(self._seconds)
        request.transport.abort()
        return response


async def test_a_watch_that_held_for_a_while_is_taken_up_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(informers, "FIRST_BACKOFF", 0.05)
    monkeypatch.setattr(informers, "SHORT_WATCH", 0.04)
    api = Flaky(0.05)
    async with informing(api):
        # With a pause that doubles, the ninth try would come after 13 seconds.
        await eventually(lambda: len(api.watched_from) > 8)


async def test_whoever_waits_for_a_server_goes_on_when_somebody_else_has_reached_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(informers, "FIRST_BACKOFF", 0.01)
    api = Flaky(60)
    async with serving(api) as url, ApiClient(ClientConfig(servers=(url,))) as client:
        informer = Informer(client, resources.PODS)
        api.away = True
        task = asyncio.create_task(informer.run())
        await asyncio.sleep(1.5)  # the next try is more than a second away
        api.away = False
        await client.list(resources.PODS)
        async with asyncio.timeout(0.5):
            await informer.wait_synced()
        task.cancel()


async def test_an_index_follows_adds_changes_and_deletes() -> None:
    api = Api()
    api.lists = [{"metadata": {"resourceVersion": "5"}, "items": [pod("a", 1) | {"spec": {"nodeName": "n1"}}]}]
    api.watches = [[{"type": "MODIFIED", "object": pod("a", 6) | {"spec": {"nodeName": "n2"}}}]]

    async with informing(api) as (informer, _):
        informer.add_index("by-node", lambda obj: [obj["spec"]["nodeName"]])
        await eventually(lambda: len(api.watched_from) == 2)

        assert informer.by_index("by-node", "n1") == []
        assert [obj["metadata"]["name"] for obj in informer.by_index("by-node", "n2")] == ["a"]


def _kubeconfig(*servers: str) -> str:
    return orjson.dumps(
        {
            "current-context": "a",
            "contexts": [{"name": "a", "context": {"cluster": "c"}}],
            "clusters": [
                {
                    "name": "c",
                    "cluster": {
                        "server": servers[0],
                        "extensions": [{"name": "hanse.io/servers", "extension": {"servers": servers}}],
                    },
                }
            ],
        }
    ).decode()


async def test_servers_that_come_into_the_kubeconfig_are_asked_when_the_known_ones_are_gone(
    tmp_path: pathlib.Path,
) -> None:
    async def handler(request: web.BaseRequest) -> web.Response:
        return answer(pod("web", 1))

    path = tmp_path / "kubelet.conf"
    async with serving(handler) as new:
        path.write_text(_kubeconfig("http://127.0.0.1:1"))
        async with ApiClient.from_kubeconfig(path) as client:
            path.write_text("half a file: [")
            with pytest.raises(ServiceUnavailable):
                await client.create(resources.PODS, pod("web", 1), namespace="ns")
            path.write_text(_kubeconfig("http://127.0.0.1:2", new))

            await client.create(resources.PODS, pod("web", 1), namespace="ns")

            assert client.server == new
