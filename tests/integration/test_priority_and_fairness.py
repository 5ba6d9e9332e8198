"""What an overloaded apiserver does: the greedy wait or are turned away, others are served."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from cluster.apiserver.app import Apiserver
from tests.integration.conftest import TOKEN, server_options

GREEDY, MODEST = "greedy-token", "modest-token"
ROLE = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "everybody"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
    "subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "system:authenticated"}],
}


@dataclass
class Server:
    server: Apiserver
    context: ssl.SSLContext
    session: aiohttp.ClientSession

    async def call(self, token: str, method: str, path: str, body: object = None) -> aiohttp.ClientResponse:
        url = f"https://127.0.0.1:{self.server.port}{path}"
        headers = {"Authorization": f"Bearer {token}"}
        answer = await self.session.request(method, url, json=body, headers=headers, ssl=self.context)
        await answer.read()
        return answer

    async def hold(self, token: str) -> asyncio.StreamWriter:
        """A create whose body does not come: it runs until the connection ends."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.server.port, ssl=self.context)
        head = (
            f"POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
            "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n"
        )
        writer.write(head.encode())
        return writer

    async def metric(self, name: str) -> float:
        answer = await self.call(TOKEN, "GET", "/metrics")
        text = await answer.text()
        return next((float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name)), 0.0)

    async def until(self, name: str, least: float) -> None:
        """Wait for a metric. Raises TimeoutError."""
        async with asyncio.timeout(10):
            while await self.metric(name) < least:  # noqa: ASYNC110 - only the server's own page tells
                await asyncio.sleep(0.02)


@pytest.fixture
async def small(etcd_url: str, tmp_path: Path) -> AsyncIterator[Server]:
    """A server of few seats: global-default owns two of them."""
    options = server_options(
        etcd_url,
        tmp_path,
        "--etcd-prefix=/fairness",
        "--max-requests-inflight=14",
        "--max-mutating-requests-inflight=7",
    )
    users = f'{TOKEN},admin,1,"system:masters"\n{GREEDY},greedy,2\n{MODEST},modest,3,"system:serviceaccounts"\n'
    (tmp_path / "tokens.csv").write_text(users)
    server = Apiserver(options)
    context = ssl.create_default_context(cafile=server.serving[0])
    async with server.run(), aiohttp.ClientSession() as session:
        yield Server(server, context, session)


async def test_a_greedy_user_is_turned_away_and_others_are_served(small: Server) -> None:
    # Another try of this test may have left it in the store that all tests share.
    made = await small.call(TOKEN, "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", ROLE)
    assert made.status in (201, 409)
    # A consistent read: the server has seen its own write then.
    assert (await small.call(TOKEN, "GET", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings")).status == 200
    running = 'apiserver_flowcontrol_current_executing_seats{priority_level="global-default"}'
    held = [await small.hold(GREEDY) for _ in range(6)]
    try:
        await small.until(running, 2)
        refused = await small.call(GREEDY, "GET", "/api/v1/namespaces/default/configmaps/none?timeout=400ms")
        assert refused.status == 429
        assert refused.headers["Retry-After"] == "1"
        assert (await refused.json())["reason"] == "TooManyRequests"
        served = await small.call(MODEST, "GET", "/api/v1/namespaces/default")
        assert served.status == 200
        assert (await small.call(TOKEN, "GET", "/api/v1/namespaces/default")).status == 200
        # Nobody is asked for a probe to queue behind the greedy.
        assert (await small.call(GREEDY, "GET", "/readyz")).status == 200
    finally:
        for writer in held:
            writer.close()
    # The server is told of the closed connections; who asks meanwhile waits and gets a seat.
    assert (await small.call(GREEDY, "GET", "/api/v1/namespaces/default?timeout=20s")).status == 200
    assert await small.metric('apiserver_flowcontrol_rejected_requests_total{priority_level="global-default"') >= 1


async def test_answers_say_how_they_were_classified_at_both_doors(small: Server) -> None:
    names = ("X-Kubernetes-PF-FlowSchema-UID", "X-Kubernetes-PF-PriorityLevel-UID")
    flow = await small.call(TOKEN, "GET", "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/exempt")
    level = await small.call(TOKEN, "GET", "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations/exempt")
    uids = [(await one.json())["metadata"]["uid"] for one in (flow, level)]
    for path in ("/api/v1/namespaces/default", "/api/v1/namespaces/default?pretty=false", "/version"):
        answer = await small.call(TOKEN, "GET", path)
        assert [answer.headers[name] for name in names] == uids, path


async def test_a_new_schema_is_taken_up(small: Server) -> None:
    path = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"
    rule = {
        "subjects": [{"kind": "User", "user": {"name": "greedy"}}],
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/version"]}],
    }
    schema = {
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": "FlowSchema",
        "metadata": {"name": "mine"},
        "spec": {
            "priorityLevelConfiguration": {"name": "leader-election"},
            "matchingPrecedence": 50,
            "rules": [rule],
        },
    }
    await small.call(GREEDY, "GET", "/version")  # its flow is known now, and must not stay
    made = await small.call(TOKEN, "POST", path, schema)
    assert made.status == 201
    uid = (await made.json())["metadata"]["uid"]
    async with asyncio.timeout(5):
        while True:
            answer = await small.call(GREEDY, "GET", "/version")
            if answer.headers.get("X-Kubernetes-PF-FlowSchema-UID") == uid:
                break
            await asyncio.sleep(0.02)
    assert (await small.call(TOKEN, "DELETE", f"{path}/mine")).status == 200
