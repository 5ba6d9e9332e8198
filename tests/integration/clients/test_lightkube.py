"""lightkube: typed resources, generic resources, apply with field managers, watch, and its strict reading of errors."""

from collections.abc import Iterator

import lightkube
import pytest
from lightkube.core.exceptions import ApiError
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.autoscaling_v1 import ScaleSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Namespace
from lightkube.types import PatchType

from tests.integration.control_plane_processes import ControlPlane

Basket = create_namespaced_resource("apps", "v1", "Deployment", "deployments")


@pytest.fixture
def client(plane: ControlPlane) -> Iterator[lightkube.Client]:
    made = lightkube.Client(config=lightkube.KubeConfig.from_file(str(plane.kubeconfig)), field_manager="lightkube")
    yield made
    made._client._client.close()


def test_objects_are_made_changed_listed_and_removed(client: lightkube.Client, namespace: str) -> None:
    for number in range(3):
        client.create(ConfigMap(metadata=ObjectMeta(name=f"c{number}", namespace=namespace), data={"a": "1"}))
    client.patch(ConfigMap, "c1", {"data": {"a": None, "b": "2"}}, namespace=namespace, patch_type=PatchType.MERGE)
    changed = client.get(ConfigMap, "c2", namespace=namespace)
    assert changed.data is not None
    changed.data["a"] = "3"
    client.replace(changed)

    listed = {item.metadata.name: item.data for item in client.list(ConfigMap, namespace=namespace, chunk_size=2)}
    assert {name: data for name, data in listed.items() if name.startswith("c")} == {
        "c0": {"a": "1"}, "c1": {"b": "2"}, "c2": {"a": "3"},
    }  # fmt: skip
    client.deletecollection(ConfigMap, namespace=namespace)
    assert not [c for c in client.list(ConfigMap, namespace=namespace) if c.metadata.name.startswith("c")]


def test_errors_are_read_from_the_status(client: lightkube.Client, namespace: str) -> None:
    with pytest.raises(ApiError) as absent:
        client.get(ConfigMap, "nothing", namespace=namespace)
    assert (absent.value.status.code, absent.value.status.reason) == (404, "NotFound")

    stale = client.create(ConfigMap(metadata=ObjectMeta(name="stale", namespace=namespace)))
    client.patch(ConfigMap, "stale", {"data": {"new": "er"}}, namespace=namespace)
    with pytest.raises(ApiError) as conflict:
        client.replace(stale)
    assert (conflict.value.status.code, conflict.value.status.reason) == (409, "Conflict")


def test_apply_is_owned_field_by_field(client: lightkube.Client, namespace: str) -> None:
    def config(**data: str) -> ConfigMap:
        return ConfigMap(metadata=ObjectMeta(name="owned", namespace=namespace), data=data)

    client.apply(config(a="1", b="1"), field_manager="one")
    with pytest.raises(ApiError, match='conflict with "one"'):
        client.apply(config(a="2"), field_manager="two")
    client.apply(config(a="2"), field_manager="two", force=True)
    assert client.apply(config(), field_manager="one").data == {"a": "2"}


def test_a_watch_sees_what_others_do(client: lightkube.Client, namespace: str) -> None:
    client.create(ConfigMap(metadata=ObjectMeta(name="seen", namespace=namespace), data={"n": "0"}))
    steps = []
    for operation, item in client.watch(
        ConfigMap, namespace=namespace, fields={"metadata.name": "seen"}, server_timeout=20
    ):
        steps.append(operation)
        if operation == "DELETED":
            break
        if operation == "ADDED":
            client.patch(ConfigMap, "seen", {"data": {"n": "1"}}, namespace=namespace)
        else:
            client.delete(ConfigMap, "seen", namespace=namespace)
        assert item.metadata is not None
    assert steps == ["ADDED", "MODIFIED", "DELETED"]


def test_subresources_and_generic_resources(client: lightkube.Client, namespace: str) -> None:
    pod = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "web:1"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": pod}
    client.create(Basket(metadata=ObjectMeta(name="d", namespace=namespace), spec=spec))

    scale = client.get(Deployment.Scale, "d", namespace=namespace)
    assert scale.metadata is not None
    scale.metadata.resourceVersion = None  # the controller writes the status meanwhile
    scale.spec = ScaleSpec(replicas=4)
    client.replace(scale, "d", namespace=namespace)

    assert client.get(Basket, "d", namespace=namespace)["spec"]["replicas"] == 4
    assert client.get(Namespace, namespace).metadata.name == namespace
