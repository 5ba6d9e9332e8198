"""
Writes pod status to the apiserver: the latest of each pod only, a few at a time, again after failures.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from cluster.api import resources
from cluster.client.rest import ApiClient
from cluster.kubelet.pods import uid_of
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError, Conflict, NotFound

log = logging.getLogger(__name__)

WRITERS = 4
RETRY_SECONDS = 2.0


OWNED_CONDITIONS = frozenset({"PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"})


@dataclass(slots=True)
class _Wanted:
    pod: Object
    status: Object


@dataclass(slots=True)
class _Sent:
    status: Object
    version: int = 0
    """The object's resourceVersion with it; 0 while the API has not answered."""


def status_patch(pod: Object, status: Object) -> Object:
    """
    A strategic merge patch that makes the API's status ours, and refuses when the pod is another by now.

    Lists of addresses and conditions merge by key, so an address that is gone has to be told, and so has the reason
    of a condition that needs none any more.
    """
    body = dict(status)
    if body.get("conditions"):
        body["conditions"] = [{"reason": None, "message": None, **condition} for condition in body["conditions"]]
    old = pod.get("status") or {}
    for field in ("podIPs", "hostIPs"):
        if old.get(field) and body.get(field) is not None and old[field] != body[field]:
            body[field] = [{"$patch": "replace"}, *body[field]]
    return {"metadata": {"uid": uid_of(pod)}, "status": body}


class StatusWriter:
    def __init__(self, client: ApiClient | None, object_in_api: Callable[[Object], Object | None]) -> None:
        """
        Args:
            client: None writes nothing (a node of static pods alone).
            object_in_api: pod -> the object whose status it is; a static pod's mirror, None while there is none.
        """
        self._client, self._object_in_api = client, object_in_api
        self._wanted: dict[str, _Wanted] = {}
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._sent: dict[str, _Sent] = {}

    def put(self, pod: Object, status: Object) -> None:
        uid = uid_of(pod)
        if self._client is None or self._has_sent(uid, status) or (
            uid not in self._sent and uid not in self._wanted and _same(pod.get("status"), status)
        ):  # fmt: skip
            self._wanted.pop(uid, None)
            return
        self._want(uid, pod, status)

    def seen(self, pod: Object) -> None:
        """
        The API shows this pod. Where somebody made another status of what we wrote since, ours is written again: a
        node that could not be reached for a while has its pods marked as not ready, and nobody else takes that back.
        """
        uid = uid_of(pod)
        sent = self._sent.get(uid)
        if sent is None or not sent.version or uid in self._wanted:
            return
        if _version(pod) > sent.version and not _same_of_ours(pod.get("status"), sent.status):
            self._want(uid, pod, sent.status)

    def _has_sent(self, uid: str, status: Object) -> bool:
        sent = self._sent.get(uid)
        return sent is not None and sent.status == status

    def _want(self, uid: str, pod: Object, status: Object) -> None:
        fresh = uid not in self._wanted
        self._wanted[uid] = _Wanted(pod, status)
        if fresh:
            self._queue.put_nowait(uid)

    def forget(self, uid: str) -> None:
        self._sent.pop(uid, None)
        self._wanted.pop(uid, None)

    async def write_now(self, pod: Object, status: Object) -> None:
        """For the last status of a pod. Raises ApiError."""
        self._wanted.pop(uid_of(pod), None)
        if self._client is not None and not self._has_sent(uid_of(pod), status):
            await self._write(pod, status)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(WRITERS):
                group.create_task(self._serve(), name=f"pod status {number}")

    async def _serve(self) -> None:
        while True:
            uid = await self._queue.get()
            wanted = self._wanted.pop(uid, None)
            if wanted is None:
                continue
            try:
                await self._write(wanted.pod, wanted.status)
            except ApiError as error:
                log.warning("status of pod %s is not written yet: %s", uid, error)
                await asyncio.sleep(RETRY_SECONDS)
                if uid not in self._wanted:
                    self._wanted[uid] = wanted
                    self._queue.put_nowait(uid)

    async def _write(self, pod: Object, status: Object) -> None:
        target = self._object_in_api(pod)
        if self._client is None or target is None:
            return
        metadata = target["metadata"]
        self._sent[uid_of(pod)] = sent = _Sent(status)
        try:
            written = await self._client.patch(
                resources.PODS,
                metadata["name"],
                status_patch(target, status),
                namespace=metadata["namespace"],
                patch_type="strategic",
                subresource="status",
            )
            sent.version = _version(written)
        except (NotFound, Conflict) as error:  # gone, or another pod of the same name: nothing to tell any more
            log.info("status of pod %s/%s has no object: %s", metadata["namespace"], metadata["name"], error)
        except ApiError:
            self._sent.pop(uid_of(pod), None)
            raise


def _version(pod: Object) -> int:
    text = str(pod["metadata"].get("resourceVersion") or "")
    return int(text) if text.isdigit() else 0


def _same_of_ours(theirs: Object | None, ours: Object) -> bool:
    """Whether what only a kubelet says is as we said it; conditions of others, and when and why, do not count."""
    theirs = theirs or {}
    if theirs.get("phase") != ours.get("phase"):
        return False
    wanted, found = ({c["type"]: c.get("status") for c in status.get("conditions") or ()} for status in (ours, theirs))
    return all(found.get(kind) == status for kind, status in wanted.items() if kind in OWNED_CONDITIONS)


def _same(theirs: Object | None, ours: Object) -> bool:
    theirs = theirs or {}
    return all(theirs.get(key) == value for key, value in ours.items())
