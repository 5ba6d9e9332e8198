"""
Which policy an object is placed by: not always the one that a newcomer would get.

A policy that does not preempt leaves alone what another one has placed. A lazy one, or a change of it, waits until the
object itself changes; until then what placed it goes on counting, as its Placement keeps it.
"""

from collections.abc import Iterable

from cluster.machinery.objects import Object
from federation.api.refs import Ref
from federation.controllers.placing.policy_book import PolicyBook
from federation.placement.policies import DEFAULT_POLICY, PropagationPolicy, propagation_policy_of
from federation.placement.record import Record

REBALANCE = "federation.hanse.io/rebalance"
"""Annotation of a template; with every new value it is placed once as if it was new."""
_LONGEST = 1024


class PoliciesInForce:
    def __init__(self, book: PolicyBook) -> None:
        self._book = book
        self._changed: set[Ref] = set()
        """Templates that changed, and are not placed since."""

    def template_changed(self, ref: Ref) -> None:
        self._changed.add(ref)

    def placed(self, ref: Ref) -> None:
        self._changed.discard(ref)

    def of(self, ref: Ref, template: Object, before: Record | None) -> PropagationPolicy:
        """`before`: the Placement as it is stored."""
        metadata = template["metadata"]
        if before is None or before.uid != metadata.get("uid"):
            return self._book.policy_for(template)
        found = self._book.policy_for(template, before.policy)
        changed = ref in self._changed or before.generation != metadata.get("generation")
        if found.lazy_spec is None or changed:
            return found
        return self._as_placed(before) or found

    def strongest_overwrites(self, templates: Iterable[Object]) -> bool:
        """Whether the strongest of these objects' policies has members' own objects overwritten."""
        found = [policy for policy in map(self._book.policy_for, templates) if policy.key]
        decisive = min(
            found, key=lambda one: (-one.priority, not one.namespace, one.created, one.name), default=DEFAULT_POLICY
        )
        return decisive.overwrite

    def _as_placed(self, before: Record) -> PropagationPolicy | None:
        """None where the policy that placed it is gone."""
        if not before.policy:
            return DEFAULT_POLICY
        known = self._book.get(before.policy)
        if known is None or before.lazy_policy is None:
            return known
        namespace, _, name = before.policy.rpartition("/")
        metadata = {"name": name, "namespace": namespace, "creationTimestamp": known.created}
        return propagation_policy_of({"kind": known.kind, "metadata": metadata, "spec": before.lazy_policy})


def wish_to_rebalance(template: Object) -> str:
    """Empty where there is none."""
    return str((template["metadata"].get("annotations") or {}).get(REBALANCE) or "")[:_LONGEST]
