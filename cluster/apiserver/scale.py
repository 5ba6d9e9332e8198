"""
The `scale` subresource: how many replicas, in one form for every kind that has some.

Source: k8s.io/kubernetes, pkg/registry/apps/*/storage and core/replicationcontroller/storage.
"""

from collections.abc import Callable

from aiohttp import web

from cluster.api.custom_resource import CustomResource
from cluster.api.schema import schemas
from cluster.apiserver import patches, responses, write_options
from cluster.apiserver.custom_resources import scale as custom_scale
from cluster.apiserver.registry.kinds import Kind
from cluster.apiserver.verbs import Call, Verbs, check_name
from cluster.machinery.decode import decode_body, decode_yaml, media_type, unsupported
from cluster.machinery.labels import selector_of
from cluster.machinery.objects import Object, copy_object
from cluster.machinery.status_errors import BadRequest, Invalid, invalid

Change = Callable[[Object], Object]


class _Scale:
    api_version, kind = "autoscaling/v1", "Scale"


def scale_of(kind: Kind, obj: Object) -> Object:
    """The Scale that stands for `obj`."""
    if isinstance(kind.resource, CustomResource):
        return custom_scale.scale_of(kind.resource, obj)
    metadata, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    shown: Object = {"replicas": status.get("replicas", 0)}
    selector = spec.get("selector")
    if kind.resource.plural == "replicationcontrollers":
        text = ",".join(f"{key}={value}" for key, value in sorted((selector or {}).items()))
    else:
        text = str(selector_of(selector))
    if text:
        shown["selector"] = text
    return {
        "kind": _Scale.kind,
        "apiVersion": _Scale.api_version,
        "metadata": {name: metadata[name] for name in kept if name in metadata},
        "spec": {"replicas": spec["replicas"]} if spec.get("replicas") else {},
        "status": shown,
    }


async def serve(verbs: Verbs, call: Call) -> web.StreamResponse:
    kind, route = call.kind, call.route
    if route.verb == "get":
        entry = await verbs.read(kind, route.namespace, route.name, route.query.get("resourceVersion", ""))
        return responses.json(scale_of(kind, kind.decode(entry)))
    options, change = await (_replacement(call) if route.verb == "update" else _patch(call))
    context = call.context(options)

    async def make(old: Object) -> Object:
        wanted = change(scale_of(kind, old))
        _check(wanted, route.name)
        version = wanted["metadata"].get("resourceVersion")
        new = copy_object(old)
        replicas = (wanted.get("spec") or {}).get("replicas") or 0
        if isinstance(kind.resource, CustomResource):
            custom_scale.set_replicas(kind.resource, new, replicas)
        else:
            new["spec"]["replicas"] = replicas
        if version:
            new["metadata"]["resourceVersion"] = version
        if wanted["metadata"].get("uid"):
            new["metadata"]["uid"] = wanted["metadata"]["uid"]
        return new

    entry, _ = await verbs.writer.update(kind, route.namespace, route.name, make, context, subresource="scale")
    response = responses.json(scale_of(kind, kind.decode(entry)))
    responses.add_warnings(response, call.warnings)
    return response


def _check(scale: Object, name: str) -> None:
    replicas = (scale.get("spec") or {}).get("replicas") or 0
    if not isinstance(replicas, int):
        raise BadRequest(f"spec.replicas of a Scale must be a number, not {replicas!r}")
    if replicas < 0:
        why = f"Invalid value: {replicas}: must be greater than or equal to 0"
        fault: Invalid = invalid("autoscaling", "Scale", name, [("FieldValueInvalid", why, "spec.replicas")])
        raise fault


async def _replacement(call: Call) -> tuple[Object, Change]:
    options = write_options.check_write(call.route, "UpdateOptions")
    obj = decode_body(await call.request.read(), call.request.headers.get("Content-Type", ""), "Scale").obj
    schemas().normalize(_Scale(), obj)
    check_name(call.route.name, obj)
    return options, lambda scale: copy_object(obj)


async def _patch(call: Call) -> tuple[Object, Change]:
    """A patch of the Scale; an apply counts as a merge: it can only name the replicas."""
    media = media_type(call.request.headers.get("Content-Type", ""))
    options = write_options.check_patch(call.route, apply=media == patches.APPLY)
    data = await call.request.read()
    if media == patches.APPLY:
        document, _ = decode_yaml(data)
        document = {"spec": (document or {}).get("spec") or {}} if isinstance(document, dict) else document
    elif media in (patches.JSON_PATCH, patches.MERGE, patches.STRATEGIC):
        document = patches.parse(media, data)
    else:
        raise unsupported((patches.JSON_PATCH, patches.MERGE, patches.STRATEGIC, patches.APPLY))
    # A Scale has no lists, so a strategic merge is a merge.
    form = patches.JSON_PATCH if media == patches.JSON_PATCH else patches.MERGE
    return options, lambda scale: patches.patched(form, call, scale, document)
