"""Zones of Route53, as moto's server plays it: routing by cluster, one owner a name, foreign records untouched."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from federation.dns.endpoints import FederatedService, MemberFacts, decide
from federation.dns.ownership import owner_name
from federation.dns.plan import Change, Desired, plan_changes
from federation.dns.policies import read_policy
from federation.dns.providers import route53_records
from federation.dns.providers.provider import ProviderError
from federation.dns.providers.route53 import Route53Provider, Route53Settings
from federation.dns.recordsets import Group, RecordSet, Target, by_name
from tests.moto_server import moto_server

ZONE = "example.com"
WEB = f"web.shop.fed.svc.{ZONE}"
MEMBERS = [
    MemberFacts(name, region=region, addresses=addresses, ready=1)
    for name, region, addresses in (("a", "eu", ("192.0.2.1", "2001:db8::1")), ("b", "us", ("192.0.2.2",)))
]


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with moto_server(tmp_path_factory.mktemp("moto") / "log") as url:
        yield url


@pytest.fixture(autouse=True)
def credentials(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in (("AWS_ENDPOINT_URL", aws), ("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "y"),
                       ("AWS_EC2_METADATA_DISABLED", "true")):  # fmt: skip
        monkeypatch.setenv(key, value)


@pytest.fixture
def client(credentials: None) -> Any:
    return boto3.client("route53", region_name="us-east-1")


@pytest.fixture
def zone_id(client: Any) -> Iterator[str]:
    made = client.create_hosted_zone(Name=ZONE, CallerReference="1")["HostedZone"]["Id"]
    put(client, made, f"hand.{ZONE}", "192.0.2.99")
    yield made.removeprefix("/hostedzone/")
    for one in sets(client, made):
        if one["Type"] not in ("NS", "SOA"):
            batch = {"Changes": [{"Action": "DELETE", "ResourceRecordSet": one}]}
            client.change_resource_record_sets(HostedZoneId=made, ChangeBatch=batch)
    client.delete_hosted_zone(Id=made)
    for check in client.list_health_checks()["HealthChecks"]:
        client.delete_health_check(HealthCheckId=check["Id"])


def put(client: Any, zone: str, name: str, address: str, action: str = "CREATE") -> None:
    one = {"Name": name, "Type": "A", "TTL": 5, "ResourceRecords": [{"Value": address}]}
    batch = {"Changes": [{"Action": action, "ResourceRecordSet": one}]}
    client.change_resource_record_sets(HostedZoneId=zone, ChangeBatch=batch)


def sets(client: Any, zone: str, name: str = "") -> list[dict[str, Any]]:
    pages = client.get_paginator("list_resource_record_sets").paginate(HostedZoneId=zone)
    found = [one for page in pages for one in page["ResourceRecordSets"]]
    return [one for one in found if not name or one["Name"] == f"{name}."]


def provider(zone_id: str = "", uid: str = "u1", epoch: int = 1, **more: Any) -> Route53Provider:
    return Route53Provider(Route53Settings(ZONE, uid, epoch, zone_id, pace=0.0, **more))


async def bring(
    at: Route53Provider, groups: dict[str, Group], uid: str = "u1", obj: str = "shop/web"
) -> dict[str, str]:
    """As the controller does it."""
    desired = {name: Desired(at.express(group), obj) for name, group in groups.items()}
    plan = plan_changes(desired, await at.observe(groups), uid, synced=True)
    return {**plan.refused, **await at.apply(plan.changes)}


def answers(policy: dict[str, Any], members: list[MemberFacts] = MEMBERS) -> dict[str, Group]:
    service = FederatedService("shop", "web", "fed", ZONE)
    return by_name(decide(service, members, read_policy(policy), now=0.0).records)


def plain(name: str, *values: str) -> Group:
    return {"A": RecordSet(name, "A", 5, tuple(map(Target, values)))}


POLICIES: dict[str, dict[str, Any]] = {
    "round robin": {"strategy": "RoundRobin"},
    "weighted": {"strategy": "Weighted", "weights": [{"cluster": "a", "weight": 3}], "healthCheck": {"port": 80}},
    "failover": {
        "strategy": "Failover",
        "order": ["b", "a"],
        "healthCheck": {"port": 443, "protocol": "HTTPS", "path": "/healthz", "intervalSeconds": 10},
    },
    "geo": {
        "strategy": "Geo",
        "geo": [{"cluster": "a", "countries": ["DE", "FR"]}, {"cluster": "b", "continents": ["NA"]}],
    },
    "locality": {},
}


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
async def test_what_a_policy_says_is_read_back_as_it_was_written(policy: dict[str, Any], zone_id: str) -> None:
    groups = answers(policy)
    assert await bring(provider(zone_id), groups) == {}
    fresh = provider(zone_id)
    desired = {name: Desired(fresh.express(group), "shop/web") for name, group in groups.items()}
    plan = plan_changes(desired, await fresh.observe(groups), "u1", synced=True)
    assert (plan.changes, dict(plan.refused)) == ((), {})


async def test_each_cluster_has_a_set_with_its_weight_and_check_and_checks_do_not_stay(
    client: Any, zone_id: str
) -> None:
    at = provider(zone_id)
    await bring(at, answers(POLICIES["weighted"]))
    found = {one["SetIdentifier"]: one for one in sets(client, zone_id, WEB) if one["Type"] == "A"}
    assert {name: one["Weight"] for name, one in found.items()} == {"a": 3, "b": 1}
    checks = {one["Id"]: one["HealthCheckConfig"] for one in client.list_health_checks()["HealthChecks"]}
    assert checks[found["a"]["HealthCheckId"]]["IPAddress"] == "192.0.2.1"
    await bring(at, answers(POLICIES["failover"]))
    found = {one["Failover"]: one for one in sets(client, zone_id, WEB) if one["Type"] == "A"}
    assert {side: one["SetIdentifier"] for side, one in found.items()} == {"PRIMARY": "b", "SECONDARY": "a"}
    used = {one["HealthCheckId"] for one in found.values()}
    assert {one["Id"] for one in client.list_health_checks()["HealthChecks"]} == used
    await bring(at, {name: {} for name in answers({})})
    assert client.list_health_checks()["HealthChecks"] == []
    assert [one["Name"] for one in sets(client, zone_id) if one["Type"] not in ("NS", "SOA")] == [f"hand.{ZONE}."]


async def test_names_of_others_are_neither_taken_nor_changed(client: Any, zone_id: str) -> None:
    ours, theirs, name = provider(zone_id), provider(zone_id, "u2"), f"web.{ZONE}"
    assert await bring(theirs, {name: plain(name, "192.0.2.1")}, "u2") == {}
    hand = f"hand.{ZONE}"
    assert set(await bring(ours, {name: plain(name, "192.0.2.7"), hand: plain(hand, "192.0.2.7")})) == {name, hand}
    # and not when the plan was wrong, by the batch itself
    late = f"late.{ZONE}"
    await ours.observe([late])
    put(client, zone_id, late, "192.0.2.98")
    good = f"good.{ZONE}"
    changes = [Change(one, plain(one, "192.0.2.7"), "shop/web") for one in (late, good)]
    assert set(await ours.apply(changes)) == {late}
    assert sets(client, zone_id, late)[0]["ResourceRecords"] == [{"Value": "192.0.2.98"}]
    assert sets(client, zone_id, good)[0]["ResourceRecords"] == [{"Value": "192.0.2.7"}]


async def test_a_name_that_somebody_changed_by_hand_is_seen_and_mended(client: Any, zone_id: str) -> None:
    at, name = provider(zone_id), f"web.{ZONE}"
    await bring(at, {name: plain(name, "192.0.2.1")})
    put(client, zone_id, name, "192.0.2.66", "UPSERT")
    refused = await bring(at, {name: plain(name, "192.0.2.2")})
    assert "changed meanwhile" in refused[name]
    assert await bring(at, {name: plain(name, "192.0.2.2")}) == {}
    assert sets(client, zone_id, name)[0]["ResourceRecords"] == [{"Value": "192.0.2.2"}]


async def test_whoever_led_before_cannot_write_any_more(client: Any, zone_id: str) -> None:
    old, new, name = provider(zone_id, epoch=1), provider(zone_id, epoch=2), f"web.{ZONE}"
    await bring(old, {name: plain(name, "192.0.2.1")})
    seen = (await old.observe([name]))[name]
    await bring(new, {name: plain(name, "192.0.2.2")})
    stale = await old.apply([Change(name, plain(name, "192.0.2.3"), "shop/web", seen)])
    assert "changed meanwhile" in stale[name]
    assert "later leader" in (await bring(old, {name: plain(name, "192.0.2.3")}))[name]
    [owner] = sets(client, zone_id, owner_name(name))
    assert "owner=u1" in owner["ResourceRecords"][0]["Value"]
    assert sets(client, zone_id, name)[0]["ResourceRecords"] == [{"Value": "192.0.2.2"}]


async def test_many_names_go_in_batches_and_come_back_over_pages(client: Any, zone_id: str) -> None:
    groups = {name: plain(name, "192.0.2.1") for name in (f"n{index}.{ZONE}" for index in range(520))}
    at = provider(zone_id)
    assert await bring(at, groups) == {}
    assert len(sets(client, zone_id)) == 2 + 1 + 2 * 520
    fresh = provider(zone_id)
    seen = await fresh.observe(groups)
    assert len(seen) == 520
    assert all(one.owner for one in seen.values())
    assert await bring(fresh, {name: {} for name in groups}) == {}
    assert len(sets(client, zone_id)) > 1000  # most of the zone at once: held
    assert await fresh.apply([Change(name, {}, "shop/web", seen[name]) for name in groups]) == {}
    assert len(sets(client, zone_id)) == 2 + 1


async def test_the_zone_is_found_by_its_name_and_visibility(client: Any, zone_id: str) -> None:
    vpc = {"VPCRegion": "us-east-1", "VPCId": "vpc-1"}
    config = {"PrivateZone": True, "Comment": ""}
    inner = client.create_hosted_zone(Name=ZONE, CallerReference="2", VPC=vpc, HostedZoneConfig=config)["HostedZone"][
        "Id"
    ]
    name = f"web.{ZONE}"
    assert await bring(provider(), {name: plain(name, "192.0.2.1")}) == {}
    assert await bring(provider(private=True), {name: plain(name, "10.0.0.1")}) == {}
    assert sets(client, zone_id, name)[0]["ResourceRecords"] == [{"Value": "192.0.2.1"}]
    assert sets(client, inner, name)[0]["ResourceRecords"] == [{"Value": "10.0.0.1"}]
    other = Route53Provider(Route53Settings("other.example", "u1", 1, pace=0.0))
    with pytest.raises(ProviderError, match=r"these public zones other\.example: none"):
        await other.observe([name])
    assert await provider(zone_id).check() == ()


def test_names_with_unusual_characters_are_read() -> None:
    assert route53_records.name_of({"Name": "\\052.Example.com."}) == "*.example.com"
