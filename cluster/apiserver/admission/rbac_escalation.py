"""Nobody makes a role or a binding that grants more than they hold, unless they have the verb escalate or bind."""

from cluster.apiserver.admission.plugin import CREATE, UPDATE, Plugin, refuse
from cluster.apiserver.authorization import SUPER_GROUP, UnionAuthorizer
from cluster.apiserver.rbac import CLUSTER_ROLES, GROUP, ROLES, PolicyRule, rules_of
from cluster.apiserver.rbac_escalation import describe, go_strings, missing_rules
from cluster.apiserver.requests import AdmissionRequest, Attributes
from cluster.machinery.field_errors import quoted
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import not_found


class RbacEscalation(Plugin):
    name = "RbacEscalation"
    operations = frozenset({CREATE, UPDATE})
    resources = frozenset(
        f"{plural}.{GROUP}" for plural in ("roles", "clusterroles", "rolebindings", "clusterrolebindings")
    )

    async def validate(self, request: AdmissionRequest) -> None:
        if request.obj is None or self.around.authorizer is None or SUPER_GROUP in request.user.groups:
            return
        if request.resource.plural in ("roles", "clusterroles"):
            await self._role(request, request.obj)
        else:
            await self._binding(request, request.obj)

    async def _role(self, request: AdmissionRequest, role: Object) -> None:
        old = request.old or {}
        same = (role.get("rules") or []) == (old.get("rules") or []) and role.get("aggregationRule") == old.get(
            "aggregationRule"
        )
        if request.operation == UPDATE and same:
            return
        if await self._may(request, "escalate", request.resource.plural, request.name or role["metadata"]["name"]):
            return
        self._require_held(request, rules_of(role), request.namespace)
        if role.get("aggregationRule") or (old.get("aggregationRule") and request.operation == UPDATE):
            everything = (PolicyRule(("*",), ("*",), ("*",)), PolicyRule(("*",), non_resource_urls=("*",)))
            if self._missing(request, everything, request.namespace):
                raise refuse(request, "must have cluster-admin privileges to use the aggregationRule")

    async def _binding(self, request: AdmissionRequest, binding: Object) -> None:
        old = request.old or {}
        same = all(binding.get(field) == old.get(field) for field in ("subjects", "roleRef"))
        if request.operation == UPDATE and same:
            return
        reference = binding.get("roleRef") or {}
        plural = "roles" if reference.get("kind") == "Role" else "clusterroles"
        if await self._may(request, "bind", plural, reference.get("name") or ""):
            return
        role = self._bound_role(request, reference)
        if role is None:
            raise not_found(GROUP, plural, reference.get("name") or "")
        self._require_held(request, rules_of(role), request.namespace)

    def _bound_role(self, request: AdmissionRequest, reference: Object) -> Object | None:
        name = reference.get("name") or ""
        if reference.get("kind") == "Role":
            return self.reader.get(ROLES, request.namespace, name)
        return self.reader.get(CLUSTER_ROLES, "", name)

    async def _may(self, request: AdmissionRequest, verb: str, plural: str, name: str) -> bool:
        authorizer = self.around.authorizer
        namespace = request.namespace
        if authorizer is None:
            return True
        question = Attributes(request.user, verb, GROUP, "v1", plural, "", namespace, name)
        return (await authorizer.authorize(question)).allowed

    def _missing(self, request: AdmissionRequest, rules: tuple[PolicyRule, ...], namespace: str) -> list[PolicyRule]:
        authorizer = self.around.authorizer
        rbac = authorizer.rbac if isinstance(authorizer, UnionAuthorizer) else None
        if rbac is None:
            return []  # without RBAC its objects grant nothing
        held, _ = rbac.rules_for(request.user, namespace)
        return missing_rules(held, rules)

    def _require_held(self, request: AdmissionRequest, rules: tuple[PolicyRule, ...], namespace: str) -> None:
        missing = self._missing(request, rules, namespace)
        if missing:
            user = request.user
            raise refuse(
                request,
                f"user {quoted(user.name)} (groups={go_strings(user.groups)}) is attempting to grant RBAC permissions"
                f" not currently held:\n{describe(missing)}",
            )
