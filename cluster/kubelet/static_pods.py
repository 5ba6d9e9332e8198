"""
Pods from files on this host: read from a directory, completed as upstream does, shown in the API as mirror pods.
"""

import hashlib
import logging
from pathlib import Path
from typing import Any

import orjson
import yaml

from cluster.kubelet.pods import CONFIG_HASH_ANNOTATION, CONFIG_MIRROR_ANNOTATION, CONFIG_SOURCE_ANNOTATION
from cluster.machinery.objects import Object

log = logging.getLogger(__name__)

MAX_FILE_BYTES = 1024 * 1024
MAX_DEPTH = 64


class ManifestFault(Exception):
    """A manifest is no usable Pod. Remedy: correct the file that the message names."""


def read_directory(directory: Path, node: str) -> dict[str, Object]:
    """uid -> pod. A bad file is logged and skipped, so that it does not take the others down. Blocking."""
    pods: dict[str, Object] = {}
    if not directory.is_dir():
        return pods
    for file in sorted(directory.iterdir()):
        if file.name.startswith(".") or not file.is_file():
            continue
        try:
            if file.stat().st_size > MAX_FILE_BYTES:
                raise ManifestFault(f"larger than {MAX_FILE_BYTES} bytes")
            pod = parse_manifest(file.read_bytes(), str(file), node)
        except (ManifestFault, OSError) as fault:
            log.error("static pod %s is left out: %s", file, fault)
            continue
        pods[pod["metadata"]["uid"]] = pod
    return pods


def parse_manifest(content: bytes, source: str, node: str) -> Object:
    """Raises ManifestFault."""
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        _check_depth(yaml.scan(content, Loader=loader))
        pod = yaml.load(content, Loader=loader)  # noqa: S506  # a safe loader
    except yaml.YAMLError as error:
        raise ManifestFault(f"no YAML: {error}") from error
    if not isinstance(pod, dict) or pod.get("kind") != "Pod" or not isinstance(pod.get("spec"), dict):
        raise ManifestFault("holds no Pod")
    if not pod["spec"].get("containers") or not (pod.get("metadata") or {}).get("name"):
        raise ManifestFault("the Pod lacks metadata.name or spec.containers")
    return complete(pod, source, node)


def _check_depth(tokens: Any) -> None:
    depth = 0
    for token in tokens:
        kind = type(token).__name__
        if kind.endswith("StartToken") and kind != "StreamStartToken":
            depth += 1
        elif kind in ("BlockEndToken", "FlowMappingEndToken", "FlowSequenceEndToken"):
            depth -= 1
        elif kind == "AliasToken":
            raise ManifestFault("YAML aliases are not allowed in a manifest")
        if depth > MAX_DEPTH:
            raise ManifestFault(f"nested deeper than {MAX_DEPTH}")


def complete(pod: Object, source: str, node: str) -> Object:
    """Give the pod what the apiserver would have: uid, node, namespace, tolerations, defaults that we rely on."""
    metadata = {**pod["metadata"]}
    uid = (
        metadata.get("uid")
        or hashlib.md5(  # noqa: S324  # an identity, not a secret
            orjson.dumps([pod, source, node], option=orjson.OPT_SORT_KEYS)
        ).hexdigest()
    )
    metadata["uid"] = uid
    metadata["name"] = f"{metadata['name']}-{node.lower()}"
    metadata.setdefault("namespace", "default")
    metadata["annotations"] = {
        **(metadata.get("annotations") or {}),
        CONFIG_HASH_ANNOTATION: uid,
        CONFIG_SOURCE_ANNOTATION: "file",
    }
    spec = {"restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst", **pod["spec"]}
    spec["nodeName"] = node
    spec["tolerations"] = [*(spec.get("tolerations") or ()), {"operator": "Exists", "effect": "NoExecute"}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": "Pending"}}


def mirror_of(pod: Object, node_uid: str) -> Object:
    """What is created in the API so that people see the static pod."""
    metadata = {k: v for k, v in pod["metadata"].items() if k in ("name", "namespace", "labels")}
    annotations = {
        **pod["metadata"]["annotations"],
        CONFIG_MIRROR_ANNOTATION: pod["metadata"]["annotations"][CONFIG_HASH_ANNOTATION],
    }
    owner = {"apiVersion": "v1", "kind": "Node", "name": pod["spec"]["nodeName"], "uid": node_uid, "controller": True}
    metadata |= {"annotations": annotations, **({"ownerReferences": [owner]} if node_uid else {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod["spec"]}
