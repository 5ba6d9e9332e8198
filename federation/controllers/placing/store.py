"""
Placements as they are stored, our own last writes included, and the only hand that writes their specs.

A spec is written only over the one that was read: its generation is tested by the server. Statuses, which others
write, do not come in between.
"""

import time

from cluster.api.resources import Resource
from cluster.client.informer import Informer
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Key, Object, key_of
from cluster.machinery.status_errors import AlreadyExists, Conflict, Invalid, NotFound
from federation.api.refs import Ref, outliving_key, placement_key
from federation.api.resources import CLUSTER_PLACEMENTS, PLACEMENTS
from federation.controllers.placing.metrics import WRITTEN
from federation.controllers.placing.reports import GONE, NO_REPORT, Report, reports_of
from federation.placement.record import Record, record_of, spec_of

OLD_NEWS = 30.0
"""Seconds for which a Gone that is older than its tombstone is not believed; then the member will have looked again."""


class PlacementStore:
    """Informers of Placements and ClusterPlacements; whoever makes them runs them."""

    def __init__(self, client: ApiClient, placements: Informer, cluster_placements: Informer) -> None:
        self._client = client
        self.placements, self.cluster_placements = placements, cluster_placements
        self._newest: dict[Key, Object] = {}
        """What our last write was answered, until the informer has it."""
        self._deleted: dict[Key, str] = {}
        """uid of what we deleted, until the informer has heard of it."""
        self._old_news: dict[Key, dict[tuple[str, str], float]] = {}
        """By cluster and uid: Gone that was said before the tombstone, and until when nobody believes it."""
        for informer in (placements, cluster_placements):
            informer.add_handler(self._seen, lambda _, new: self._seen(new), self._gone)

    @property
    def synced(self) -> bool:
        return self.placements.has_synced and self.cluster_placements.has_synced

    async def wait_synced(self) -> None:
        await self.placements.wait_synced()
        await self.cluster_placements.wait_synced()

    def get(self, ref: Ref) -> Object | None:
        return self._at(placement_key(ref))

    def outliving(self, ref: Ref) -> Object | None:
        """The ClusterPlacement with tombstones of an object whose namespace ended."""
        return self._at(outliving_key(ref)) if ref.namespace else None

    def all(self) -> list[Object]:
        return [*self.cluster_placements.list(), *self.placements.list()]

    def reports(self, stored: Object) -> dict[str, Report]:
        """What members say, without what they said of an earlier tombstone of the same copy."""
        found, old_news = reports_of(stored), self._old_news.get(key_of(stored))
        if not old_news:
            return found
        now = time.monotonic()
        return {
            cluster: report
            for cluster, report in found.items()
            if report.state != GONE or old_news.get((cluster, report.uid), 0.0) < now
        }

    def doubts(self, ref: Ref) -> bool:
        """Whether something is not believed yet that will be when time has passed."""
        return placement_key(ref) in self._old_news

    async def write(self, key: Key, ref: Ref, stored: Object | None, record: Record) -> Object:
        """Raises Conflict where it is not as it was read any more."""
        spec = spec_of(ref, record)
        resource = _resource(key)
        if stored is None:
            metadata = {"name": key.name, **({"namespace": key.namespace} if key.namespace else {})}
            obj = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "spec": spec}
            try:
                answer = await self._client.create(resource, obj)
            except AlreadyExists as there:
                raise Conflict(f"Placement {key} is there already, and not read yet: {there}") from None
            WRITTEN.inc("create")
        else:
            answer = await self._replace(resource, key, stored, spec)
            self._note_old_news(key, stored, record)
            WRITTEN.inc("update")
        cached = self._cached(key)
        if cached is None or _version(cached) < _version(answer):
            self._newest[key] = answer
        return answer

    async def delete(self, stored: Object) -> None:
        """Raises Conflict where it is not as it was read any more."""
        key, metadata = key_of(stored), stored["metadata"]
        conditions = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        try:
            await self._client.delete(
                _resource(key), key.name, namespace=key.namespace, options={"preconditions": conditions}
            )
        except NotFound:
            return  # somebody was faster
        self._newest.pop(key, None)
        cached = self._cached(key)
        if cached is not None and cached["metadata"]["uid"] == metadata["uid"]:
            self._deleted[key] = metadata["uid"]
        WRITTEN.inc("delete")

    async def _replace(self, resource: Resource, key: Key, stored: Object, spec: Object) -> Object:
        metadata = stored["metadata"]
        patch = [
            {"op": "test", "path": "/metadata/uid", "value": metadata["uid"]},
            {"op": "test", "path": "/metadata/generation", "value": metadata.get("generation")},
            {"op": "replace", "path": "/spec", "value": spec},
        ]
        try:
            return await self._client.patch(resource, key.name, patch, namespace=key.namespace, patch_type="json")
        except Invalid as refused:
            if (refused.details or {}).get("causes"):
                raise  # the spec itself, not the test
            raise Conflict(f"Placement {key} was changed by somebody else: {refused}") from None
        except NotFound:
            self._newest.pop(key, None)
            raise Conflict(f"Placement {key} was deleted by somebody else") from None

    def _at(self, key: Key) -> Object | None:
        cached = self._cached(key)
        if cached is not None and self._deleted.get(key) == cached["metadata"]["uid"]:
            cached = None
        newest = self._newest.get(key)
        if newest is None or (cached is not None and _version(cached) >= _version(newest)):
            return cached
        return newest

    def _cached(self, key: Key) -> Object | None:
        return (self.placements if key.namespace else self.cluster_placements).get(key)

    def _note_old_news(self, key: Key, stored: Object, record: Record) -> None:
        """A copy went, came back and shall go again, and the word of the first time still stands in the status."""
        before = {(one.cluster, one.uid) for one in record_of(stored).tombstones}
        reports = reports_of(stored)
        for one in record.tombstones:
            report = reports.get(one.cluster, NO_REPORT)
            if (one.cluster, one.uid) not in before and (report.state, report.uid) == (GONE, one.uid):
                self._old_news.setdefault(key, {})[one.cluster, one.uid] = time.monotonic() + OLD_NEWS

    def _forget_old_news(self, key: Key, placement: Object) -> None:
        old_news, reports = self._old_news[key], reports_of(placement)
        for cluster, uid in list(old_news):
            report = reports.get(cluster, NO_REPORT)
            if (report.state, report.uid) != (GONE, uid):
                del old_news[cluster, uid]
        if not old_news:
            del self._old_news[key]

    def _seen(self, placement: Object) -> None:
        key = key_of(placement)
        if key in self._old_news:
            self._forget_old_news(key, placement)
        newest = self._newest.get(key)
        if newest is not None and _version(newest) <= _version(placement):
            del self._newest[key]

    def _gone(self, placement: Object) -> None:
        key = key_of(placement)
        self._old_news.pop(key, None)
        if self._deleted.get(key) == placement["metadata"]["uid"]:
            del self._deleted[key]
        newest = self._newest.get(key)
        if newest is not None and newest["metadata"]["uid"] == placement["metadata"]["uid"]:
            del self._newest[key]


def _resource(key: Key) -> Resource:
    return PLACEMENTS if key.namespace else CLUSTER_PLACEMENTS


def _version(obj: Object) -> int:
    """Of an object of our own apiserver, whose versions are numbers."""
    return int(obj["metadata"]["resourceVersion"])
