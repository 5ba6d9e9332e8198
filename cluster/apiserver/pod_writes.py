"""
What is asked of a Pod besides changing it: put it on a node, or move it off gently.

Source: k8s.io/kubernetes, pkg/registry/core/pod/storage/{storage,eviction}.go.
"""

from aiohttp import web

from cluster.api import resources
from cluster.apiserver import responses, write_options
from cluster.apiserver.registry.generic import WriteContext, Writer, now_text
from cluster.apiserver.registry.kinds import Kind
from cluster.apiserver.registry.registry import Registry
from cluster.apiserver.verbs import Call, Verbs
from cluster.machinery.decode import decode_body
from cluster.machinery.labels import selector_of
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError, BadRequest, TooManyRequests, conflict, invalid

BUDGETS = resources.named("poddisruptionbudgets.policy")
_SUCCESS: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


async def bind(verbs: Verbs, call: Call) -> web.StreamResponse:
    """POST pods/NAME/binding: say once and for all which node runs it."""
    options = write_options.check_write(call.route, "CreateOptions")
    binding = decode_body(await call.request.read(), call.request.headers.get("Content-Type", ""), "Binding").obj
    name = call.route.name or (binding.get("metadata") or {}).get("name", "")
    await assign(verbs.writer, call.kind, call.route.namespace, name, binding, call.context(options))
    return responses.json(_SUCCESS, 201)


async def assign(writer: Writer, kind: Kind, namespace: str, name: str, binding: Object, context: WriteContext) -> None:
    """Raises Conflict when the Pod is assigned, gated or being deleted; Invalid for a target that is no node."""
    target = binding.get("target") or {}
    node = target.get("name") or ""
    metadata = binding.setdefault("metadata", {})
    if not node:
        raise invalid("", "Binding", name, [("FieldValueRequired", "Required value", "target.name")])
    if target.get("kind") not in (None, "", "Node"):
        why = f'Unsupported value: "{target["kind"]}": supported values: "Node", "<empty>"'
        raise invalid("", "Binding", name, [("FieldValueNotSupported", why, "target.kind")])
    binding.update(kind="Binding", apiVersion="v1")
    await writer.admit_part(kind, "binding", namespace, name, binding, context)
    metadata, node = binding["metadata"], (binding.get("target") or {}).get("name") or node
    added = metadata.get("annotations") or {}
    labels = metadata.get("labels") or {}

    async def make(pod: Object) -> Object:
        spec = pod["spec"]
        if metadata.get("uid") and metadata["uid"] != pod["metadata"]["uid"]:
            raise _refused(name, f"uid {metadata['uid']} of the binding is not that of the pod")
        if pod["metadata"].get("deletionTimestamp"):
            raise _refused(name, f"pod {name} is being deleted, cannot be assigned to a host")
        if spec.get("nodeName"):
            raise _refused(name, f'pod {name} is already assigned to node "{spec["nodeName"]}"')
        if spec.get("schedulingGates"):
            raise _refused(name, f"pod {name} has non-empty .spec.schedulingGates")
        spec["nodeName"] = node
        for field, values in (("annotations", added), ("labels", labels)):
            if values:
                pod["metadata"][field] = {**(pod["metadata"].get(field) or {}), **values}
        status = pod.setdefault("status", {})
        others = [c for c in status.get("conditions") or [] if c.get("type") != "PodScheduled"]
        scheduled = {
            "type": "PodScheduled",
            "status": "True",
            "lastProbeTime": None,
            "lastTransitionTime": now_text(),
            **({"observedGeneration": pod["metadata"]["generation"]} if pod["metadata"].get("generation") else {}),
        }
        status["conditions"] = [*others, scheduled]
        return pod

    context.admit = False
    await writer.update(kind, namespace, name, make, context, subresource="binding")


def _refused(name: str, why: str) -> ApiError:
    return conflict("", "pods/binding", name, why)


