"""The fake member's peculiarities: each does what its name says."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cluster.api.resources import CONFIG_MAPS, DEPLOYMENTS, ENDPOINT_SLICES, ENDPOINTS, NODES, SERVICES
from cluster.client.discovery import served_resources
from cluster.client.informer import Informer
from cluster.client.kubeconfig import ClientConfig
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Key, Object
from cluster.machinery.status_errors import ApiError, Gone, TooManyRequests, Unauthorized, UnsupportedMediaType
from federation.membership import facts, tokens
from tests.fakes.fake_member import FakeMember
from tests.fakes.member.certificates import MemberCertificates
from tests.fakes.member.peculiarities import Peculiarities, old_cluster


@pytest.fixture
async def member() -> AsyncIterator[FakeMember]:
    async with FakeMember() as running:
        yield running


@pytest.fixture
async def client(member: FakeMember) -> AsyncIterator[ApiClient]:
    async with ApiClient(member.config) as found:
        yield found


def config_map(name: str = "a", **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": data}


def deployment(replicas: int = 2) -> Object:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "web:1"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    metadata = {"name": "web", "namespace": "default"}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


async def apply(client: ApiClient, obj: Object) -> Object:
    resource = DEPLOYMENTS if obj["kind"] == "Deployment" else CONFIG_MAPS
    name = obj["metadata"]["name"]
    return await client.patch(
        resource, name, obj, namespace="default", patch_type="apply", field_manager="federation", force=True
    )


async def eventually(told: list[str], wanted: list[str]) -> None:
    async with asyncio.timeout(10):
        while told != wanted:  # noqa: ASYNC110  (an informer's handlers have no event)
            await asyncio.sleep(0.02)


async def test_a_deployment_is_ready_and_its_service_has_endpoints(member: FakeMember, client: ApiClient) -> None:
    made = await apply(client, deployment())
    found = await client.get(DEPLOYMENTS, "web", namespace="default")
    assert found["status"]["readyReplicas"] == 2
    assert found["status"]["observedGeneration"] == found["metadata"]["generation"] == 1
    assert made["metadata"]["uid"] == found["metadata"]["uid"]
    metadata = {"name": "web", "namespace": "default"}
    spec = {"selector": {"app": "web"}, "ports": [{"port": 80}], "type": "LoadBalancer"}
    member.behaves.load_balancer = "192.0.2.7"
    await client.create(SERVICES, {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
    slices = (await client.list(ENDPOINT_SLICES, namespace="default"))["items"]
    assert [len(one["endpoints"]) for one in slices] == [2]
    service = await client.get(SERVICES, "web", namespace="default")
    assert service["status"]["loadBalancer"]["ingress"][0]["ip"] == "192.0.2.7"
    await client.delete(DEPLOYMENTS, "web", namespace="default")
    assert not (await client.list(ENDPOINT_SLICES, namespace="default"))["items"][0]["endpoints"]


async def test_writes_are_counted_when_they_change_something(member: FakeMember, client: ApiClient) -> None:
    for _ in range(3):
        await apply(client, config_map(x="1"))
    await client.delete(CONFIG_MAPS, "a", namespace="default")
    member.put(CONFIG_MAPS, config_map("b"))
    assert member.writes == {
        ("apply", "configmaps"): 1, ("delete", "configmaps"): 1,
    }  # fmt: skip
    assert member.requests["apply", "configmaps"] == 3


async def test_an_old_cluster_knows_no_apply_no_ownership_and_fewer_groups() -> None:
    async with FakeMember(behaves=old_cluster()) as member, ApiClient(member.config) as client:
        with pytest.raises(UnsupportedMediaType):
            await apply(client, config_map())
        assert "managedFields" not in (await client.create(CONFIG_MAPS, config_map()))["metadata"]
        served, missing = await served_resources(client)
        assert not missing
        groups = {one.api_version for one in served}
        assert not groups & {"discovery.k8s.io/v1", "policy/v1"}
        assert "apps/v1" in groups
        member.put(DEPLOYMENTS, deployment())
        spec = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
        metadata = {"name": "web", "namespace": "default"}
        await client.create(SERVICES, {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
        endpoints = await client.get(ENDPOINTS, "web", namespace="default")
        assert len(endpoints["subsets"][0]["addresses"]) == 2


async def test_nodes_are_generated_and_told_as_facts() -> None:
    behaves = Peculiarities(nodes=700, region="north")
    async with FakeMember(behaves=behaves) as member, ApiClient(member.config) as client:
        found = await facts.collect(client)
        assert found["nodes"] == {"total": 700, "ready": 700}
        assert (found["zones"], found["region"]) == (["a", "b", "c"], "north")
        assert (await client.get(NODES, "node-0699"))["metadata"]["name"] == "node-0699"


async def test_a_token_that_was_requested_here_is_good_here() -> None:
    async with FakeMember(behaves=Peculiarities(token="secret")) as member:
        async with ApiClient(member.config) as client:
            await tokens.make_login(client)
            token = (await tokens.request_token(client)).text
        async with ApiClient(ClientConfig(servers=(member.url,), token=token)) as client:
            await client.list(CONFIG_MAPS)
        async with ApiClient(ClientConfig(servers=(member.url,), token="other")) as client:
            with pytest.raises(Unauthorized):
                await client.list(CONFIG_MAPS)


async def test_a_sidecar_is_injected_and_owned_by_nobody(member: FakeMember, client: ApiClient) -> None:
    member.behaves.sidecar = {"name": "mesh", "image": "mesh:1"}
    for _ in range(2):
        found = await apply(client, deployment())
        assert [one["name"] for one in found["spec"]["template"]["spec"]["containers"]] == ["main", "mesh"]
        assert "mesh" not in str(found["metadata"]["managedFields"])
    assert member.writes["apply", "deployments.apps"] == 1


async def test_throttling_and_errors_come_and_go(member: FakeMember, client: ApiClient) -> None:
    member.behaves.throttled, member.behaves.retry_after = 1.0, 0
    with pytest.raises(TooManyRequests) as refused:
        await apply(client, config_map())
    assert refused.value.retry_after == 0
    member.behaves.throttled = 0.0
    member.behaves.error_burst = 2
    for _ in range(2):
        with pytest.raises(ApiError, match="request timed out"):
            await apply(client, config_map())
    await apply(client, config_map())


async def test_a_write_may_be_done_and_its_answer_lost(member: FakeMember, client: ApiClient) -> None:
    member.behaves.losing_answers = 1.0
    with pytest.raises(ApiError):
        await apply(client, config_map())
    assert member.get(CONFIG_MAPS, "a", "default") is not None


async def test_who_hangs_answers_later_and_who_crashes_forgets_nothing(member: FakeMember, client: ApiClient) -> None:
    member.hang()
    asked = asyncio.create_task(apply(client, config_map()))
    await asyncio.sleep(0.1)
    assert not asked.done()
    assert member.get(CONFIG_MAPS, "a", "default") is None
    member.resume()
    await asked
    await member.crash()
    with pytest.raises(ApiError):
        await apply(client, config_map("b"))
    await member.come_back()
    assert (await client.get(CONFIG_MAPS, "a", namespace="default"))["metadata"]["name"] == "a"


async def test_informers_live_through_forgotten_history_and_versions_that_go_back(
    member: FakeMember, client: ApiClient
) -> None:
    informer = Informer(client, CONFIG_MAPS, namespace="default")
    told: list[str] = []
    informer.add_handler(on_add=lambda obj: told.append(obj["metadata"]["name"]))
    running = asyncio.create_task(informer.run())
    await informer.wait_synced()
    told.clear()
    version = informer.last_version
    await apply(client, config_map("one"))
    await eventually(told, ["one"])
    member.forget_history()
    with pytest.raises(Gone):
        await anext(client.watch(CONFIG_MAPS, resource_version=version))
    await apply(client, config_map("two"))
    await eventually(told, ["one", "two"])
    member.go_back()
    await apply(client, config_map("three"))
    await eventually(told, ["one", "two", "three"])
    running.cancel()


async def test_a_slow_watch_brings_events_late(member: FakeMember, client: ApiClient) -> None:
    member.behaves.watch_delay = 0.3
    loop = asyncio.get_running_loop()
    await apply(client, config_map("late"))
    began = loop.time()
    async for event in client.watch(CONFIG_MAPS, namespace="default", field_selector="metadata.name=late"):
        assert event.type == "ADDED"
        break
    assert loop.time() - began > 0.2


async def test_clocks_may_be_wrong(member: FakeMember, client: ApiClient) -> None:
    member.behaves.clock_skew = -86400.0
    made = await apply(client, config_map())
    age = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(made["metadata"]["creationTimestamp"])
    assert age > dt.timedelta(hours=23)


async def test_a_certificate_may_be_right_expired_or_of_somebody_else(tmp_path: Path) -> None:
    certificates = MemberCertificates(tmp_path)
    async with FakeMember(tls=certificates.context) as member:
        trusting = ClientConfig(servers=(member.url,), ca_data=certificates.authority_pem)
        for use, good in ((certificates.use_good, True), (certificates.use_expired, False),
                          (certificates.use_foreign, False), (certificates.use_good, True)):  # fmt: skip
            use()
            async with ApiClient(trusting) as client:
                if good:
                    await client.list(CONFIG_MAPS)
                else:
                    with pytest.raises(ApiError):
                        await client.list(CONFIG_MAPS)


async def test_what_happens_in_a_namespace_ends_with_it(member: FakeMember, client: ApiClient) -> None:
    member.api.create_namespace("shop")
    obj = config_map()
    await client.create(CONFIG_MAPS, {**obj, "metadata": {"name": "a", "namespace": "shop"}})
    await client.request("DELETE", "/api/v1/namespaces/shop")
    assert member.get(CONFIG_MAPS, "a", "shop") is None
    assert not [key for _, key in member.api.store.in_namespace("shop") if key != Key("", "shop")]
