"""
The webhooks' part in one write: mutating ones change it one after the other, validating ones judge it together.

Mutating webhooks are called in the order of their configurations' names, and each sees what those before it have done.
Loaded by the first webhook configuration. Source: k8s.io/apiserver, pkg/admission/plugin/webhook/{mutating,validating}.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import orjson

from cluster.api.schema import schemas
from cluster.apiserver.admission.matching import is_exempt
from cluster.apiserver.registry import rules
from cluster.apiserver.requests import AdmissionRequest, Reinvocation
from cluster.apiserver.webhooks.admission_review import Seen
from cluster.apiserver.webhooks.asking import Asking
from cluster.apiserver.webhooks.hooks import ConfiguredHooks, Hook
from cluster.apiserver.webhooks.versions import Versions
from cluster.machinery import json_patch
from cluster.machinery.objects import Object, copy_object
from cluster.machinery.status_errors import ApiError, InternalError


@dataclass(slots=True)
class _Round:
    """What the mutating webhooks keep of a request for its second round."""

    invoked: set[str] = field(default_factory=set)
    """Webhooks that may be called again, by uid, since the object was last changed."""
    again: set[str] = field(default_factory=set)
    """Those that have to be: somebody changed the object after them."""
    output: Object | None = None
    """The object as the webhooks left it."""

    def require_all(self) -> None:
        self.again |= self.invoked
        self.invoked = set()


class Mutating:
    """Satisfies `admission.webhooks.Work`."""

    def __init__(self, name: str, hooks: ConfiguredHooks, asking: Asking, versions: Versions) -> None:
        self._name = name
        self._hooks = hooks
        self._asking = asking
        self._versions = versions

    async def do(self, request: AdmissionRequest) -> None:
        hooks = self._hooks.now()
        if is_exempt(request):
            return
        both = request.reinvocation = request.reinvocation or Reinvocation()
        state: _Round = both.state.setdefault(self._name, _Round())
        if both.second and state.output != request.obj:
            state.require_all()
        for index, hook in enumerate(hooks):
            seen = await self._asking.concerns(hook, request)
            # In the second round nobody is called who was not in the first.
            if seen is None or (both.second and hook.uid not in state.again):
                continue
            place = f"round_{int(both.second)}_index_{index}"
            changed = await self._change(hook, request, seen, place)
            if changed:
                state.require_all()
                both.wanted = True
            if hook.reinvoke:
                state.invoked.add(hook.uid)
        state.output = copy_object(request.obj) if request.obj is not None and both.wanted else None

    async def _change(self, hook: Hook, request: AdmissionRequest, seen: Seen, place: str) -> bool:
        """Call the webhook and do what it wants done. Returns whether anything is different now."""
        verdict = await self._asking.ask(hook, request, seen, place)
        if verdict is None:
            return False
        changed = verdict.patch is not None and await self._apply(hook, request, seen, verdict.patch)
        told = {"configuration": hook.uid.partition("/")[0], "webhook": hook.name, "mutated": changed}
        request.annotations[f"mutation.webhook.admission.k8s.io/{place}"] = orjson.dumps(told).decode()
        return changed

    async def _apply(self, hook: Hook, request: AdmissionRequest, seen: Seen, patch: list[Any]) -> bool:
        if request.obj is None or seen.obj is None:
            raise InternalError(
                f'Internal error occurred: admission webhook "{hook.name}" attempted to modify the object, '
                "which is not supported for this operation"
            )
        try:
            patched = json_patch.apply(seen.obj, patch)
            _normalize(seen, patched)
        except ApiError as fault:
            why = f'the patch of admission webhook "{hook.name}" does not apply: {fault.message}'
            raise InternalError(f"Internal error occurred: {why}") from None
        _keep_owners(patched, seen.obj)
        if patched == seen.obj:
            return False
        if seen.resource is not request.resource and seen.obj is not request.obj:
            patched = await self._versions.bring(patched, request.resource)
        request.obj.clear()
        request.obj.update(patched)
        request.changed = True
        return True


class Validating:
    """Satisfies `admission.webhooks.Work`."""

    def __init__(self, hooks: ConfiguredHooks, asking: Asking) -> None:
        self._hooks = hooks
        self._asking = asking

    async def do(self, request: AdmissionRequest) -> None:
        hooks = self._hooks.now()
        if is_exempt(request):
            return
        wanted = [(hook, seen) for hook in hooks if (seen := await self._asking.concerns(hook, request)) is not None]
        if not wanted:
            return
        calls = [
            self._asking.ask(hook, request, seen, f"round_0_index_{index}") for index, (hook, seen) in enumerate(wanted)
        ]
        # All are heard to the end; of several refusals the first in order counts.
        for answer in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(answer, BaseException):
                raise answer


def _keep_owners(patched: Object, before: Object) -> None:
    """Who owns which field is the server's to say: a patch of it could make the object unusable for applies."""
    if "metadata" not in patched:
        return
    owners = before["metadata"].get("managedFields")
    if owners is None:
        patched["metadata"].pop("managedFields", None)
    else:
        patched["metadata"]["managedFields"] = owners


@dataclass(frozen=True, slots=True)
class _Type:
    api_version: str
    kind: str


def _normalize(seen: Seen, patched: Object) -> None:
    """A patched object as if it had come from a client. Raises BadRequest."""
    before = seen.obj or {}
    kind = _Type(before["apiVersion"], before["kind"])
    if "metadata" in before and not isinstance(patched.get("metadata"), dict):
        patched["metadata"] = {}
    if kind == _Type(seen.resource.api_version, seen.resource.kind):
        rules.normalize(seen.resource, patched)
        rules.apply_defaults(seen.resource, patched)
    else:
        schemas().normalize(kind, patched)
