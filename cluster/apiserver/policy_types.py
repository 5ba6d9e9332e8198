"""
ValidatingAdmissionPolicies say in their status which of their expressions do not fit the types they are about.

Upstream's controller manager does this; here every apiserver does, because it knows the schemas of all kinds and the
expressions' types already. Whoever comes later finds it said.
Source: k8s.io/apiserver, pkg/admission/plugin/policy/validating/typechecking.go; k8s.io/kubernetes,
pkg/controller/validatingadmissionpolicystatus.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence

from cluster.api.resources import Resource
from cluster.apiserver.admission.policies.plugins import VALIDATING
from cluster.apiserver.registry import rules
from cluster.apiserver.registry.generic import WriteContext, Writer, now_text
from cluster.apiserver.registry.registry import Registry
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError, NotFound
from cluster.store.backend import StoreError

log = logging.getLogger(__name__)

MANAGER = "validatingadmissionpolicy-status"
RETRY = 5.0
TYPE_LIMIT = 10
"""Kinds that one policy is checked against, in the order of their names."""


class PolicyTypes:
    def __init__(self, registry: Registry, writer: Writer) -> None:
        self._registry = registry
        self._writer = writer
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """For ever: looks at each policy once a generation."""
        cache = self._registry.kind(VALIDATING).cache
        cache.subscribe(lambda change: self._changed.set(), self._changed.set)
        while True:
            self._changed.clear()
            pause = 0.0
            for policy in self._registry.list(VALIDATING):
                try:
                    await self._look_at(policy)
                except (ApiError, StoreError) as fault:
                    log.info("the status of %s %s waits: %s", VALIDATING.kind, policy["metadata"]["name"], fault)
                    pause = RETRY
            if pause:
                await asyncio.sleep(pause)
            else:
                await self._changed.wait()

    async def _look_at(self, policy: Object) -> None:
        metadata, generation = policy["metadata"], policy["metadata"].get("generation") or 0
        if (policy.get("status") or {}).get("observedGeneration") == generation:
            return
        found = warnings(policy, [kind.resource for kind in self._registry.kinds])
        status: Object = {"observedGeneration": generation, "typeChecking": {}}
        if found:
            status["typeChecking"] = {"expressionWarnings": found}

        async def make(live: Object) -> Object:
            config: Object = {
                "apiVersion": VALIDATING.api_version,
                "kind": VALIDATING.kind,
                "metadata": {"name": metadata["name"]},
                "status": status,
            }
            merged: Object = rules.managed_fields.apply(VALIDATING, live, config, MANAGER, True, now_text(), "status")
            return merged

        context = WriteContext(field_manager=MANAGER, track_fields=False)
        kind = self._registry.kind(VALIDATING)
        try:
            await self._writer.update(kind, "", metadata["name"], make, context, subresource="status")
        except NotFound:
            return  # deleted meanwhile


def warnings(policy: Object, served: Sequence[Resource]) -> list[Object]:
    """`expressionWarnings` of a policy, whose validations are checked against every kind that its rules name."""
    kinds = list(_kinds(policy, served))
    if not kinds:
        return []
    from cluster.apiserver.admission.policies.typed import Types

    types = Types(policy, kinds, served)
    found = []
    for index, validation in enumerate(policy["spec"].get("validations") or ()):
        for key in ("expression", "messageExpression"):
            text = types.faults(validation[key]) if validation.get(key) else ""
            if text:
                found.append({"fieldRef": f"spec.validations[{index}].{key}", "warning": text})
    return found


def _kinds(policy: Object, served: Sequence[Resource]) -> Iterator[Resource]:
    """Those that the rules name without a wildcard, sorted."""
    named = {
        (group, version, plural)
        for rule in (policy["spec"].get("matchConstraints") or {}).get("resourceRules") or ()
        if not any("*" in name for name in (*rule.get("apiGroups", ()), *rule.get("apiVersions", ())))
        for group in rule.get("apiGroups", ())
        for version in rule.get("apiVersions", ())
        for plural in rule.get("resources", ())
    }
    found = [one for one in served if (one.group, one.version, one.plural) in named]
    yield from sorted(found, key=lambda one: (one.group, one.version, one.kind))[:TYPE_LIMIT]
