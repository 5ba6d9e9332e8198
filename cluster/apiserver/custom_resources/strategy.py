"""
How definitions and their instances go through the write path.

Source: k8s.io/apiextensions-apiserver, pkg/registry/customresourcedefinition and pkg/registry/customresource.
"""

from datetime import UTC, datetime

from cluster.api.custom_resource import CustomResource
from cluster.api.resources import Resource
from cluster.apiserver.custom_resources.definitions import FINALIZER
from cluster.apiserver.custom_resources.names import set_condition
from cluster.apiserver.registry.strategy import DeletePlan, Strategy, Undo
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import MethodNotAllowed, invalid
from cluster.machinery.timestamps import format_time


class DefinitionStrategy(Strategy):
    """A definition outlives its deletion until its instances are gone."""

    generation = True
    reserved: frozenset[str] = frozenset()
    """Groups that the server serves by itself."""

    def reset_for_create(self, obj: Object) -> None:
        obj["status"] = {"conditions": None, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": None}

    def prepare_for_create(self, obj: Object) -> None:
        super().prepare_for_create(obj)
        stored = [v.get("name", "") for v in obj["spec"].get("versions") or () if v.get("storage")]
        obj["status"]["storedVersions"] = stored or None

    async def begin_create(self, obj: Object, *, dry_run: bool) -> Undo | None:
        group = obj["spec"]["group"]
        if group in self.reserved:
            why = f'Invalid value: "{group}": this server serves the group itself; choose another one'
            raise invalid(
                self.resource.group,
                self.resource.kind,
                obj["metadata"]["name"],
                [("FieldValueInvalid", why, "spec.group")],
            )
        return None

    def prepare_for_update(self, new: Object, old: Object, subresource: str) -> None:
        super().prepare_for_update(new, old, subresource)
        status = new.setdefault("status", {})
        for version in new["spec"].get("versions") or ():
            if version.get("storage") and version["name"] not in (status.get("storedVersions") or ()):
                status["storedVersions"] = [*(status.get("storedVersions") or ()), version["name"]]

    def plan_delete(self, obj: Object, grace_seconds: int | None) -> DeletePlan:
        return DeletePlan(graceful=not obj["metadata"].get("deletionTimestamp"), grace_seconds=None)

    def on_marked(self, obj: Object) -> None:
        metadata = obj["metadata"]
        finalizers = metadata.get("finalizers") or []
        if FINALIZER not in finalizers:
            metadata["finalizers"] = [*finalizers, FINALIZER]
        # Marking counts as a change of other kinds; here upstream does it past the counting.
        if metadata.get("generation"):
            metadata["generation"] -= 1
        text = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
        now = format_time(datetime.now(UTC))
        obj.setdefault("status", {})
        set_condition(obj, "Terminating", "True", "InstanceDeletionPending", text, now)


class InstanceStrategy(Strategy):
    """A custom resource. Without a status subresource its status is content like the rest."""

    generation = True

    def __init__(self, resource: Resource) -> None:
        super().__init__(resource)
        self._terminating = isinstance(resource, CustomResource) and resource.terminating

    def reset_for_create(self, obj: Object) -> None:
        if self.has_status:
            obj.pop("status", None)

    def reset_for_update(self, new: Object, old: Object, subresource: str) -> None:
        if subresource != "status":
            super().reset_for_update(new, old, subresource)
            return
        metadata = {**old["metadata"], "resourceVersion": new["metadata"].get("resourceVersion", "")}
        if "managedFields" in new["metadata"]:
            metadata["managedFields"] = new["metadata"]["managedFields"]
        status = new.get("status")
        new.clear()
        new.update({**old, "metadata": metadata})
        new.pop("status", None)
        if status is not None:
            new["status"] = status

    def content(self, obj: Object) -> object:
        left_out = {"metadata", "kind", "apiVersion"} | ({"status"} if self.has_status else set())
        return {key: value for key, value in obj.items() if key not in left_out}

    async def begin_create(self, obj: Object, *, dry_run: bool) -> Undo | None:
        if self._terminating:
            raise MethodNotAllowed("create not allowed while custom resource definition is terminating")
        return None
