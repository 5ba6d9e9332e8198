"""Nodes and Pods by the thousand, made once a process where members may share them."""

import functools

import orjson

from cluster.api.resources import NODES, PODS, Resource
from cluster.machinery.objects import Key, Object
from tests.fakes.member.peculiarities import Peculiarities
from tests.fakes.member.store import Stored


def nodes(behaves: Peculiarities) -> tuple[Resource, list[Stored]]:
    return NODES, _nodes(behaves.nodes, behaves.zones, behaves.region)


@functools.cache
def _nodes(number: int, zones: tuple[str, ...], region: str) -> list[Stored]:
    found = []
    for at in range(number):
        labels = {"kubernetes.io/hostname": f"node-{at:04d}", "kubernetes.io/os": "linux"}
        labels |= {"topology.kubernetes.io/zone": zones[at % len(zones)]} if zones else {}
        labels |= {"topology.kubernetes.io/region": region} if region else {}
        name = f"node-{at:04d}"
        metadata = {"name": name, "uid": name, "labels": labels, "resourceVersion": "1",
                    "creationTimestamp": "2026-01-01T00:00:00Z"}  # fmt: skip
        room = {"cpu": "8", "memory": "32Gi", "pods": "110", "ephemeral-storage": "100Gi"}
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "posting ready status",
                 "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"}  # fmt: skip
        content = {
            "metadata": metadata,
            "spec": {"podCIDR": f"10.{at // 250}.{at % 250}.0/24"},
            "status": {
                "capacity": room,
                "allocatable": room,
                "conditions": [ready],
                "addresses": [{"type": "InternalIP", "address": f"10.1.{at // 250}.{at % 250 + 1}"}],
                "nodeInfo": {"kubeletVersion": "v1.36.2", "operatingSystem": "linux", "architecture": "amd64"},
            },
        }
        found.append(Stored(Key("", name), 1, orjson.dumps(content), labels))
    return found


def pods(number: int, prefix: str, namespace: str = "default") -> tuple[Resource, list[Stored]]:
    """Running ones of about 1.5 kB. Their names begin with `prefix`, so that members' differ."""
    found = []
    for at in range(number):
        name = f"{prefix}-{at:06d}"
        labels = {"app": f"app-{at % 100}", "pod-template-hash": "5d5fbd7d7"}
        content = _pod(name, namespace, labels, at)
        found.append(Stored(Key(namespace, name), 1, orjson.dumps(content), labels))
    return PODS, found


def _pod(name: str, namespace: str, labels: dict[str, str], at: int) -> Object:
    when = "2026-01-01T00:00:00Z"
    container = {
        "name": "main", "image": "registry.example/shop/web:1.2.3", "imagePullPolicy": "IfNotPresent",
        "ports": [{"containerPort": 8080, "protocol": "TCP"}],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
    }  # fmt: skip
    kinds = ("Initialized", "Ready", "ContainersReady", "PodScheduled")
    state = {"name": "main", "ready": True, "restartCount": 0, "image": container["image"], "started": True,
             "imageID": "sha256:0", "containerID": f"containerd://{at:064d}",
             "state": {"running": {"startedAt": when}}}  # fmt: skip
    return {
        "metadata": {"name": name, "namespace": namespace, "uid": name, "labels": labels, "resourceVersion": "1",
                     "creationTimestamp": when},
        "spec": {"containers": [container], "nodeName": f"node-{at % 1000:04d}", "restartPolicy": "Always",
                 "serviceAccountName": "default", "schedulerName": "default-scheduler", "dnsPolicy": "ClusterFirst"},
        "status": {
            "phase": "Running", "podIP": f"10.2.{at // 250 % 250}.{at % 250 + 1}", "startTime": when,
            "conditions": [{"type": kind, "status": "True", "lastTransitionTime": when} for kind in kinds],
            "containerStatuses": [state],
        },
    }  # fmt: skip
