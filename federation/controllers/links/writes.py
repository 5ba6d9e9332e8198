"""
Carries out in a member what was decided for one object.

Server-side apply where the member has it. Where it does not, a three-way merge with what the annotation
`federation.hanse.io/last-applied` says that we wrote last.
"""

import orjson

from cluster.api.resources import Resource, by_kind
from cluster.client.rest import PatchType
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError, Conflict, Invalid, NotFound
from federation.api.refs import Ref
from federation.controllers.links.copies import LAST_APPLIED, Copy, copy_of
from federation.controllers.links.decide import Adopt, Apply, Create, Rendered
from federation.controllers.links.member_api import MemberApi
from federation.controllers.links.rendering import change_between, marked, without_us
from federation.controllers.links.three_way import three_way_patch


class Taken(Exception):
    """Something is there that nobody federated, and it is not as it should be. The message names the first field."""


class Writer:
    """Every method raises ApiError."""

    def __init__(self, api: MemberApi) -> None:
        self._api = api

    async def put(
        self, action: Create | Apply, resource: Resource, rendered: Rendered, generation: int | None, copy: Copy | None
    ) -> Object:
        """What is rendered, into the object that is known, or a new one. The answer is the object as it is now."""
        adopted = copy is not None and copy.adopted
        wanted = marked(rendered.obj, generation=generation, adopted=adopted, uid=copy.uid if copy else "")
        if self._api.applies:
            return await self._api.apply(resource, wanted)
        live = None if isinstance(action, Create) else await self._live(resource, wanted)
        return await self._merge(resource, wanted, live)

    async def adopt(self, action: Adopt, resource: Resource, rendered: Rendered, generation: int | None) -> Object:
        """Take over what is there. Raises Taken."""
        live = await self._live(resource, rendered.obj)
        if live is None:
            raise Conflict(f"{resource.qualified} {rendered.obj['metadata']['name']} has just been deleted")
        wanted = marked(rendered.obj, generation=generation, adopted=True, uid=live["metadata"]["uid"])
        if not action.overwrite and (where := await self._would_change(resource, wanted, live)):
            raise Taken(
                f"the cluster has an object of this name that is not of the federation, and {where} of it differs; "
                "make it equal, delete it there, or set conflictResolution: Overwrite in the policy"
            )
        if self._api.applies:
            return await self._api.apply(resource, wanted)
        return await self._merge(resource, wanted, live)

    async def verify(self, resource: Resource, rendered: Rendered, copy: Copy) -> bool:
        """Whether the object is as it should be, in the server's own words."""
        live = copy.whole() or await self._live(resource, rendered.obj)
        if live is None:
            raise Conflict(f"{resource.qualified} {rendered.obj['metadata']['name']} has just been deleted")
        wanted = marked(rendered.obj, generation=None, adopted=copy.adopted, uid=copy.uid)
        return not await self._would_change(resource, wanted, live)

    async def release(self, resource: Resource, ref: Ref) -> None:
        """Leave the object as it is, without label, annotations and ownership of ours."""
        live = await self._api.get(resource, ref.namespace, ref.name)
        if live is not None:
            await self._api.patch(resource, live["metadata"], without_us(live), "merge")

    async def delete(self, resource: Resource, ref: Ref, uid: str, propagation: str) -> bool:
        """Whether it is gone; else its finalizers run. Raises Conflict when another object has its name."""
        try:
            await self._api.delete(resource, ref.namespace, ref.name, uid, propagation)
        except NotFound:
            return True
        live = await self._api.get(resource, ref.namespace, ref.name)
        return live is None or live["metadata"].get("uid") != uid

    async def look(self, resource: Resource, ref: Ref) -> Copy | None:
        live = await self._api.get(resource, ref.namespace, ref.name)
        return copy_of(live) if live is not None else None

    async def _live(self, resource: Resource, obj: Object) -> Object | None:
        metadata = obj["metadata"]
        return await self._api.get(resource, metadata.get("namespace") or "", metadata["name"])

    async def _would_change(self, resource: Resource, wanted: Object, live: Object) -> str:
        """Where a dry run finds a difference; empty when nowhere."""
        try:
            if self._api.applies:
                result = await self._api.apply(resource, wanted, dry_run=True)
            else:
                patch, patch_type = _patch(resource, wanted, live)
                result = await self._api.patch(resource, wanted["metadata"], patch, patch_type, dry_run=True)
        except Invalid as refused:  # an immutable field, most of the time: it differs, and cannot be made equal
            return _refused_field(refused)
        return change_between(live, result)

    async def _merge(self, resource: Resource, wanted: Object, live: Object | None) -> Object:
        wanted = _remembering(wanted)
        if live is None:
            return await self._api.create(resource, _without_uid(wanted))
        patch, patch_type = _patch(resource, wanted, live)
        if not patch:
            return live
        return await self._api.patch(resource, wanted["metadata"], patch, patch_type)


def _remembering(wanted: Object) -> Object:
    """With itself in an annotation."""
    metadata = wanted["metadata"]
    text = orjson.dumps(_without_uid(wanted)).decode()
    return {**wanted, "metadata": {**metadata, "annotations": {**metadata["annotations"], LAST_APPLIED: text}}}


def _without_uid(wanted: Object) -> Object:
    metadata = {name: value for name, value in wanted["metadata"].items() if name != "uid"}
    return {**wanted, "metadata": metadata}


def _patch(resource: Resource, wanted: Object, live: Object) -> tuple[Object, PatchType]:
    """Of a kind that every server knows a strategic merge patch; of any other one a JSON merge patch."""
    text = (live["metadata"].get("annotations") or {}).get(LAST_APPLIED)
    try:
        last = orjson.loads(text) if text else {}
    except orjson.JSONDecodeError:
        last = {}
    known = by_kind(resource.api_version, resource.kind)
    shape = known.shape if known is not None else None
    patch = three_way_patch(shape, last if isinstance(last, dict) else {}, _without_uid(wanted), live)
    if patch:
        patch.setdefault("metadata", {})["uid"] = live["metadata"]["uid"]
    return patch, "strategic" if shape is not None else "merge"


def _refused_field(refused: ApiError) -> str:
    causes = (refused.details or {}).get("causes") or ()
    fields = [str(cause["field"]) for cause in causes if cause.get("field")]
    return fields[0] if fields else "a field that cannot be changed"