class Evictor:
    """POST pods/NAME/eviction: a delete that a PodDisruptionBudget may put off."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def serve(self, verbs: Verbs, call: Call) -> web.StreamResponse:
        options = write_options.check_write(call.route, "CreateOptions")
        eviction = decode_body(await call.request.read(), call.request.headers.get("Content-Type", ""), "Eviction").obj
        given = (eviction.get("metadata") or {}).get("name") or ""
        if given and given != call.route.name:
            raise BadRequest("name in URL does not match name in Eviction object")
        delete = dict(eviction.get("deleteOptions") or {})
        context = call.context(options)
        context.dry_run = context.dry_run or bool(delete.get("dryRun"))
        namespace, name = call.route.namespace, call.route.name
        eviction.setdefault("kind", "Eviction")
        eviction.setdefault("apiVersion", "policy/v1")
        await verbs.writer.admit_part(call.kind, "eviction", namespace, name, eviction, context)
        context.admit = False  # an eviction is admitted as such, not as the delete that it ends in
        entry = await verbs.read(call.kind, namespace, name)
        pod = call.kind.decode(entry)
        if not _needs_no_budget(pod):
            await self._spend(verbs.writer, pod, dry_run=context.dry_run)
        await verbs.writer.delete(call.kind, namespace, name, delete, context)
        return responses.json(_SUCCESS, 201)

    async def _spend(self, writer: Writer, pod: Object, *, dry_run: bool) -> None:
        """Take one disruption from the Pod's budget. Raises TooManyRequests when there is none left."""
        metadata = pod["metadata"]
        found = [b for b in self._registry.list(BUDGETS, metadata["namespace"]) if _covers(b, metadata)]
        if not found:
            return
        if len(found) > 1:
            raise ApiError(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
                code=500,
            )
        budget = found[0]["metadata"]["name"]
        spec, status = found[0].get("spec") or {}, found[0].get("status") or {}
        ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in _conditions(pod))
        if not ready:
            healthy = status.get("currentHealthy", 0)
            desired = status.get("desiredHealthy", 0)
            always = spec.get("unhealthyPodEvictionPolicy") == "AlwaysAllow"
            if always or (healthy >= desired and desired > 0):
                return

        async def make(current: Object) -> Object:
            _book(current, metadata["name"])
            return current

        context = WriteContext(dry_run=dry_run, field_manager="kube-apiserver", admit=False)
        kind = self._registry.kind(BUDGETS)
        await writer.update(kind, metadata["namespace"], budget, make, context, subresource="status")


def _book(budget: Object, pod: str) -> None:
    name, status = budget["metadata"]["name"], budget.setdefault("status", {})
    allowed = status.get("disruptionsAllowed", 0)
    if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
        why = f"The disruption budget {name} is still being processed by the server."
        raise _put_off(why, retry_after=10)
    if allowed < 0:
        raise ApiError(f"pdb disruptions allowed is negative: {allowed}", code=403, reason="Forbidden")
    if allowed == 0:
        healthy, desired = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
        raise _put_off(f"The disruption budget {name} needs {desired} healthy pods and has {healthy} currently")
    status["disruptionsAllowed"] = allowed - 1
    status["disruptedPods"] = {**(status.get("disruptedPods") or {}), pod: now_text()}


def _put_off(why: str, retry_after: int | None = None) -> TooManyRequests:
    return TooManyRequests(
        "Cannot evict pod as it would violate the pod's disruption budget.",
        details={"causes": [{"reason": "DisruptionBudget", "message": why}]},
        retry_after=retry_after,
    )


def _conditions(pod: Object) -> list[Object]:
    found: list[Object] = (pod.get("status") or {}).get("conditions") or []
    return found


def _covers(budget: Object, metadata: Object) -> bool:
    selector = (budget.get("spec") or {}).get("selector")
    return selector is not None and selector_of(selector).matches(metadata.get("labels") or {})


def _needs_no_budget(pod: Object) -> bool:
    """It has ended, was never started, or goes already."""
    phase = (pod.get("status") or {}).get("phase")
    return phase in ("Succeeded", "Failed", "Pending") or bool(pod["metadata"].get("deletionTimestamp"))
