"""`kubectl top` at the federation, over members of which not all measure."""

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import pytest

from cluster.testing import control_plane
from federation.apiserver.views.metrics import GROUP, definitions
from tests.integration.federation_processes import NEEDS_KUBECTL, Endpoint, federation_apiserver
from tests.integration.test_federation_views import LABEL, POD, Federated, wait_for_account

pytestmark = NEEDS_KUBECTL


def measure(member: Endpoint, node: str, cpu: str) -> None:
    """Stands for a metrics server: its kinds as custom ones, with what it would say of a Pod and of a node."""
    approved = {"api-approved.kubernetes.io": "unapproved, for a test"}
    for definition in definitions():
        metadata = {"name": definition["metadata"]["name"], "annotations": approved}
        wanted = {**definition, "metadata": metadata, "status": None}
        member.did("create", "-f", "-", stdin=json.dumps({k: v for k, v in wanted.items() if v is not None}))
    member.did("wait", "--for=condition=Established", "crd", f"pods.{GROUP}", f"nodes.{GROUP}", "--timeout=20s")
    when = {"timestamp": dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "window": "15s"}
    usage = {"cpu": cpu, "memory": "64Mi"}
    head: dict[str, Any] = {"apiVersion": f"{GROUP}/v1beta1", **when}
    of_pod = {"metadata": {"name": "web", "labels": {"app": "web"}}, "containers": [{"name": "main", "usage": usage}]}
    for said in ({"kind": "PodMetrics", **of_pod}, {"kind": "NodeMetrics", "metadata": {"name": node}, "usage": usage}):
        member.did("create", "-f", "-", stdin=json.dumps({**head, **said}))


@pytest.fixture(scope="module")
def federated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federated]:
    home = tmp_path_factory.mktemp("metrics")
    with (
        control_plane(hollow_nodes=1) as east,
        control_plane(hollow_nodes=1) as west,
        federation_apiserver(home / "federation") as api,
    ):
        planes = {"east": east, "west": west}
        found = Federated(api, {name: Endpoint(home, one.url, one.kubeconfig) for name, one in planes.items()})
        for name, plane in planes.items():
            found.join(name, plane)
            member = found.members[name]
            wait_for_account(member)
            metadata = {"name": "web", "labels": {"app": "web"}}
            member.did("create", "-f", "-", stdin=json.dumps({**POD, "metadata": metadata}))
        yield found


def test_top_shows_members_that_measure_and_names_those_that_do_not(federated: Federated) -> None:
    nobody = federated.api.kubectl("top", "pods")
    assert "cluster east is left out" in nobody.stderr
    east, west = federated.members["east"], federated.members["west"]
    node = east.did("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    measure(east, node, "250m")
    part = federated.api.kubectl("top", "pods")
    assert [row.split() for row in part.stdout.splitlines()[1:]] == [["web", "250m", "64Mi"]]
    assert "cluster west is left out" in part.stderr

    measure(west, node, "100m")
    both = federated.api.did("top", "pods", "--sort-by=cpu")
    assert [row.split()[1] for row in both.splitlines()[1:]] == ["250m", "100m"]
    chosen = federated.api.did("top", "pods", "-l", f"app=web,{LABEL}=west")
    assert [row.split()[1] for row in chosen.splitlines()[1:]] == ["100m"]
    assert "100m" in federated.api.did("top", "pod", "west:web")
    assert "several clusters: east, west" in federated.api.kubectl("top", "pod", "web").stderr
    nodes = federated.api.did("top", "nodes", "-l", f"{LABEL}=east").splitlines()
    assert nodes[1].split()[:2] == [node, "250m"]
    assert "unknown" not in nodes[1]

    found = json.loads(federated.api.did("get", "--raw", f"/apis/{GROUP}/v1beta1/namespaces/default/pods"))
    assert [one["metadata"]["labels"][LABEL] for one in found["items"]] == ["east", "west"]
    table = [row.split() for row in federated.api.did("get", f"pods.{GROUP}").splitlines()]
    assert table[0] == ["NAME", "CLUSTER", "CPU", "MEMORY", "WINDOW"]
    assert table[1] == ["web", "east", "250m", "65536Ki", "15s"]


def test_pods_are_pods_still_and_metrics_are_read_only(federated: Federated) -> None:
    assert federated.api.did("get", "pods").split()[:3] == ["NAME", "CLUSTER", "READY"]
    served = federated.api.did("api-resources", "--api-group", GROUP, "-o", "wide")
    assert "get,list" in served
    assert "create" not in served
    refused = federated.api.kubectl("delete", f"pods.{GROUP}", "--all")
    assert "not supported" in refused.stderr.lower() or "view of its member" in refused.stderr
    assert federated.api.did("auth", "can-i", "get", f"pods.{GROUP}").strip() == "yes"
