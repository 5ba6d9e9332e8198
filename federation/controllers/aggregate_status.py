"""
Keeps every template's status: what its members say in its Placement, in the words of the template's own kind.

`kubectl rollout status`, `kubectl wait` and `helm --wait` then work as at one cluster. Not here    how several
statuses become one (federation.placement.aggregate).
"""

import asyncio
import logging
from collections.abc import Callable

from cluster.client.controller import run_workers
from cluster.client.informer import Informer
from cluster.client.rest import ApiClient
from cluster.client.workqueue import WorkQueue
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import NotFound
from federation.api.refs import Ref, placement_key, ref_of, ref_of_template
from federation.controllers.placing.kind_rule_book import KindRuleBook
from federation.controllers.templates import Change, Templates
from federation.placement.aggregate import Reported, aggregate

log = logging.getLogger(__name__)

WORKERS = 8
BEHIND = 2.0  # seconds until a template is taken to be read as new as we wrote it
APPLIED = "Applied"


class AggregateStatus:
    """`run` in a task. Who made the informers runs them."""

    def __init__(
        self,
        client: ApiClient,
        templates: Templates,
        placements: Informer,
        cluster_placements: Informer,
        rules: KindRuleBook,
    ) -> None:
        self._client, self._templates, self._rules = client, templates, rules
        self._placements, self._cluster_placements = placements, cluster_placements
        self._queue: WorkQueue[Ref] = WorkQueue(base_backoff=0.1, max_backoff=30.0)
        self._newest: dict[Ref, Object] = {}
        """What our last write was answered, until the template is read that new."""
        self._without: set[tuple[str, str]] = set()
        """Kinds that have no status of their own to write."""

        self._listeners: list[Callable[[Ref], None]] = []

    def listen(self, listener: Callable[[Ref], None]) -> None:
        """Be told of every status that was written."""
        self._listeners.append(listener)

    async def run(self) -> None:
        """Until cancelled."""
        await self._templates.wait_synced()
        for informer in (self._placements, self._cluster_placements):
            await informer.wait_synced()
            informer.add_handler(self._placed, self._placement_changed)
        await self._rules.wait_synced()
        self._rules.listen(self._rule_changed)
        self._templates.listen(self._template_changed)
        await run_workers("template-status", self._queue, self._bring_up_to_date, workers=WORKERS)

    def _placed(self, placement: Object) -> None:
        self._queue.add(ref_of_template(placement))

    def _placement_changed(self, old: Object, new: Object) -> None:
        if _said(old) != _said(new) or old["spec"] != new["spec"]:
            self._queue.add(ref_of_template(new))

    def _rule_changed(self, kind: tuple[str, str]) -> None:
        for template in self._templates.list_kind(*kind):
            self._queue.add(ref_of(template))

    def _template_changed(self, ref: Ref, change: Change) -> None:
        if change in (Change.DELETED, Change.MISSING):
            self._newest.pop(ref, None)
        elif change is Change.CHANGED:
            self._without.discard((ref.group, ref.kind))  # a definition may have one by now
            self._queue.add(ref)

    async def _bring_up_to_date(self, ref: Ref) -> None:
        placement = (self._placements if ref.namespace else self._cluster_placements).get(placement_key(ref))
        template, resource = self.template(ref), self._templates.resource_of(ref)
        if placement is None or template is None or resource is None or (ref.group, ref.kind) in self._without:
            return
        if placement["spec"]["template"].get("uid") != template["metadata"]["uid"]:
            return  # not planned yet
        status = aggregate(template, reports_of(placement, template), self._rules.of(ref.group, ref.kind))
        if status is None:
            return
        patch = changes(template.get("status") or {}, status)
        if not patch:
            return
        body = {"metadata": {"uid": template["metadata"]["uid"]}, "status": patch}
        try:
            answer = await self._client.patch(
                resource, ref.name, body, namespace=ref.namespace, subresource="status", patch_type="merge"
            )
        except NotFound:
            if self.template(ref) is not None:
                self._without.add((ref.group, ref.kind))
            return
        self._newest[ref] = answer
        for listener in self._listeners:
            listener(ref)
        asyncio.get_running_loop().call_later(BEHIND, self.template, ref)

    def template(self, ref: Ref) -> Object | None:
        """With our own last write in it, which is forgotten once the template is read that new."""
        read, newest = self._templates.get(ref), self._newest.get(ref)
        if read is None or newest is None or read["metadata"]["uid"] != newest["metadata"]["uid"]:
            self._newest.pop(ref, None)
            return read
        if _version(read) >= _version(newest):
            del self._newest[ref]
            return read
        return newest


def reports_of(placement: Object, template: Object) -> list[Reported]:
    """What every cluster of the plan says. Copies that only wait for their replacement do not count."""
    entries = {one["name"]: one for one in (placement.get("status") or {}).get("clusters") or ()}
    metadata = template["metadata"]
    reports = []
    for cluster in placement["spec"].get("clusters") or ():
        entry = entries.get(cluster["name"], {})
        ours = entry.get("uid", "") == metadata["uid"]
        current = ours and entry.get("state") == APPLIED and entry.get("observed") == metadata.get("generation")
        status = entry.get("status") if ours else None
        reports.append(Reported(cluster["name"], status, entry.get("generation") or 0, current))
    return reports


def changes(before: Object, after: Object) -> Object:
    """A JSON merge patch from one to the other; empty when they are equal."""
    patch: Object = {name: None for name in before if name not in after}
    for name, value in after.items():
        old = before.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            if below := changes(old, value):
                patch[name] = below
        elif old != value or name not in before:
            patch[name] = value
    return patch


def _said(placement: Object) -> object:
    return (placement.get("status") or {}).get("clusters")


def _version(obj: Object) -> int:
    """Of an object of our own apiserver, whose versions are numbers."""
    return int(obj["metadata"]["resourceVersion"])
