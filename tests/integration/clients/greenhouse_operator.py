"""
A small operator, run by `kopf run`: a Greenhouse keeps a ConfigMap that names its crop, and says goodbye to another.

Every kind of handler is here: create, update of a field, delete (so a finalizer), a timer, events of a built-in kind.
"""

import os
from typing import Any

import kopf
import kubernetes

_GROUP = "kopf.hanse.test"


def _maps() -> kubernetes.client.CoreV1Api:
    return kubernetes.client.CoreV1Api(kubernetes.config.new_client_from_config(os.environ["KUBECONFIG"]))


@kopf.on.startup()
def settle(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.persistence.finalizer = f"{_GROUP}/goodbye"
    settings.posting.enabled = True


@kopf.on.create(_GROUP, "v1", "greenhouses")
def planted(spec: kopf.Spec, name: str, namespace: str | None, body: kopf.Body, **_: Any) -> dict[str, str]:
    child = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"crop": spec["crop"]}}
    kopf.adopt(child, owner=body)
    _maps().create_namespaced_config_map(namespace, child)
    kopf.info(body, reason="Planted", message=f"{spec['crop']} grows")
    return {"crop": spec["crop"]}


@kopf.on.update(_GROUP, "v1", "greenhouses", field="spec.crop")
def changed(old: Any, new: Any, name: str, namespace: str | None, patch: kopf.Patch, **_: Any) -> None:
    _maps().patch_namespaced_config_map(name, namespace, {"data": {"crop": new, "before": old}})
    patch.status["replaced"] = old


@kopf.on.delete(_GROUP, "v1", "greenhouses")
def gone(name: str, namespace: str | None, **_: Any) -> None:
    meta = {"name": f"{name}-goodbye"}
    _maps().create_namespaced_config_map(namespace, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta})


@kopf.timer(_GROUP, "v1", "greenhouses", interval=0.5)
def watered(status: kopf.Status, patch: kopf.Patch, **_: Any) -> None:
    patch.status["watered"] = int(status.get("watered", 0)) + 1


@kopf.on.event("", "v1", "configmaps", labels={"greet": "me"})
def greeted(event: kopf.RawEvent, name: str, namespace: str | None, annotations: kopf.Annotations, **_: Any) -> None:
    if event["type"] == "ADDED" and "greeted" not in annotations:
        _maps().patch_namespaced_config_map(name, namespace, {"metadata": {"annotations": {"greeted": "yes"}}})
