"""
A ReplicaSet beside every Deployment that Helm 3 installed, for Helm alone.

`helm --wait` of Helm 3 believes a Deployment only once it finds its ReplicaSet, by owner and Pod template, with enough
ready Pods. Those are in the members, one in each. The one here is written from the Deployment's status, goes nowhere
(it is labelled local) and is deleted with its Deployment. Helm 4 and kubectl need none.
Source: helm, pkg/kube/ready.go; kubernetes, pkg/controller/deployment/util (GetNewReplicaSet).
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable

import orjson

from cluster.api.resources import REPLICA_SETS
from cluster.client.controller import Requeue, run_workers
from cluster.client.informer import Informer
from cluster.client.rest import ApiClient
from cluster.client.workqueue import WorkQueue
from cluster.machinery.objects import Object, copy_object
from cluster.machinery.status_errors import AlreadyExists, NotFound
from federation.api.refs import Ref
from federation.controllers.aggregate_status import changes
from federation.placement.left_alone import LOCAL

log = logging.getLogger(__name__)

SHADOW = "federation.hanse.io/shadow"
"""Label with the value "true" on ReplicaSets that are made here."""
RELEASE = "meta.helm.sh/release-name"
"""Annotation that Helm puts on what it installs."""
HASH = "pod-template-hash"
WORKERS = 2
FIRST_BACKOFF = 0.1  # seconds
_COUNTS = ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas")


class ShadowReplicaSets:
    """
    `run` in a task.

    Args:
        deployment: what is known of a Deployment at the moment, its status included.
    """

    def __init__(self, client: ApiClient, deployment: Callable[[Ref], Object | None]) -> None:
        self._client, self._deployment = client, deployment
        self._shadows = Informer(client, REPLICA_SETS, label_selector=f"{SHADOW}=true")
        self._shadows.add_index("deployment", lambda shadow: map(str, _deployments(shadow)))
        self._queue: WorkQueue[Ref] = WorkQueue(base_backoff=FIRST_BACKOFF, max_backoff=30.0)
        self._shadows.add_handler(self._note, lambda _, new: self._note(new), self._note)

    def _note(self, shadow: Object) -> None:
        for ref in _deployments(shadow):
            self._queue.add(ref)

    def changed(self, ref: Ref) -> None:
        """A Deployment, or its status, is another one. Others are none of our affairs."""
        if (ref.group, ref.kind) == ("apps", "Deployment"):
            self._queue.add(ref)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._shadows.run(), name="shadows")
            await self._shadows.wait_synced()
            work = run_workers("shadow-replica-sets", self._queue, self._bring_up_to_date, workers=WORKERS)
            tasks.create_task(work, name="shadows of Deployments")

    async def _bring_up_to_date(self, ref: Ref) -> Requeue | None:
        deployment = self._deployment(ref)
        wanted = shadow_of(deployment) if deployment is not None else None
        shadow: Object | None = None
        for one in self._shadows.by_index("deployment", str(ref)):
            if wanted is not None and _is_same(one, wanted):
                shadow = one
            else:
                await self._delete(one)
        if wanted is None or deployment is None:
            return None
        if shadow is None:
            try:
                shadow = await self._client.create(REPLICA_SETS, wanted)
            except AlreadyExists:  # read too early
                return Requeue(FIRST_BACKOFF)
        elif shadow["spec"].get("replicas") != wanted["spec"]["replicas"]:
            shadow = await self._patch(shadow, {"spec": {"replicas": wanted["spec"]["replicas"]}})
        status = changes(shadow.get("status") or {}, status_for(deployment, shadow))
        if status:
            await self._patch(shadow, {"status": status}, "status")
        return None

    async def _patch(self, shadow: Object, patch: Object, subresource: str = "") -> Object:
        metadata = shadow["metadata"]
        named = {**patch, "metadata": {"uid": metadata["uid"]}}
        return await self._client.patch(
            REPLICA_SETS, metadata["name"], named, namespace=metadata["namespace"], subresource=subresource
        )

    async def _delete(self, shadow: Object) -> None:
        metadata = shadow["metadata"]
        uid = {"preconditions": {"uid": metadata["uid"]}}
        try:
            await self._client.delete(REPLICA_SETS, metadata["name"], namespace=metadata["namespace"], options=uid)
        except NotFound:
            log.debug("the shadow %s is gone already", metadata["name"])


def shadow_of(deployment: Object) -> Object | None:
    """The ReplicaSet that a Deployment of Helm's is to have; None for any other one."""
    metadata, spec = deployment["metadata"], deployment["spec"]
    if RELEASE not in (metadata.get("annotations") or {}) or metadata.get("deletionTimestamp"):
        return None
    template = copy_object(spec["template"])
    digest = hashlib.blake2b(orjson.dumps(template, option=orjson.OPT_SORT_KEYS), digest_size=5).hexdigest()
    labels = {**((template.get("metadata") or {}).get("labels") or {}), HASH: digest}
    template["metadata"] = {**(template.get("metadata") or {}), "labels": labels}
    selector = copy_object(spec["selector"])
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), HASH: digest}
    owner = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
    }
    return {
        "apiVersion": REPLICA_SETS.api_version,
        "kind": REPLICA_SETS.kind,
        "metadata": {
            "name": f"{metadata['name'][:240]}-{digest}",
            "namespace": metadata["namespace"],
            "labels": {**labels, LOCAL: "true", SHADOW: "true"},
            "ownerReferences": [owner],
        },
        "spec": {"replicas": spec.get("replicas", 1), "selector": selector, "template": template},
    }


def status_for(deployment: Object, shadow: Object) -> Object:
    """Only Pods of the present template count, and none before every member has seen it."""
    status = deployment.get("status") or {}
    current = status.get("observedGeneration") == deployment["metadata"].get("generation")
    updated = status.get("updatedReplicas") or 0 if current else 0
    ready = min(updated, status.get("readyReplicas") or 0)
    available = min(updated, status.get("availableReplicas") or 0)
    counts = dict(zip(_COUNTS, (updated, updated, ready, available), strict=True))
    found: Object = {name: count for name, count in counts.items() if count or name == "replicas"}
    return {**found, "observedGeneration": shadow["metadata"].get("generation") or 1}


def _is_same(shadow: Object, wanted: Object) -> bool:
    def owner(one: Object) -> object:
        return one["metadata"]["ownerReferences"][0]["uid"]

    return bool(shadow["metadata"]["name"] == wanted["metadata"]["name"] and owner(shadow) == owner(wanted))


def _deployments(shadow: Object) -> list[Ref]:
    metadata = shadow["metadata"]
    owners = metadata.get("ownerReferences") or ()
    return [Ref("apps", "Deployment", metadata["namespace"], one["name"]) for one in owners]
