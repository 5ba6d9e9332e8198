"""
PATCH in its four forms: JSON patch, merge patch, strategic merge patch and server-side apply.

A patch is computed anew on every retry, from the object as it is then; so it does not fail for a conflict unless it
names a resourceVersion itself.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from cluster.api.resources import Resource
from cluster.apiserver import write_options
from cluster.apiserver.registry import rules
from cluster.apiserver.registry.generic import now_text
from cluster.machinery import patched_text
from cluster.machinery.decode import decode_json, decode_yaml, go_kind, media_type
from cluster.machinery.field_errors import quoted
from cluster.machinery.objects import Object, copy_object
from cluster.machinery.status_errors import (
    AlreadyExists,
    ApiError,
    BadRequest,
    NotFound,
    UnsupportedMediaType,
    invalid,
)

if TYPE_CHECKING:
    from cluster.apiserver.verbs import Call, Verbs

JSON_PATCH = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
_ALL = (JSON_PATCH, MERGE, STRATEGIC, APPLY)


async def patch(verbs: "Verbs", call: "Call", subresource: str = "") -> web.Response:
    """Raises BadRequest, Conflict, Invalid, UnsupportedMediaType."""
    call.view()
    media = media_type(call.request.headers.get("Content-Type", ""))
    accepted = tuple(m for m in _ALL if m != STRATEGIC or not call.kind.custom)
    if media not in accepted:
        listed = ", ".join((*accepted, "application/apply-patch+cbor") if not call.kind.custom else accepted)
        raise UnsupportedMediaType(
            f"the body of the request was in an unknown format - accepted media types include: {listed}"
        )
    data = await call.request.read()
    if media == APPLY:
        return await _apply(verbs, call, data, subresource)
    options = write_options.check_patch(call.route, apply=False)
    document, repeated = parse(media, data)
    resource = call.kind.resource

    async def make(old: Object) -> Object:
        result = patched(media, call, copy_object(old), document)
        try:
            faults = rules.normalize(resource, result)
        except BadRequest as fault:
            raise _unusable(resource, document, result, getattr(fault, "cause", fault.message)) from None
        _judge([*repeated, *faults], options, call, lambda why: _unusable(resource, document, result, why))
        given = (result.get("metadata") or {}).get("name", "")
        if given != call.route.name:
            raise BadRequest(f"the name of the object ({given}) does not match the name on the URL ({call.route.name})")
        return result

    entry, _ = await verbs.writer.update(
        call.kind, call.route.namespace, call.route.name, make, call.context(options), subresource=subresource
    )
    return verbs.answer(call, entry)


def _judge(faults: list[str], options: Object, call: "Call", refusal: Callable[[str], ApiError]) -> None:
    """Unknown and repeated fields, as the field validation has it; Invalid, not a BadRequest as in objects."""
    level = options.get("fieldValidation") or write_options.WARN
    if faults and level == write_options.STRICT:
        raise refusal(f"strict decoding error: {', '.join(faults)}")
    if faults and level == write_options.WARN:
        call.warnings.extend(faults)


def parse(media: str, data: bytes) -> tuple[Any, list[str]]:
    """The patch, and its repeated fields. Raises BadRequest."""
    expected, goes_into = (list, "[]handlers.jsonPatchOp") if media == JSON_PATCH else (dict, "map[string]interface {}")
    try:
        document, repeated = decode_json(data)
    except ValueError as fault:
        raise BadRequest(f"error decoding patch: {fault}") from None
    if not isinstance(document, expected):
        raise BadRequest(
            f"error decoding patch: json: cannot unmarshal {go_kind(document)} into Go value of type {goes_into}"
        )
    return document, [f"json patch {fault}" for fault in repeated] if media == JSON_PATCH else repeated


def patched(media: str, call: "Call", old: Object, document: Any) -> Object:
    """`old` with the patch applied; may change `old`."""
    from cluster.machinery import json_patch, merge_patch, strategic_merge

    if media == JSON_PATCH:
        result = json_patch.apply(old, document)
    elif media == MERGE:
        result = merge_patch.apply(old, document)
    else:
        result = strategic_merge.apply(call.kind.resource, old, document)
    if not isinstance(result, dict):
        raise BadRequest(f"the patch makes a {go_kind(result)} of the object")
    return result


def _unusable(resource: Resource, document: Any, patched: Object, why: str) -> ApiError:
    """A patch whose result is no object of its kind."""
    shown = quoted(patched_text.as_json(resource.shape, patched, document))
    return invalid("", "", "", [("FieldValueInvalid", f"Invalid value: {shown}: {why}", "patch")])


async def _apply(verbs: "Verbs", call: "Call", data: bytes, subresource: str) -> web.Response:
    options = write_options.check_patch(call.route, apply=True)
    kind, route = call.kind, call.route
    resource = kind.resource
    try:
        applied, duplicates = decode_yaml(data)
    except ValueError as fault:
        raise BadRequest(f"error decoding YAML: {fault}") from None
    if not isinstance(applied, dict):
        why = f"json: cannot unmarshal {go_kind(applied)} into Go value of type map[string]interface {{}}"
        raise BadRequest(f"error decoding YAML: {why}")
    # Not normalized: what the server would fill in must not become the applier's. Unknown fields are refused by apply.
    verbs.strictness(resource.kind, resource.version, options, duplicates, call)
    context = call.context(options)
    context.track_fields = False
    force = bool(options.get("force"))

    def merge(live: Object | None) -> Object:
        merged: Object = rules.managed_fields.apply(
            resource, live, applied, context.field_manager, force, now_text(), subresource
        )
        rules.normalize(resource, merged)
        return merged

    async def make(old: Object) -> Object:
        return merge(old)

    while True:
        try:
            entry, _ = await verbs.writer.update(
                kind, route.namespace, route.name, make, context, subresource=subresource
            )
            return verbs.answer(call, entry)
        except NotFound:
            if subresource:
                raise
        if (applied.get("metadata") or {}).get("uid"):
            raise BadRequest("uid mismatch: the provided object specified uid, and no existing object was found")
        obj = merge(None)
        obj.setdefault("metadata", {})["name"] = route.name
        try:
            entry = await verbs.writer.create(kind, route.namespace, obj, context)
        except AlreadyExists:
            continue  # somebody else made it meanwhile: then this is a change of theirs
        return verbs.answer(call, entry, 201)
