"""
What differs between resources on their way into the store: one small strategy each, over one generic path.

Called by `generic`. Strategies change objects in place and do no I/O, save `begin_*`, which may reserve something
(addresses, ports) and give back a way to undo it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from cluster.api.resources import Resource
from cluster.apiserver.registry import rules
from cluster.apiserver.requests import UserInfo
from cluster.machinery.objects import Object, copy_object

Undo = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class DeletePlan:
    """How a delete goes. `graceful` keeps the object with a deletionTimestamp until its grace is over."""

    graceful: bool = False
    grace_seconds: int | None = 0
    """None leaves the object without a deletionGracePeriodSeconds."""


class Strategy:
    """The behaviour of most kinds; others override what differs."""

    generation = False
    """metadata.generation is kept and counts changes of everything but metadata and status."""
    unconditional_update = True
    create_on_update = False
    returns_deleted = False
    """A delete answers with the object instead of a Status."""
    default_propagation = "Background"

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self.has_status = resource.subresource("status") is not None

    def reset_for_create(self, obj: Object) -> None:
        """Drop what a creator may not set; runs before ownership of fields is recorded."""
        if self.has_status:
            zero = rules.zero_status(self.resource)
            if zero is None:
                obj.pop("status", None)
            else:
                obj["status"] = copy_object(zero)

    def note_creator(self, obj: Object, user: UserInfo) -> None:
        """Write down who made it, where an object says so."""

    def prepare_for_create(self, obj: Object) -> None:
        if self.generation:
            obj["metadata"]["generation"] = 1

    def reset_for_update(self, new: Object, old: Object, subresource: str) -> None:
        """Put back what this request may not change; runs before ownership of fields is recorded."""
        if subresource == "status":
            metadata, status = new["metadata"], new.get("status")
            kept = {k: v for k, v in old.items() if k not in ("status", "metadata")}
            new.clear()
            new.update({"kind": old["kind"], "apiVersion": old["apiVersion"], "metadata": metadata, **kept})
            if status is not None:
                new["status"] = status
            for field in ("deletionTimestamp", "ownerReferences"):
                keep(metadata, old["metadata"], field)
        elif self.has_status:
            keep(new, old, "status")

    def prepare_for_update(self, new: Object, old: Object, subresource: str) -> None:
        if self.generation and subresource != "status" and self.content(new) != self.content(old):
            new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1

    def content(self, obj: Object) -> object:
        """What a change of counts as a new generation."""
        return {k: v for k, v in obj.items() if k not in ("metadata", "status", "kind", "apiVersion")}

    def plan_delete(self, obj: Object, grace_seconds: int | None) -> DeletePlan:
        return DeletePlan()

    def on_marked(self, obj: Object) -> None:
        """The object has just got its deletionTimestamp."""

    def is_held(self, obj: Object) -> bool:
        """Something besides finalizers keeps a deleted object."""
        return False

    async def begin_create(self, obj: Object, *, dry_run: bool) -> Undo | None:
        return None

    async def begin_update(self, new: Object, old: Object, *, dry_run: bool) -> Undo | None:
        return None

    async def after_update(self, new: Object, old: Object) -> None:
        """Give back what the object no longer uses."""

    async def after_delete(self, obj: Object) -> None:
        """Give back what the object had reserved."""


def keep(new: Object, old: Object, field: str) -> None:
    if field in old:
        new[field] = old[field]
    else:
        new.pop(field, None)
