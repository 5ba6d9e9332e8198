"""
Which workloads of a namespace are to share clusters, or not to: by a label that their policies name.

Where others are is known from the moment it is decided, so that two that are decided side by side see each other.
"""

from collections.abc import Iterator

from cluster.machinery.objects import Object
from federation.api.refs import Ref, ref_of
from federation.controllers.placing.store import PlacementStore
from federation.controllers.templates import Templates
from federation.placement.policies import PropagationPolicy
from federation.placement.workloads import pod_template


class Neighbours:
    def __init__(self, templates: Templates, store: PlacementStore) -> None:
        self._templates, self._store = templates, store
        self._minding: dict[str, set[Ref]] = {}
        """By namespace, objects whose policies mind others."""
        self._decided: dict[Ref, frozenset[str]] = {}
        """Clusters of those, before the store may know."""

    def of(self, ref: Ref) -> Iterator[Ref]:
        """Who minds where this object is."""
        yield from (one for one in self._minding.get(ref.namespace, ()) if one != ref)

    def look(
        self, ref: Ref, template: Object, policy: PropagationPolicy
    ) -> tuple[frozenset[str] | None, frozenset[str]]:
        """Clusters that have others of its group (None: there are none), and clusters that it has to avoid."""
        if not (policy.together_by or policy.apart_by) or pod_template(template) is None:
            self.forget(ref)
            return None, frozenset()
        self._minding.setdefault(ref.namespace, set()).add(ref)
        together = frozenset(self._clusters(ref, template, policy.together_by))
        return together or None, frozenset(self._clusters(ref, template, policy.apart_by))

    def decided(self, ref: Ref, clusters: frozenset[str]) -> None:
        if ref in self._minding.get(ref.namespace, ()):
            self._decided[ref] = clusters

    def forget(self, ref: Ref) -> None:
        self._decided.pop(ref, None)
        minding = self._minding.get(ref.namespace)
        if minding is not None:
            minding.discard(ref)
            if not minding:
                del self._minding[ref.namespace]

    def _clusters(self, ref: Ref, template: Object, key: str) -> Iterator[str]:
        """A look at the whole namespace: those who ask are few."""
        value = (template["metadata"].get("labels") or {}).get(key) if key else None
        if value is None:
            return
        for other in self._templates.list(ref.namespace):
            if (other["metadata"].get("labels") or {}).get(key) != value or pod_template(other) is None:
                continue
            found = ref_of(other)
            if found == ref:
                continue
            if found in self._decided:
                yield from self._decided[found]
            elif (stored := self._store.get(found)) is not None:
                yield from (one["name"] for one in stored["spec"].get("clusters") or ())
