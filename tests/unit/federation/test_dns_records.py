"""The file tests/scenarios/federation_dns/records.yaml: members and a policy in, records out."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from federation.dns.endpoints import FederatedService, MemberFacts, Memory, decide, remembered
from federation.dns.policies import policy_for, read_policy
from federation.dns.recordsets import RecordSet, from_spec, to_spec

CASES = yaml.safe_load((Path(__file__).parents[2] / "scenarios/federation_dns/records.yaml").read_text())
SERVICE = FederatedService("shop", "web", "fed", "example.com")


def facts(raw: dict[str, Any]) -> MemberFacts:
    given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()}
    return MemberFacts(**given)


def line(record: RecordSet) -> str:
    def short(name: str) -> str:
        return name.removesuffix(".example.com").replace("web.shop.fed.svc", "svc")

    values = []
    for target in record.targets:
        text = short(target.value) if record.type == "CNAME" else target.value
        text += f"*{target.weight}" if target.weight is not None else ""
        values.append(text + "".join(f"@{network}" for network in target.networks))
    return " ".join([short(record.name), record.type, *values, *(["stale"] if record.stale else [])])


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_service_has_these_records(case: dict[str, Any]) -> None:
    policy = read_policy(case.get("policy") or {})
    memory = None
    if "before" in case:
        memory = decide(SERVICE, map(facts, case["before"]), policy, now=100.0)
    members = [facts(raw) for raw in case["members"]]
    after = decide(SERVICE, members, policy, memory, now=101.0, isolated=case.get("isolated", False))
    assert sorted(map(line, after.records)) == sorted(case["records"])
    assert from_spec(to_spec(after.records)) == after.records


def test_a_name_that_fails_over_waits_before_it_goes_back_and_does_not_flap() -> None:
    policy = read_policy({"strategy": "Failover", "order": ["a", "b"], "failbackSeconds": 60})
    b = MemberFacts("b", addresses=("192.0.2.2",), ready=1)
    memory, changes, last = Memory(), 0, ""
    # ten minutes of 10 s up, 10 s down
    for second in range(600):
        a = MemberFacts("a", addresses=("192.0.2.1",), ready=1 - second // 10 % 2)
        memory = decide(SERVICE, [a, b], policy, memory, now=float(second))
        changes, last = changes + (memory.chosen != last), memory.chosen
    assert changes <= 2
    well = MemberFacts("a", addresses=("192.0.2.1",), ready=1)
    assert decide(SERVICE, [well, b], policy, memory, now=650.0).chosen == "b"
    memory = decide(SERVICE, [well, b], policy, memory, now=600.0)
    assert decide(SERVICE, [well, b], policy, memory, now=661.0).chosen == "a"


def test_the_last_answer_is_kept_for_as_long_as_the_policy_says() -> None:
    policy = read_policy({"staleSeconds": 300})
    lost = MemberFacts("a", phase="Unreachable", addresses=("192.0.2.1",), ready=1)
    memory = decide(SERVICE, [MemberFacts("a", addresses=("192.0.2.1",), ready=1)], policy, now=0.0)
    memory = decide(SERVICE, [lost], policy, memory, now=10.0)
    memory = decide(SERVICE, [lost], policy, memory, now=309.0)
    assert [record.stale for record in memory.records] == [True]
    assert decide(SERVICE, [lost], policy, memory, now=310.0).records == ()


def test_after_a_restart_the_stored_records_say_whom_failover_chose() -> None:
    policy = read_policy({"strategy": "Failover", "order": ["a", "b"], "failbackSeconds": 60})
    a, b = (
        MemberFacts(name, addresses=(address,), ready=1) for name, address in (("a", "192.0.2.1"), ("b", "192.0.2.2"))
    )
    memory = remembered(decide(SERVICE, [b], policy, now=0.0).records)
    assert decide(SERVICE, [a, b], policy, memory, now=1.0).chosen == "b"


def test_the_policy_of_the_namespace_goes_before_the_one_for_all() -> None:
    def policy(name: str, namespace: str = "", **spec: Any) -> dict[str, Any]:
        return {"metadata": {"name": name, "namespace": namespace}, "spec": spec}

    service = {"metadata": {"name": "web", "namespace": "shop", "labels": {"tier": "front"}}}
    everywhere = policy("all", strategy="Weighted")
    near = policy("near", "shop", services={"matchLabels": {"tier": "front"}}, strategy="Geo")
    other = policy("other", "shop", serviceNames=["db"], strategy="Failover")
    assert policy_for(service, [near, other], [everywhere]).strategy == "Geo"
    assert policy_for(service, [other], [everywhere]).strategy == "Weighted"
    assert policy_for(service, [other], []).strategy == "Locality"
