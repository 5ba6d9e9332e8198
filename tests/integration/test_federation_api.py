"""kubectl against the federation's apiserver: it takes every kind at once, keeps it as it is, and explains its own."""

import json
from collections.abc import Iterator

import pytest

from tests.integration.federation_processes import NEEDS_KUBECTL, Endpoint, federation_apiserver

pytestmark = NEEDS_KUBECTL

CLUSTER = """
apiVersion: federation/v1beta1
kind: Cluster
metadata: {name: NAME}
spec: {serverAddressByClientCIDRs: [{clientCIDR: 0.0.0.0/0, serverAddress: "https://192.0.2.1:6443"}]}
"""
DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: PLURAL.GROUP}
spec:
  group: GROUP
  scope: Namespaced
  names: {plural: PLURAL, singular: lamp, kind: Lamp}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {lit: {type: boolean}}}}}}
"""


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with federation_apiserver(tmp_path_factory.mktemp("federation")) as endpoint:
        yield endpoint


def test_the_usual_namespaces_and_the_systems_own_are_there_and_stay(federation: Endpoint) -> None:
    names = federation.did("get", "namespaces", "-o", "name").split()
    assert {"namespace/default", "namespace/kube-system", "namespace/federation-system"} <= set(names)
    refused = federation.kubectl("delete", "namespace", "federation-system")
    assert "this namespace may not be deleted" in refused.stderr


def test_what_is_protected_is_not_deleted_nor_what_would_take_it_along(federation: Endpoint) -> None:
    label = "federation.hanse.io/deletion-protected"
    definition = DEFINITION.replace("PLURAL", "beacons").replace("GROUP", "safe.example.com")
    federation.did("create", "-f", "-", stdin=definition)
    federation.did("wait", "crd/beacons.safe.example.com", "--for=condition=Established", "--timeout=10s")
    beacon = "{apiVersion: safe.example.com/v1, kind: Lamp, metadata: {name: first, namespace: vault}}"
    federation.did("create", "namespace", "vault")
    federation.did("create", "configmap", "settings", "-n", "vault")
    federation.did("create", "-f", "-", stdin=beacon)
    for name in ("configmap/settings", "beacons/first"):
        federation.did("label", name, f"{label}=true", "-n", "vault")
        refused = federation.kubectl("delete", name, "-n", "vault").stderr
        assert f"it is protected from deletion by its label {label}; remove that first" in refused
        refused = federation.kubectl("delete", "namespace", "vault").stderr
        assert "vault/" in refused
        assert "would go with it" in refused
        assert "is protected" in federation.kubectl("delete", name.split("/")[0], "--all", "-n", "vault").stderr
        if name.startswith("beacons"):
            assert "would go with it" in federation.kubectl("delete", "crd", "beacons.safe.example.com").stderr
        federation.did("label", name, f"{label}-", "-n", "vault")
    federation.did("label", "namespace", "vault", f"{label}=true")
    assert "is protected from deletion" in federation.kubectl("delete", "namespace", "vault").stderr
    federation.did("label", "namespace", "vault", f"{label}-")
    federation.did("delete", "namespace", "vault", "--wait=false")
    federation.did("delete", "crd", "beacons.safe.example.com", "--wait=false")


def test_nothing_is_made_in_a_namespace_that_is_not_there(federation: Endpoint) -> None:
    refused = federation.kubectl("create", "configmap", "settings", "-n", "nowhere").stderr
    assert 'namespaces "nowhere" not found' in refused


def test_templates_are_stored_as_they_are_in_a_fresh_namespace(federation: Endpoint) -> None:
    federation.did("create", "namespace", "shop")
    federation.did("create", "deployment", "web", "--image=nginx", "-n", "shop")
    federation.did("create", "job", "once", "--image=nginx", "-n", "shop")
    federation.did("create", "service", "nodeport", "web", "--tcp=80:80", "-n", "shop")
    service = json.loads(federation.did("get", "service", "web", "-n", "shop", "-o", "json"))
    assert service["spec"]["clusterIP"] == "0.0.0.0"
    assert "nodePort" not in service["spec"]["ports"][0]
    federation.did("patch", "service", "web", "-n", "shop", "-p", '{"spec":{"type":"LoadBalancer"}}')
    everything = federation.did("get", "services,serviceaccounts,ipaddresses,servicecidrs", "-A", "-o", "name")
    assert everything.split() == ["service/web"]
    federation.did("delete", "job", "once", "-n", "shop")


def test_no_quota_and_no_limits_hold_templates_back(federation: Endpoint) -> None:
    federation.did("create", "namespace", "narrow")
    federation.did("create", "quota", "none", "--hard=services=0,persistentvolumeclaims=0", "-n", "narrow")
    federation.did("create", "service", "clusterip", "web", "--tcp=80:80", "-n", "narrow")
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": "narrow"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    federation.did("create", "-f", "-", stdin=json.dumps(claim))
    federation.did("delete", "pvc", "data", "-n", "narrow", "--timeout=10s")


def test_clusters_are_printed_selected_and_explained(federation: Endpoint) -> None:
    for name in ("one", "two"):
        federation.did("apply", "-f", "-", stdin=CLUSTER.replace("NAME", name))
    status = '{"status":{"phase":"Ready","kubernetesVersion":"v1.36.2"}}'
    federation.did("patch", "cluster", "one", "--subresource=status", "--type=merge", "-p", status)
    rows = federation.did("get", "cl").splitlines()
    assert rows[0].split() == ["NAME", "STATUS", "VERSION", "NODES", "REGION", "MODE", "AGE"]
    assert rows[1].split()[:3] == ["one", "Ready", "v1.36.2"]
    assert federation.did("get", "clusters", "--field-selector=status.phase=Ready", "-o", "name") == (
        "cluster.federation/one\n"
    )
    assert "an agent in the member" in federation.did("explain", "clusters.spec.syncMode")
    assert "PropagationPolicy" in federation.did("explain", "propagationpolicies")
    federation.did("apply", "--server-side", "-f", "-", stdin=CLUSTER.replace("NAME", "three"))
    federation.did("delete", "clusters", "--all")


def test_what_a_cluster_may_not_say_is_refused(federation: Endpoint) -> None:
    wrong = CLUSTER.replace("NAME", "wrong").replace("spec: {", "spec: {syncMode: Shove, ")
    refused = federation.kubectl("create", "-f", "-", stdin=wrong)
    assert 'supported values: "Push", "Pull"' in refused.stderr
    federation.did("apply", "-f", "-", stdin=CLUSTER.replace("NAME", "known").replace("spec: {", "spec: {uid: a, "))
    other = federation.kubectl("patch", "cluster", "known", "--type=merge", "-p", '{"spec":{"uid":"b"}}')
    assert "the identity of a member cannot change" in other.stderr


def test_users_define_kinds_and_not_in_the_federations_groups(federation: Endpoint) -> None:
    own = DEFINITION.replace("PLURAL", "lamps").replace("GROUP", "example.com")
    federation.did("apply", "-f", "-", stdin=own)
    federation.did("wait", "--for=condition=established", "crd/lamps.example.com", "--timeout=10s")
    lamp = "{apiVersion: example.com/v1, kind: Lamp, metadata: {name: desk}, spec: {lit: true}}"
    federation.did("apply", "-f", "-", stdin=lamp)
    assert federation.did("get", "lamps", "-o", "jsonpath={.items[0].spec.lit}") == "true"
    for plural in ("lamps", "placements"):
        taken = DEFINITION.replace("PLURAL", plural).replace("GROUP", "federation.hanse.io")
        refused = federation.kubectl("apply", "-f", "-", stdin=taken)
        assert "this server serves the group itself" in refused.stderr
    assert "federation" not in federation.did("get", "crd", "-o", "name")
    federation.did("delete", "crd", "lamps.example.com", "--timeout=20s")


def test_version_health_and_discovery_are_those_of_a_cluster(federation: Endpoint) -> None:
    assert json.loads(federation.did("version", "-o", "json"))["serverVersion"]["minor"] == "36"
    assert federation.did("get", "--raw", "/readyz") == "ok"
    services = federation.did("get", "apiservices", "-o", "name")
    assert "apiservice.apiregistration.k8s.io/v1beta1.federation.hanse.io" in services
    assert "No resources" in federation.kubectl("get", "events").stderr
