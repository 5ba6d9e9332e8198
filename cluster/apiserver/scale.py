"""
The `scale` subresource: how many replicas, in one form for every kind that has some.

Source: k8s.io/kubernetes, pkg/registry/apps/*/storage and core/replicationcontroller/storage.
"""

from collections.abc import Callable
from dataclasses import replace

from aiohttp import web

from cluster.api.custom_resource import CustomResource
from cluster.api.schema import schemas
from cluster.apiserver import patches, responses, write_options
from cluster.apiserver.custom_resources import scale as custom_scale
from cluster.apiserver.registry import rules
from cluster.apiserver.registry.generic import now_text
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
    applies = media_type(call.request.headers.get("Content-Type", "")) == patches.APPLY
    # An apply records by itself who owns the replicas.
    context.track_fields = not applies
    asked = replace(context)
    context.admit = False

    async def make(old: Object) -> Object:
        before = scale_of(kind, old)
        wanted = change(copy_object(before))
        _check(wanted, route.name)
        # What is admitted is the Scale, not the object that it stands for.
        await verbs.writer.admit_part(kind, "scale", route.namespace, route.name, wanted, asked, before)
        _check(wanted, route.name)
        version = wanted["metadata"].get("resourceVersion")
        replicas = (wanted.get("spec") or {}).get("replicas") or 0
        if applies:
            new = _applied(kind, old, replicas, context.field_manager, force=bool(options.get("force")))
        else:
            new = copy_object(old)
            _set_replicas(kind, new, replicas)
        if version:
            new["metadata"]["resourceVersion"] = version
        if wanted["metadata"].get("uid"):
            new["metadata"]["uid"] = wanted["metadata"]["uid"]
        return new

    entry, _ = await verbs.writer.update(kind, route.namespace, route.name, make, context, subresource="scale")
    response = responses.json(scale_of(kind, kind.decode(entry)))
    responses.add_warnings(response, call.warnings)
    return response


def _set_replicas(kind: Kind, obj: Object, replicas: int) -> None:
    if isinstance(kind.resource, CustomResource):
        custom_scale.set_replicas(kind.resource, obj, replicas)
    else:
        obj.setdefault("spec", {})["replicas"] = replicas


def _applied(kind: Kind, old: Object, replicas: int, manager: str, *, force: bool) -> Object:
    """The replicas as the manager's own. Raises Conflict when they are somebody else's."""
    resource = kind.resource
    config: Object = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {}}
    config["metadata"]["name"] = old["metadata"]["name"]
    _set_replicas(kind, config, replicas)
    new: Object = rules.managed_fields.apply(resource, old, config, manager, force, now_text(), "scale")
    # Upstream records an applied scale without a time, and so before the others.
    entries = new["metadata"].get("managedFields") or []
    own = [e for e in entries if (e["manager"], e.get("subresource"), e["operation"]) == (manager, "scale", "Apply")]
    for entry in own:
        entry.pop("time", None)
    if own:
        new["metadata"]["managedFields"] = [*own, *(e for e in entries if e not in own)]
    return new


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
    """A patch of the Scale; of an apply only the replicas count."""
    media = media_type(call.request.headers.get("Content-Type", ""))
    options = write_options.check_patch(call.route, apply=media == patches.APPLY)
    data = await call.request.read()
    if media == patches.APPLY:
        document, _ = decode_yaml(data)
        document = {"spec": (document or {}).get("spec") or {}} if isinstance(document, dict) else document
    elif media in (patches.JSON_PATCH, patches.MERGE, patches.STRATEGIC):
        document, _ = patches.parse(media, data)
    else:
        raise unsupported((patches.JSON_PATCH, patches.MERGE, patches.STRATEGIC, patches.APPLY))
    # A Scale has no lists, so a strategic merge is a merge.
    form = patches.JSON_PATCH if media == patches.JSON_PATCH else patches.MERGE
    return options, lambda scale: patches.patched(form, call, scale, document)
