"""
What links read from the federation: templates, Placements, override policies and the members' Cluster objects.

One for all links of a process: every change is read once, and told to the links that it concerns.
"""

import logging
from collections.abc import Iterator
from typing import Protocol

from cluster.api.resources import Resource
from cluster.client.informer import Informer
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Key, Object
from federation.api.refs import Ref, outliving_key, placement_key, ref_of_template
from federation.api.resources import (
    CLUSTER_OVERRIDE_POLICIES,
    CLUSTER_PLACEMENTS,
    OVERRIDE_POLICIES,
    PLACEMENTS,
)
from federation.controllers.links.parts import clusters_of
from federation.controllers.templates import RETURN, Change, Templates
from federation.placement.policies import OverridePolicy, override_policy_of, overrides_for

log = logging.getLogger(__name__)


class Listener(Protocol):
    """A link, as its sources see it. Nothing here may block."""

    def changed(self, ref: Ref, *, at_once: bool) -> None:
        """Look at one object; `at_once`: a user waits for it."""

    def member_changed(self) -> None:
        """The Cluster object is another one."""

    def everything_changed(self) -> None:
        """Look at every object, when there is time."""


class Sources:
    """`start` it, then `wait_synced`. Informers may be shared with other controllers; who made them runs them."""

    def __init__(
        self,
        templates: Templates,
        placements: Informer,
        cluster_placements: Informer,
        clusters: Informer,
        overrides: Informer,
        cluster_overrides: Informer,
    ) -> None:
        self.templates = templates
        self.placements, self.cluster_placements = placements, cluster_placements
        self.clusters = clusters
        self._overrides = (overrides, cluster_overrides)
        self._listeners: dict[str, Listener] = {}
        self._policies: list[OverridePolicy] | None = None
        self._outliving: set[Ref] = set()
        """Objects with tombstones among the ClusterPlacements: few, and asked for all the time."""
        templates.listen(self._template_changed)
        for informer in (placements, cluster_placements):
            informer.add_handler(self._placement_added, self._placement_changed, self._placement_gone)
        for informer in self._overrides:
            informer.add_handler(
                self._override_changed, lambda _, new: self._override_changed(new), self._override_changed
            )
        clusters.add_handler(self._cluster_changed, lambda _, new: self._cluster_changed(new))

    async def wait_synced(self) -> None:
        await self.templates.wait_synced()
        for informer in (self.placements, self.cluster_placements, self.clusters, *self._overrides):
            await informer.wait_synced()

    def listen(self, cluster: str, listener: Listener) -> None:
        self._listeners[cluster] = listener

    def forget(self, cluster: str) -> None:
        self._listeners.pop(cluster, None)

    # --- reading -------------------------------------------------------------------------------------------

    def template(self, ref: Ref) -> Object | None:
        return self.templates.get(ref)

    def resource(self, ref: Ref) -> Resource | None:
        """As the federation reads the kind."""
        return self.templates.resource_of(ref)

    def placements_of(self, ref: Ref) -> list[Object]:
        """Tombstones that outlived their namespace first."""
        found = []
        if ref in self._outliving:
            found.append(self.cluster_placements.get(outliving_key(ref)))
        found.append((self.placements if ref.namespace else self.cluster_placements).get(placement_key(ref)))
        return [one for one in found if one is not None]

    def placement(self, home: Key) -> Object | None:
        return (self.placements if home.namespace else self.cluster_placements).get(home)

    def refs_for(self, cluster: str) -> Iterator[Ref]:
        """Every object that has to do with a member."""
        for informer in (self.cluster_placements, self.placements):
            for placement in informer.list():
                if cluster in clusters_of(placement):
                    yield ref_of_template(placement)

    def overrides_for(self, template: Object) -> tuple[OverridePolicy, ...]:
        if self._policies is None:
            self._policies = [override_policy_of(one) for informer in self._overrides for one in informer.list()]
        return overrides_for(template, self._policies) if self._policies else ()

    def cluster(self, name: str) -> Object | None:
        return self.clusters.get(Key("", name))

    # --- telling -------------------------------------------------------------------------------------------

    def _template_changed(self, ref: Ref, change: Change) -> None:
        at_once = change in (Change.CHANGED, Change.DELETED)
        for placement in self.placements_of(ref):
            self._tell(ref, clusters_of(placement), at_once=at_once)

    def _placement_added(self, placement: Object) -> None:
        ref = ref_of_template(placement)
        if ref.namespace and not placement["metadata"].get("namespace"):
            self._outliving.add(ref)
        informer = self.placements if placement["metadata"].get("namespace") else self.cluster_placements
        self._tell(ref, clusters_of(placement), at_once=not informer.catching_up)

    def _placement_changed(self, old: Object, new: Object) -> None:
        if old["spec"] != new["spec"] or old["metadata"]["uid"] != new["metadata"]["uid"]:
            self._tell(ref_of_template(new), clusters_of(old) | clusters_of(new), at_once=True)

    def _placement_gone(self, placement: Object) -> None:
        ref = ref_of_template(placement)
        if not placement["metadata"].get("namespace"):
            self._outliving.discard(ref)
        self._tell(ref, clusters_of(placement), at_once=True)

    def _tell(self, ref: Ref, clusters: set[str], *, at_once: bool) -> None:
        for cluster in clusters:
            listener = self._listeners.get(cluster)
            if listener is not None:
                listener.changed(ref, at_once=at_once)

    def _override_changed(self, _policy: Object) -> None:
        self._policies = None
        for listener in self._listeners.values():
            listener.everything_changed()

    def _cluster_changed(self, cluster: Object) -> None:
        listener = self._listeners.get(cluster["metadata"]["name"])
        if listener is not None:
            listener.member_changed()


def informers(client: ApiClient) -> dict[str, Informer]:
    """Those that `Sources` needs beside templates and Clusters, by the names of its arguments."""
    return {
        "placements": Informer(client, PLACEMENTS, last_backoff=RETURN),
        "cluster_placements": Informer(client, CLUSTER_PLACEMENTS, last_backoff=RETURN),
        "overrides": Informer(client, OVERRIDE_POLICIES, last_backoff=RETURN),
        "cluster_overrides": Informer(client, CLUSTER_OVERRIDE_POLICIES, last_backoff=RETURN),
    }
