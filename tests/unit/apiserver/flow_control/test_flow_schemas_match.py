"""Which schema and which flow a request belongs to, with the schemas that every server makes."""

import json
from pathlib import Path

import pytest

import cluster.api
from cluster.apiserver.flow_control import schemas
from cluster.apiserver.requests import Attributes, UserInfo

BOOTSTRAP = json.loads((Path(cluster.api.__file__).parent / "tables" / "bootstrap_objects.json").read_text())
FLOW_SCHEMAS = [schemas.read_schema(obj) for obj in BOOTSTRAP if obj["kind"] == "FlowSchema"]
LEVELS = [obj["metadata"]["name"] for obj in BOOTSTRAP if obj["kind"] == "PriorityLevelConfiguration"]
EVERYBODY = ("system:authenticated",)


def user(name: str, *groups: str) -> UserInfo:
    return UserInfo(name, (*groups, *EVERYBODY))


def asks(who: UserInfo, verb: str, resource: str = "", **what: str) -> Attributes:
    return Attributes(who, verb, resource=resource, version="v1", **what)


NODE = user("system:node:n1", "system:nodes")
MANAGER = user("system:kube-controller-manager")
ACCOUNT = user("system:serviceaccount:kube-system:coredns", "system:serviceaccounts")
WORKLOAD = user("system:serviceaccount:shop:cart", "system:serviceaccounts")
ALICE = user("alice")
CASES = [
    ("the group of masters is exempt", asks(user("root", "system:masters"), "list", "pods"), "exempt", ""),
    ("probes are exempt", asks(ALICE, "get", path="/readyz"), "probes", ""),
    ("a node's lease", asks(NODE, "update", "leases", group="coordination.k8s.io", namespace="kube-node-lease"),
     "system-node-high", "system:node:n1"),
    ("a node's own status", asks(NODE, "patch", "nodes", subresource="status", name="n1"),
     "system-node-high", "system:node:n1"),
    ("a node's pods", asks(NODE, "list", "pods"), "system-nodes", "system:node:n1"),
    ("leader election", asks(MANAGER, "update", "leases", group="coordination.k8s.io", namespace="kube-system"),
     "system-leader-election", "system:kube-controller-manager"),
    ("a controller's work is told apart by namespace", asks(MANAGER, "create", "pods", namespace="shop"),
     "kube-controller-manager", "shop"),
    ("accounts of the system", asks(ACCOUNT, "list", "services"), "kube-system-service-accounts", ""),
    ("accounts of workloads", asks(WORKLOAD, "get", "configmaps", namespace="shop"),
     "service-accounts", "system:serviceaccount:shop:cart"),
    ("everybody else", asks(ALICE, "get", "pods", namespace="shop"), "global-default", "alice"),
    ("pages", asks(ALICE, "get", path="/version"), "global-default", "alice"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "schema", "flow"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_request_belongs_to_the_first_schema_that_matches(asked: Attributes, schema: str, flow: str) -> None:
    found = next(one for one in schemas.in_order(FLOW_SCHEMAS, LEVELS) if one.matches(asked))
    assert (found.name, found.flow_of(asked)) == (schema, flow)


def test_the_mandatory_schemas_are_there_when_nobody_wrote_them() -> None:
    assert [schema.name for schema in schemas.in_order([], [])] == ["exempt", "catch-all"]


def test_a_schema_whose_level_is_missing_is_passed_over() -> None:
    ordered = schemas.in_order(FLOW_SCHEMAS, [level for level in LEVELS if level != "global-default"])
    asked = asks(ALICE, "get", "pods")
    assert next(one for one in ordered if one.matches(asked)).name == "catch-all"
