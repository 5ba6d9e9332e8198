"""Real BIND and Knot follow the federation's zone: a change at the federation is theirs at once."""

import base64
import contextlib
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import dns.asyncquery
import dns.message
import pytest

from cluster.api import resources
from cluster.client.rest import ApiClient
from cluster.machinery.status_errors import NotFound
from federation.api.resources import DNS_RECORD_SETS
from federation.dns.recordsets import RecordSet, Target, to_spec
from tests.integration.control_plane_processes import process
from tests.integration.federation_processes import Endpoint, federation_apiserver
from tests.integration.name_servers import SECRET, ZONE, missing, secondary_server
from tests.integration.test_federation_dns import ask, until
from tests.ports import free_port

KEY = "fed-transfer"
SERVERS = ("bind", "knot")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with federation_apiserver(tmp_path_factory.mktemp("federation")) as endpoint:
        yield endpoint


def key_file(where: Path) -> Path:
    path = where / "transfer.key"
    secret = base64.b64encode(SECRET).decode()
    path.write_text(f'key "{KEY}" {{ algorithm hmac-sha256; secret "{secret}"; }};\n')
    return path


@contextlib.contextmanager
def primary(api: Endpoint, where: Path, port: int, *secondaries: int) -> Iterator[None]:
    with process(
        where / "primary.log", sys.executable, "-m", "federation.dns_server", f"--kubeconfig={api.kubeconfig}",
        f"--zone={ZONE}", f"--port={port}", f"--transfer-key-file={key_file(where)}", "--v=4",
        *(f"--secondary=127.0.0.1:{one}" for one in secondaries),
    ):  # fmt: skip
        yield


@contextlib.asynccontextmanager
async def records(api: Endpoint, namespace: str) -> AsyncIterator["Records"]:
    async with ApiClient.from_kubeconfig(str(api.kubeconfig)) as client:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        await client.create(resources.NAMESPACES, body)
        yield Records(client, namespace)


class Records:
    """DNSRecordSets of one namespace, one name each."""

    def __init__(self, client: ApiClient, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self.name = f"web.{namespace}.fed.svc.{ZONE}"

    async def say(self, *addresses: str, name: str = "web") -> None:
        record = RecordSet(self.name.replace("web", name), "A", 5, tuple(map(Target, addresses)))
        metadata = {"name": name, "namespace": self._namespace}
        spec = to_spec([record] if addresses else [])
        body = {"apiVersion": DNS_RECORD_SETS.api_version, "kind": "DNSRecordSet", "metadata": metadata, "spec": spec}
        try:
            await self._client.patch(DNS_RECORD_SETS, name, {"spec": spec}, namespace=self._namespace)
        except NotFound:
            await self._client.create(DNS_RECORD_SETS, body)


async def serial(port: int) -> int:
    answer = await dns.asyncquery.udp(dns.message.make_query(ZONE, "SOA"), "127.0.0.1", port=port, timeout=2)
    return int(answer.answer[0][0].serial)


@pytest.mark.parametrize("server", SERVERS)
async def test_a_secondary_answers_a_change_at_once_and_follows_a_new_start(
    server: str, api: Endpoint, tmp_path: Path
) -> None:
    if missing(server):
        pytest.skip(missing(server))
    port = free_port()
    async with records(api, server) as names:
        await names.say("192.0.2.1")
        for number in range(2, 12):
            await names.say("192.0.2.8", name=f"web{number}")
        async with secondary_server(server, tmp_path, port, KEY) as follower:
            with primary(api, tmp_path, port, follower):
                await until(follower, names.name, ["192.0.2.1"])
                for turn in range(2, 12):
                    await names.say(f"192.0.2.{turn}", f"198.51.100.{turn}")
                    await until(follower, names.name, [f"192.0.2.{turn}", f"198.51.100.{turn}"])
                before = await serial(follower)
                assert before == await serial(port)
            await names.say("192.0.2.77")  # while no primary runs
            with primary(api, tmp_path, port, follower):
                await until(follower, names.name, ["192.0.2.77"])
                assert await serial(follower) == await serial(port) > before
                assert (await ask(follower, names.name.replace("web", "web2")))[1] == ["192.0.2.8"]
        log = (tmp_path / "log").read_text()
    # changes alone were fetched: BIND does not say so, but counts records: SOA, SOA and 2 old, SOA and 2 new, SOA
    assert log.count("IXFR, incoming" if server == "knot" else "Transfer completed: 1 messages, 8 records") > 5
