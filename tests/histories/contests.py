"""
What may happen once only, tried by many at the same moment through different servers: binding a Pod, the last places
of a quota.
"""

import asyncio
import time
from typing import Any

import aiohttp
import orjson

from tests.histories.check_operations import check_bindings, check_quota
from tests.histories.operations import Operation
from tests.histories.servers import HEADERS, PREFIX, Servers
from tests.histories.store_log import read_log

CONTEST = "/api/v1/namespaces/contest"
PODS = 6
BINDERS = 4
HARD = 5
CREATORS = 16


async def bind_contest(servers: Servers, number: int) -> list[str]:
    """Several schedulers bind the same Pods to different nodes."""
    names = [f"pod-{number}-{at}" for at in range(PODS)]
    operations: list[Operation] = []
    async with aiohttp.ClientSession(headers=HEADERS) as session:
        await _post(servers, session, 0, f"{CONTEST}/serviceaccounts", _object("ServiceAccount", "default"))
        for name in names:
            spec = {"containers": [{"name": "main", "image": "web"}]}
            await _post(servers, session, 0, f"{CONTEST}/pods", _object("Pod", name, spec=spec))

        async def bind(name: str, binder: int) -> None:
            server = binder % len(servers.apiservers)
            op = Operation(binder, server, "bind", name, time.monotonic(), mark=f"node-{binder}")
            target = {"apiVersion": "v1", "kind": "Node", "name": op.mark}
            body = _object("Binding", name, target=target)
            op.status = await _post(servers, session, server, f"{CONTEST}/pods/{name}/binding", body)
            op.end = time.monotonic()
            operations.append(op)

        await asyncio.gather(*(bind(name, binder) for name in names for binder in range(BINDERS)))
    log = await read_log(servers.etcd.url, f"{PREFIX}/pods/contest/")
    findings = list(check_bindings(log, operations))
    winners = sum(op.status == 201 for op in operations)
    if winners != len(names):
        findings.append(f"{winners} binds of {len(names)} Pods were acknowledged")
    return findings


async def quota_contest(servers: Servers, number: int) -> list[str]:
    """Many create at once what only some may."""
    namespace = f"quota-{number}"
    place = f"/api/v1/namespaces/{namespace}"
    async with aiohttp.ClientSession(headers=HEADERS) as session:
        await _post(servers, session, 0, "/api/v1/namespaces", _object("Namespace", namespace))
        quota = _object("ResourceQuota", "few", spec={"hard": {"count/configmaps": str(HARD)}})
        await _post(servers, session, 0, f"{place}/resourcequotas", quota)
        # The controller that counts what is there is not running; its first count is zero.
        status = {"hard": {"count/configmaps": str(HARD)}, "used": {"count/configmaps": "0"}}
        url = f"{place}/resourcequotas/few/status"
        await _send(servers, session, 0, "PUT", url, {**quota, "status": status})
        # A server enforces what it has seen; a consistent read makes each of them see it.
        for at in range(len(servers.apiservers)):
            await _send(servers, session, at, "GET", f"{place}/resourcequotas/few", None)

        async def create(at: int) -> int:
            body = _object("ConfigMap", f"c{at}")
            return await _post(servers, session, at % len(servers.apiservers), f"{place}/configmaps", body)

        statuses = await asyncio.gather(*map(create, range(CREATORS)))
    log = await read_log(servers.etcd.url, f"{PREFIX}/configmaps/{namespace}/")
    findings = list(check_quota(log, HARD))
    if statuses.count(201) != len([stored for stored in log if not stored.deleted]):
        findings.append(f"{statuses.count(201)} creates were acknowledged, the store holds {len(log)}")
    if statuses.count(201) == 0:
        findings.append(f"nobody got a place of a quota of {HARD}: {statuses}")
    return findings


def _object(kind: str, name: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **fields}


async def _post(servers: Servers, session: aiohttp.ClientSession, at: int, path: str, body: dict[str, Any]) -> int:
    return await _send(servers, session, at, "POST", path, body)


async def _send(
    servers: Servers, session: aiohttp.ClientSession, at: int, method: str, path: str, body: dict[str, Any] | None
) -> int:
    """The status of the answer."""
    server = servers.apiservers[at]
    headers = {"Content-Type": "application/json"} if body is not None else {}
    data = orjson.dumps(body) if body is not None else None
    async with session.request(
        method, server.url + path, data=data, headers=headers, ssl=servers.context(server)
    ) as answer:
        await answer.read()
        return answer.status
