"""
Questions that half of the kubelet asks about a Pod object. Pure.
"""

import hashlib
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

import orjson

from cluster.machinery.objects import Object

CONFIG_SOURCE_ANNOTATION = "kubernetes.io/config.source"
CONFIG_HASH_ANNOTATION = "kubernetes.io/config.hash"
CONFIG_MIRROR_ANNOTATION = "kubernetes.io/config.mirror"


class ContainerKind(StrEnum):
    INIT = "init"
    SIDECAR = "sidecar"
    """An init container with restartPolicy Always."""
    APP = "app"
    EPHEMERAL = "ephemeral"


class PodContainer(NamedTuple):
    kind: ContainerKind
    spec: Object

    @property
    def name(self) -> str:
        return str(self.spec["name"])


def init_containers(pod: Object) -> list[PodContainer]:
    return [
        PodContainer(ContainerKind.SIDECAR if c.get("restartPolicy") == "Always" else ContainerKind.INIT, c)
        for c in pod["spec"].get("initContainers") or ()
    ]


def app_containers(pod: Object) -> list[PodContainer]:
    return [PodContainer(ContainerKind.APP, c) for c in pod["spec"].get("containers") or ()]


def ephemeral_containers(pod: Object) -> list[PodContainer]:
    return [PodContainer(ContainerKind.EPHEMERAL, c) for c in pod["spec"].get("ephemeralContainers") or ()]


def all_containers(pod: Object) -> Iterator[PodContainer]:
    yield from init_containers(pod)
    yield from app_containers(pod)
    yield from ephemeral_containers(pod)


def find_container(pod: Object, name: str) -> PodContainer | None:
    return next((c for c in all_containers(pod) if c.name == name), None)


def restart_policy(pod: Object) -> str:
    return str(pod["spec"].get("restartPolicy") or "Always")


def restarts(pod: Object, container: PodContainer, exit_code: int) -> bool:
    """Whether a container of this pod that ended with this code is started again."""
    if container.kind is ContainerKind.SIDECAR:
        return True
    if container.kind is ContainerKind.EPHEMERAL:
        return False
    policy = container.spec.get("restartPolicy") or restart_policy(pod)
    if container.kind is ContainerKind.INIT:
        return bool(exit_code != 0 and policy != "Never")
    return bool(policy == "Always" or (policy == "OnFailure" and exit_code != 0))


def uid_of(pod: Object) -> str:
    return str(pod["metadata"]["uid"])


def full_name(pod: Object) -> str:
    """`name_namespace(uid)`, as upstream's log lines and messages name a pod."""
    metadata = pod["metadata"]
    return f"{metadata['name']}_{metadata['namespace']}({metadata['uid']})"


def is_static(pod: Object) -> bool:
    return bool((pod["metadata"].get("annotations") or {}).get(CONFIG_SOURCE_ANNOTATION, "api") != "api")


def is_mirror(pod: Object) -> bool:
    return CONFIG_MIRROR_ANNOTATION in (pod["metadata"].get("annotations") or {})


def is_critical(pod: Object) -> bool:
    """Static pods and those of a system priority (2 000 000 000 and above) are admitted first and evicted never."""
    return is_static(pod) or is_mirror(pod) or int(pod["spec"].get("priority") or 0) >= 2_000_000_000


def is_terminal(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def is_being_deleted(pod: Object) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def uses_host_network(pod: Object) -> bool:
    return bool(pod["spec"].get("hostNetwork"))


def log_directory(root: str, pod: Object) -> str:
    metadata = pod["metadata"]
    return f"{root}/{metadata['namespace']}_{metadata['name']}_{metadata['uid']}"


def container_hash(container: Object) -> str:
    """
    Changes when a running container has to be replaced. Only the image may change in a live Pod.

    Upstream hashes name and image too, since 1.31.
    """
    return hashlib.sha256(orjson.dumps([container["name"], container.get("image", "")])).hexdigest()[:12]


def grace_period(pod: Object) -> int:
    """Seconds to stop in: what the deletion asked for, else the spec's, else 30."""
    given = pod["metadata"].get("deletionGracePeriodSeconds")
    if given is None:
        given = pod["spec"].get("terminationGracePeriodSeconds")
    return 30 if given is None else int(given)
