"""Where a Service can be reached in a member, as tests/scenarios/federation_dns/addresses.yaml tells."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from federation.dns.addresses import MAX_NODES, facts_of, node_addresses, wants_nodes

CASES = yaml.safe_load((Path(__file__).parents[2] / "scenarios/federation_dns/addresses.yaml").read_text())


def node(name: str, raw: dict[str, Any]) -> dict[str, Any]:
    addresses = [{"type": kind, "address": one} for kind in ("ExternalIP", "InternalIP") for one in raw.get(kind, ())]
    ready = {"type": "Ready", "status": "True" if raw.get("ready", True) else "False"}
    metadata = {"name": name, "labels": raw.get("labels", {})}
    spec = {"providerID": raw["providerID"]} if "providerID" in raw else {}
    return {"metadata": metadata, "spec": spec, "status": {"addresses": addresses, "conditions": [ready]}}


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_service_is_reached_at(case: dict[str, Any]) -> None:
    service = {"spec": case["spec"], "status": {"loadBalancer": {"ingress": case.get("ingress", [])}}}
    nodes = [node(name, raw) for name, raw in case.get("nodes", {}).items()]
    source = case.get("source", "Auto")
    facts = facts_of(service, case.get("endpoints", ()), nodes if wants_nodes(service, source) else (), source)
    assert list(facts.addresses) == case.get("addresses", [])
    assert list(facts.hostnames) == case.get("hostnames", [])
    assert facts.ready == case.get("ready", 0)


def test_a_large_cluster_is_answered_with_a_few_nodes() -> None:
    nodes = [node(f"n{number:03}", {"InternalIP": [f"10.0.0.{number}"]}) for number in range(100)]
    assert len(node_addresses(nodes)) == MAX_NODES
