"""The federation's kinds are well formed, come with their cluster-wide twins, and refuse what makes no sense."""

from typing import Any

import pytest

from cluster.api.custom_resource import CustomResource
from cluster.api.structural_schema.structure import validate_schema
from cluster.api.validation.definitions import validate_versions
from cluster.apiserver.custom_resources.definitions import served
from federation.api.kinds import definitions

NAMES = [definition["metadata"]["name"] for definition in definitions()]


def kind(name: str) -> CustomResource:
    return served(next(one for one in definitions() if one["spec"]["names"]["kind"] == name))[0]


def faults(name: str, spec: dict[str, Any]) -> list[str]:
    resource = kind(name)
    obj = {"apiVersion": resource.api_version, "kind": name, "metadata": {"name": "x"}, "spec": spec}
    resource.complete(obj)
    return [error.field for error in resource.faults(obj)]


@pytest.mark.parametrize("definition", definitions(), ids=NAMES)
def test_definitions_are_valid_themselves(definition: dict[str, Any]) -> None:
    for version in definition["spec"]["versions"]:
        assert not validate_schema(version["schema"]["openAPIV3Schema"], "schema")
    assert not validate_versions(definition)


def test_policies_and_placements_exist_in_namespaces_and_cluster_wide() -> None:
    scopes = {one["spec"]["names"]["kind"]: one["spec"]["scope"] for one in definitions()}
    for name in ("PropagationPolicy", "OverridePolicy", "DNSPolicy", "Placement"):
        assert (scopes[name], scopes[f"Cluster{name}"]) == ("Namespaced", "Cluster")
    assert scopes["Cluster"] == "Cluster"


def test_a_cluster_needs_an_address_and_keeps_its_identity() -> None:
    assert "spec.serverAddressByClientCIDRs" in faults("Cluster", {})
    address = {"clientCIDR": "0.0.0.0/0", "serverAddress": "https://192.0.2.1:6443"}
    assert faults("Cluster", {"serverAddressByClientCIDRs": [address]}) == []
    assert faults("Cluster", {"syncMode": "Pull"}) == []


def test_a_policy_selects_something_and_knows_its_modes() -> None:
    assert faults("PropagationPolicy", {"resourceSelectors": []}) == ["spec.resourceSelectors"]
    selector = {"apiVersion": "apps/v1", "kind": "Deployment"}
    wrong = {"resourceSelectors": [selector], "placement": {"replicaScheduling": {"mode": "Some"}}}
    assert faults("PropagationPolicy", wrong) == ["spec.placement.replicaScheduling.mode"]
    assert faults("ClusterPropagationPolicy", {"resourceSelectors": [selector]}) == []
