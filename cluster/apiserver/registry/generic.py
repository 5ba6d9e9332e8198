"""
The one write path of all resources: create, update, delete, as transactions on the store.

Called by the HTTP verbs, by subresources and by the apiserver for its own objects. Source of the order of steps:
k8s.io/apiserver, pkg/registry/generic/registry/store.go and pkg/registry/rest.
"""

import contextlib
import functools
import os
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cluster.apiserver.registry import deletion, rules
from cluster.apiserver.registry.kinds import Kind
from cluster.apiserver.registry.strategy import Undo
from cluster.apiserver.requests import LOOPBACK, Admission, AdmissionRequest, UserInfo
from cluster.machinery.field_errors import FieldError
from cluster.machinery.objects import Object, copy_object
from cluster.machinery.status_errors import (
    ApiError,
    BadRequest,
    already_exists,
    conflict,
    invalid,
    not_found,
)
from cluster.machinery.timestamps import format_time
from cluster.store.backend import StoreError
from cluster.store.encoding import Entry, encode_stored
from cluster.store.object_store import KeyExistsError, KeyMissingError, ObjectStore, RevisionConflictError

_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_MAX_GENERATED_PREFIX = 58
_NAME_TRIES = 8
STALE = "the object has been modified; please apply your changes to the latest version and try again"

Make = Callable[[Object], Awaitable[Object]]
"""From a copy of the stored object to the wanted one; may be called again after a conflict."""


@dataclass(slots=True)
class WriteContext:
    """Who writes, and how."""

    user: UserInfo = LOOPBACK
    dry_run: bool = False
    field_manager: str = ""
    options: Object = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    audit_annotations: dict[str, str] = field(default_factory=dict)
    """What admission has to say for the audit log."""
    admit: bool = True
    track_fields: bool = True
    """Off when the caller (server-side apply) has recorded who owns which field itself."""


class _FinishDelete(Exception):
    """The update took away the last finalizer of an object that is to be deleted."""

    def __init__(self, obj: Object, revision: int) -> None:
        super().__init__("no finalizer is left")
        self.obj = obj
        self.revision = revision


def now_text() -> str:
    return _text_of_second(int(time.time()))


@functools.lru_cache(maxsize=1)
def _text_of_second(second: int) -> str:
    """Written once a second, asked for twice a write."""
    return format_time(datetime.fromtimestamp(second, UTC))


def new_uid() -> str:
    """A random UUID (version 4); uuid.uuid4 takes four times as long for it."""
    digits = os.urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def generated_name(prefix: str) -> str:
    letters = "".join(random.choices(_SUFFIX_LETTERS, k=5))  # noqa: S311
    return prefix[:_MAX_GENERATED_PREFIX] + letters


def refuse(kind: Kind, name: str, errors: "list[FieldError]") -> ApiError:
    causes = [(error.reason, error.message, error.field) for error in errors]
    return invalid(kind.resource.group, kind.resource.kind, name, causes)


def unstored(obj: Object, revision: int = 0) -> Entry:
    """An entry of an object that was not written: a dry run's answer."""
    return Entry(encode_stored(obj), revision)


