"""The file tests/scenarios/federation_dns/records.yaml: members and a policy in, records out."""

from collections.abc import Callable
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


def member(name: str, *, ready: int = 1, phase: str = "Ready") -> MemberFacts:
    return MemberFacts(name, addresses=({"a": "192.0.2.1", "b": "192.0.2.2"}[name],), ready=ready, phase=phase)


def answered(memory: Memory) -> str:
    return " ".join(sorted(memory.clusters))


def changes_while(flaps: Callable[[int], list[MemberFacts]], seconds: int = 600) -> tuple[int, Memory]:
    """How often the answer changed, looked at every second; it may never be empty."""
    memory = decide(SERVICE, [member("a"), member("b")], now=0.0)
    changes, last = 0, answered(memory)
    for second in range(1, seconds):
        memory = decide(SERVICE, flaps(second), memory=memory, now=float(second))
        assert memory.records
        changes, last = changes + (answered(memory) != last), answered(memory)
    return changes, memory


def test_a_member_that_flaps_changes_an_answer_twice_in_ten_minutes_at_most() -> None:
    for lost in ({"ready": 0}, {"phase": "Unreachable"}):
        changes, memory = changes_while(
            lambda second, lost=lost: [member("a", **(lost if second // 10 % 2 else {})), member("b")]  # type: ignore[misc]
        )
        assert changes <= 2
        memory = decide(SERVICE, [member("a"), member("b")], memory=memory, now=600.0)
        assert memory.again is not None
        assert answered(decide(SERVICE, [member("a"), member("b")], memory=memory, now=memory.again)) == "a b"


def test_two_members_that_flap_in_turn_never_leave_an_answer_empty() -> None:
    def turns(second: int) -> list[MemberFacts]:
        odd = second // 10 % 2
        return [member("a", ready=odd), member("b", ready=1 - odd)]

    changes_while(turns)


def test_a_member_that_was_lost_once_comes_back_after_fifteen_seconds_and_a_new_one_at_once() -> None:
    memory = decide(SERVICE, [member("a")], now=0.0)
    memory = decide(SERVICE, [member("a"), member("b")], memory=memory, now=1.0)
    assert answered(memory) == "a b"
    memory = decide(SERVICE, [member("a", ready=0), member("b")], memory=memory, now=2.0)
    memory = decide(SERVICE, [member("a"), member("b")], memory=memory, now=3.0)
    assert (answered(memory), memory.again) == ("b", 18.0)
    assert answered(decide(SERVICE, [member("a"), member("b")], memory=memory, now=18.0)) == "a b"
    # unless the others go first, or the policy does not want to wait
    assert answered(decide(SERVICE, [member("a"), member("b", ready=0)], memory=memory, now=4.0)) == "a"
    at_once = read_policy({"failbackSeconds": 0})
    assert answered(decide(SERVICE, [member("a"), member("b")], at_once, memory, now=4.0)) == "a b"


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
