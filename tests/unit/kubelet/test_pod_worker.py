"""A pod's worker over the runtime in memory: what it does when something goes wrong."""

from pathlib import Path
from typing import Any, cast

import pytest

from cluster.client.rest import ApiClient
from cluster.kubelet.api_objects import ApiObjects
from cluster.kubelet.kubelet import Kubelet
from cluster.kubelet.pod_worker import FAULT_SECONDS, LONGEST_FAULT_SECONDS, PodWorker
from cluster.kubelet.settings import KubeletSettings
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import NotFound
from tests.fakes.fake_runtime import FakeRuntime


def pod(**spec: Any) -> Object:
    metadata = {"name": "p", "namespace": "ns", "uid": "u"}
    return {"metadata": metadata, "spec": {"containers": [{"name": "main", "image": "i"}], **spec}}


def worker(directory: Path) -> PodWorker:
    settings = KubeletSettings(node_name="n", root_dir=str(directory), log_dir=str(directory / "logs"))
    return PodWorker(Kubelet(settings, FakeRuntime(), None).node, pod())


async def test_an_unforeseen_error_is_told_and_tried_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: Any) -> None:
        raise TypeError("nobody thought of this")

    monkeypatch.setattr(PodWorker, "_pass", fail)
    tried = worker(tmp_path)
    waits = [await tried._turn() for _ in range(6)]
    assert waits == [FAULT_SECONDS, 4.0, 8.0, 16.0, LONGEST_FAULT_SECONDS, LONGEST_FAULT_SECONDS]
    assert "nobody thought of this" in caplog.text


async def test_a_pod_may_name_objects_of_several_kinds() -> None:
    class Nothing:
        async def get(self, resource: Any, name: str, namespace: str = "") -> Object:
            raise NotFound(f"{resource.plural} {name}")

    env = [
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "x", "key": "k"}}},
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "x", "key": "k"}}},
    ]
    named = pod(containers=[{"name": "main", "env": env}])
    found = await ApiObjects(cast(ApiClient, Nothing())).snapshot(named)
    assert {(r.resource.plural, r.name): v for r, v in found.items()} == {
        ("configmaps", "x"): None,
        ("secrets", "x"): None,
    }


async def test_an_eviction_fails_the_pod_and_says_why(tmp_path: Path) -> None:
    evicted = worker(tmp_path)
    evicted.evict("Evicted", "The node was low on resource: memory. ")
    assert evicted.is_ending
    assert (evicted._status()["phase"], evicted._status()["reason"]) == ("Failed", "Evicted")
    (condition,) = evicted.last_status["conditions"]
    assert (condition["type"], condition["reason"]) == ("DisruptionTarget", "TerminationByKubelet")