class Writer:
    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self.admission: Admission | None = None

    async def create(self, kind: Kind, namespace: str, obj: Object, context: WriteContext) -> Entry:
        """`obj` is normalized and changed in place. Raises AlreadyExists, Invalid, Forbidden, BadRequest."""
        resource, strategy = kind.resource, kind.strategy
        metadata = obj.setdefault("metadata", {})
        check_namespace(kind, namespace, metadata)
        rules.apply_defaults(resource, obj)
        strategy.reset_for_create(obj)
        strategy.note_creator(obj, context.user)
        for name in ("resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
            if name == "resourceVersion" and metadata.get(name) not in (None, "", "0"):
                raise ApiError("resourceVersion should not be set on objects to be created", code=500, reason="")
            metadata.pop(name, None)
        if context.track_fields:
            self._track(kind, None, obj, context, "")
        request = AdmissionRequest(
            "CREATE", resource, "", namespace, metadata.get("name", ""), obj, None,
            context.user, context.dry_run, context.options, context.warnings, context.audit_annotations,
        )  # fmt: skip
        if self.admission is not None and context.admit:
            await self.admission.mutate(request)
            if request.changed:
                check_namespace(kind, namespace, obj["metadata"])
                strategy.reset_for_create(obj)
                strategy.note_creator(obj, context.user)
        metadata = obj["metadata"]
        metadata["uid"] = new_uid()
        metadata["creationTimestamp"] = now_text()
        generate = metadata.get("generateName") if not metadata.get("name") else None
        strategy.prepare_for_create(obj)
        for attempt in range(_NAME_TRIES):
            if generate:
                metadata["name"] = generated_name(generate)
            try:
                entry = await self._store_new(kind, namespace, obj, request, context)
                return await kind.shown(entry) if kind.converts else entry
            except KeyExistsError:
                if not generate or attempt == _NAME_TRIES - 1:
                    raise already_exists(resource.group, resource.plural, metadata["name"]) from None
        raise AssertionError("unreachable")

    async def _store_new(
        self, kind: Kind, namespace: str, obj: Object, request: AdmissionRequest, context: WriteContext
    ) -> Entry:
        errors = rules.validate_create(kind.resource, obj)
        name = obj["metadata"].get("name", "")
        if errors:
            raise refuse(kind, name, list(errors))
        undo = await kind.strategy.begin_create(obj, dry_run=context.dry_run)
        try:
            if self.admission is not None and context.admit:
                request.name = name
                await self.admission.validate(request)
            if context.dry_run:
                if await self.store.get(kind.place, namespace, name) is not None:
                    raise KeyExistsError(name)
                return unstored(obj)
            stored = await kind.stored(obj) if kind.converts else kind.to_storage(obj)
            return await self.store.create(kind.place, namespace, name, stored, kind.ttl)
        except Exception as fault:
            if undo is not None and surely_not_written(fault):
                await undo()
            raise

    def _track(self, kind: Kind, old: Object | None, new: Object, context: WriteContext, subresource: str) -> None:
        if rules.managed_fields is not None:
            rules.managed_fields.on_update(
                kind.resource, old, new, context.field_manager or "unknown", now_text(), subresource
            )

    async def admit_part(
        self,
        kind: Kind,
        subresource: str,
        namespace: str,
        name: str,
        obj: Object,
        context: WriteContext,
        old: Object | None = None,
    ) -> None:
        """Admission of a subresource's own object, a Binding or Scale; it may be changed. Raises ApiError."""
        if self.admission is None or not context.admit:
            return
        request = AdmissionRequest(
            "CREATE" if old is None else "UPDATE", kind.resource, subresource, namespace, name, obj, old,
            context.user, context.dry_run, context.options, context.warnings, context.audit_annotations,
        )  # fmt: skip
        await self.admission.mutate(request)
        await self.admission.validate(request)

    async def update(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        make: Make,
        context: WriteContext,
        *,
        subresource: str = "",
        validate: bool = True,
    ) -> tuple[Entry, bool]:
        """
        Change one object; `make` sees a copy of the present one.

        Returns the object as stored and whether the request created it. Raises NotFound, Conflict, Invalid.
        """
        resource = kind.resource
        result: Entry | None = None
        last: tuple[Object, Object] | None = None
        undo: Undo | None = None

        async def give_back() -> None:
            """What the last try took, and which somebody else's write made useless."""
            nonlocal undo
            if undo is not None:
                taken, undo = undo, None
                await taken()

        async def change(entry: Entry) -> Object:
            nonlocal result, last, undo
            await give_back()
            old = kind.decode(await kind.shown(entry) if kind.converts else entry)
            new, undo = await self._changed(kind, namespace, name, old, make, context, subresource, validate=validate)
            metadata = new["metadata"]
            if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
                held = kind.strategy.is_held
                was_held = bool(old["metadata"].get("finalizers")) or held(old)
                if deletion.grace_is_over(old) and was_held and not held(new):
                    raise _FinishDelete(new, entry.revision)
            if context.dry_run:
                result = unstored(new, entry.revision)
                return entry.decode()
            last = new, old
            return await kind.stored(new) if kind.converts else kind.to_storage(new)

        while True:
            try:
                known = kind.cache.get(namespace, name)
                entry, written = await self.store.update(
                    kind.place, namespace, name, change, known=known, ttl=kind.ttl, reseal=not context.dry_run
                )
                if not written:
                    await give_back()
                elif last is not None:
                    await kind.strategy.after_update(*last)
                return result or (await kind.shown(entry) if kind.converts else entry), False
            except KeyMissingError:
                await give_back()
                raise not_found(resource.group, resource.plural, name) from None
            except (ApiError, StoreError) as fault:
                if surely_not_written(fault):
                    await give_back()
                raise
            except _FinishDelete as ending:
                await give_back()
                if context.dry_run:
                    return unstored(ending.obj, ending.revision), False
                with contextlib.suppress(RevisionConflictError):
                    revision = await self.store.remove(kind.place, namespace, name, ending.revision)
                    await kind.strategy.after_delete(ending.obj)
                    return unstored(ending.obj, revision), False

    async def _changed(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        old: Object,
        make: Make,
        context: WriteContext,
        subresource: str,
        *,
        validate: bool,
    ) -> tuple[Object, Undo | None]:
        """The object to store in place of `old`, and how to give back what was taken for it."""
        resource, strategy = kind.resource, kind.strategy
        new = await make(copy_object(old))
        metadata, before = new.setdefault("metadata", {}), old["metadata"]
        check_namespace(kind, namespace, metadata)
        if metadata.get("uid") and metadata["uid"] != before["uid"]:
            why = (
                f"StorageError: invalid object, Code: 4, Key: /registry/{kind.place}/"
                f"{namespace + '/' if namespace else ''}{name}, ResourceVersion: 0, AdditionalErrorMsg: "
                f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: {before['uid']}"
            )
            raise conflict(resource.group, resource.plural, name, why)
        # As upstream reads it: 0 is no version, and so no condition.
        version = metadata.get("resourceVersion") if metadata.get("resourceVersion") != "0" else ""
        if version and version != before["resourceVersion"]:
            raise conflict(resource.group, resource.plural, name, STALE)
        if not version and not strategy.unconditional_update:
            why = "Invalid value: 0: must be specified for an update"
            raise invalid(resource.group, resource.kind, name, [("FieldValueInvalid", why, "metadata.resourceVersion")])
        keep_metadata(metadata, before)
        rules.apply_defaults(resource, new)
        strategy.reset_for_update(new, old, subresource)
        metadata = new["metadata"]
        if context.track_fields:
            self._track(kind, old, new, context, subresource)
        request = AdmissionRequest(
            "UPDATE", resource, subresource, namespace, name, new, old,
            context.user, context.dry_run, context.options, context.warnings, context.audit_annotations,
        )  # fmt: skip
        if self.admission is not None and context.admit:
            await self.admission.mutate(request)
            if request.changed:
                check_namespace(kind, namespace, new["metadata"])
                keep_metadata(new["metadata"], before)
                strategy.reset_for_update(new, old, subresource)
                metadata = new["metadata"]
        metadata["resourceVersion"] = before["resourceVersion"]
        strategy.prepare_for_update(new, old, subresource)
        errors = rules.validate_update(resource, new, old, subresource) if validate else []
        if errors:
            raise refuse(kind, name, list(errors))
        undo = None
        if not subresource:
            undo = await strategy.begin_update(new, old, dry_run=context.dry_run)
        try:
            if self.admission is not None and context.admit:
                await self.admission.validate(request)
        except BaseException:
            if undo is not None:
                await undo()
            raise
        return new, undo

    async def delete(
        self, kind: Kind, namespace: str, name: str, options: Object, context: WriteContext
    ) -> tuple[Entry, bool]:
        """
        Delete, or begin to: with finalizers or grace the object stays, marked.

        Returns the object's last state and whether it is gone.
        """
        resource, strategy = kind.resource, kind.strategy
        entry, fresh = kind.cache.get(namespace, name), False
        while True:
            if entry is None:
                entry, fresh = await self.store.get(kind.place, namespace, name), True
            if entry is None:
                raise not_found(resource.group, resource.plural, name)
            old = kind.decode(await kind.shown(entry) if kind.converts else entry)
            try:
                deletion.check_preconditions(kind.resource, old, options.get("preconditions") or {})
                if self.admission is not None and context.admit:
                    request = AdmissionRequest(
                        "DELETE", resource, "", namespace, name, None, old,
                        context.user, context.dry_run, options, context.warnings, context.audit_annotations,
                    )  # fmt: skip
                    await self.admission.mutate(request)
                    await self.admission.validate(request)
            except ApiError:
                if fresh:
                    raise
                seen, entry, fresh = entry.revision, await self.store.get(kind.place, namespace, name), True
                if entry is not None and entry.revision == seen:
                    raise  # it was refused as it is
                continue
            plan = strategy.plan_delete(old, options.get("gracePeriodSeconds"))
            marked = deletion.mark(old, plan, options, strategy.default_propagation, datetime.now(UTC))
            if marked is not None and not old["metadata"].get("deletionTimestamp"):
                strategy.on_marked(marked)
            try:
                if marked is not None:
                    if context.dry_run or marked == old:
                        return unstored(marked, entry.revision), False
                    wanted = await kind.stored(marked) if kind.converts else kind.to_storage(marked)
                    stored = await self.store.replace(kind.place, namespace, name, wanted, entry.revision)
                    return await kind.shown(stored) if kind.converts else stored, False
                if context.dry_run:
                    return entry, True
                revision = await self.store.remove(kind.place, namespace, name, entry.revision)
                await strategy.after_delete(old)
                return entry.at_revision(revision), True
            except RevisionConflictError as changed:
                entry, fresh = changed.current, True
                if entry is None:
                    raise not_found(resource.group, resource.plural, name) from None


def surely_not_written(fault: Exception) -> bool:
    """False when the store may hold the object all the same: then what it needs is not given to somebody else."""
    return not (isinstance(fault, StoreError) and fault.ambiguous)


def check_namespace(kind: Kind, namespace: str, metadata: Object) -> None:
    """Fill in the URL's namespace, refuse another one."""
    given = metadata.get("namespace") or ""
    if not kind.resource.namespaced:
        if given:
            raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")
        metadata.pop("namespace", None)
        return
    if given and given != namespace:
        raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")
    metadata["namespace"] = namespace


def keep_metadata(metadata: Object, before: Object) -> None:
    """Fields that the server alone sets stay what they were."""
    metadata["name"] = before["name"]
    for name in ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
        if name in before:
            metadata[name] = before[name]
        else:
            metadata.pop(name, None)
    metadata.pop("selfLink", None)
