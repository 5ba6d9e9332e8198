"""The `kubernetes` package: typed and dynamic clients, Watch, server-side apply, patches of every kind."""

import base64
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client, config, dynamic, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic.exceptions import ConflictError

from tests.integration.control_plane_processes import ControlPlane


@pytest.fixture
def api(plane: ControlPlane) -> Iterator[client.ApiClient]:
    with config.new_client_from_config(str(plane.kubeconfig)) as made:
        yield made


def settings(name: str, **data: str) -> client.V1ConfigMap:
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels={"made": "here"}), data=data)


def test_typed_objects_make_the_round_trip(api: client.ApiClient, namespace: str) -> None:
    core, apps = client.CoreV1Api(api), client.AppsV1Api(api)
    secret = client.V1Secret(metadata=client.V1ObjectMeta(name="s"), string_data={"password": "x"})
    core.create_namespaced_secret(namespace, secret)
    container = client.V1Container(name="web", image="web:1", ports=[client.V1ContainerPort(container_port=80)])
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels={"app": "web"}), spec=client.V1PodSpec(containers=[container])
    )
    spec = client.V1DeploymentSpec(
        replicas=1, selector=client.V1LabelSelector(match_labels={"app": "web"}), template=template
    )
    apps.create_namespaced_deployment(
        namespace, client.V1Deployment(metadata=client.V1ObjectMeta(name="web"), spec=spec)
    )

    assert base64.b64decode(core.read_namespaced_secret("s", namespace).data["password"]) == b"x"
    noted = watch.Watch()
    for event in noted.stream(apps.list_namespaced_deployment, namespace, timeout_seconds=20):
        if "deployment.kubernetes.io/revision" in (event["object"].metadata.annotations or {}):
            noted.stop()  # the controller's annotation is no change that it would have to observe
    scale = apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 3}})
    assert scale.spec.replicas == 3
    read = apps.read_namespaced_deployment("web", namespace)
    assert (read.spec.replicas, read.spec.strategy.type, read.metadata.generation) == (3, "RollingUpdate", 2)
    assert read.metadata.creation_timestamp.tzinfo is not None


def test_every_kind_of_patch_is_understood(api: client.ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(api)
    core.create_namespaced_config_map(namespace, settings("c", a="1"))

    def patched(body: Any, kind: str) -> Any:
        return core.patch_namespaced_config_map("c", namespace, body, _content_type=kind).data

    add = [{"op": "add", "path": "/data/b", "value": "2"}]
    assert patched(add, "application/json-patch+json") == {"a": "1", "b": "2"}
    assert patched({"data": {"a": None}}, "application/merge-patch+json") == {"b": "2"}
    assert patched({"data": {"c": "3"}}, "application/strategic-merge-patch+json") == {"b": "2", "c": "3"}


def test_a_list_comes_in_pages_and_errors_say_why(api: client.ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(api)
    for number in range(5):
        core.create_namespaced_config_map(namespace, settings(f"c{number}"))

    first = core.list_namespaced_config_map(namespace, label_selector="made=here", limit=3)
    rest = core.list_namespaced_config_map(
        namespace, label_selector="made=here", limit=3, _continue=first.metadata._continue
    )
    assert [item.metadata.name for item in (*first.items, *rest.items)] == [f"c{number}" for number in range(5)]

    with pytest.raises(ApiException) as twice:
        core.create_namespaced_config_map(namespace, settings("c0"))
    assert (twice.value.status, twice.value.reason) == (409, "Conflict")
    assert '"reason":"AlreadyExists"' in twice.value.body


def test_a_watch_tells_the_story_in_order(api: client.ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(api)
    start = core.list_namespaced_config_map(namespace).metadata.resource_version

    def act() -> None:
        core.create_namespaced_config_map(namespace, settings("told", step="1"))
        core.patch_namespaced_config_map("told", namespace, {"data": {"step": "2"}})
        core.delete_namespaced_config_map("told", namespace)

    acting = threading.Thread(target=act)
    acting.start()
    seen = []
    follow = watch.Watch()
    for event in follow.stream(
        core.list_namespaced_config_map, namespace, resource_version=start, timeout_seconds=20,
        field_selector="metadata.name=told",
    ):  # fmt: skip
        seen.append((event["type"], event["object"].data["step"]))
        if event["type"] == "DELETED":
            follow.stop()
    acting.join()

    assert seen == [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")]


def test_the_dynamic_client_discovers_applies_and_meets_conflicts(api: client.ApiClient, namespace: str) -> None:
    kinds = dynamic.DynamicClient(api)
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "lamps.dynamic.hanse.test"},
        "spec": {
            "group": "dynamic.hanse.test", "scope": "Namespaced",
            "names": {"plural": "lamps", "singular": "lamp", "kind": "Lamp"},
            "versions": [{
                "name": "v1", "served": True, "storage": True, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {
                        "lit": {"type": "boolean"}, "watts": {"type": "integer"},
                    }},
                    "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                }}},
            }],
        },
    }  # fmt: skip
    definitions = kinds.resources.get(api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition")
    definitions.create(body=definition)
    for event in definitions.watch(name="lamps.dynamic.hanse.test", timeout=20):
        conditions = (event["raw_object"].get("status") or {}).get("conditions") or []
        if any(c["type"] == "Established" and c["status"] == "True" for c in conditions):
            break
    lamps = kinds.resources.get(api_version="dynamic.hanse.test/v1", kind="Lamp")

    def lamp(**spec: Any) -> dict[str, Any]:
        meta = {"name": "l", "namespace": namespace}
        return {"apiVersion": "dynamic.hanse.test/v1", "kind": "Lamp", "metadata": meta, "spec": spec}

    lamps.server_side_apply(body=lamp(lit=True, watts=5), name="l", namespace=namespace, field_manager="one")
    with pytest.raises(ConflictError) as conflict:
        lamps.server_side_apply(body=lamp(watts=9), name="l", namespace=namespace, field_manager="two")
    assert 'conflict with \\"one\\"' in conflict.value.body
    lamps.server_side_apply(
        body=lamp(watts=9), name="l", namespace=namespace, field_manager="two", force_conflicts=True
    )
    lamps.status.patch(
        body={"status": {"warm": True}}, name="l", namespace=namespace, content_type="application/merge-patch+json"
    )

    found = lamps.get(name="l", namespace=namespace)
    assert (found.spec.to_dict(), found.status.warm) == ({"lit": True, "watts": 9}, True)
    lamps.delete(name="l", namespace=namespace)
    definitions.delete(name="lamps.dynamic.hanse.test")
