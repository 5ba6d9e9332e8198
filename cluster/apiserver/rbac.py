"""
Role-based access control: may this user do this, by the Roles bound to them?

Rules are compiled into an index by subject and kept until one of the four kinds changes; decisions are kept with it,
so a repeated question costs one dictionary look-up. Reads the watch cache only, never the store.

Called by   cluster.apiserver.authorization (one member of the chain), cluster.apiserver.rbac_escalation, reviews.
Source: kubernetes, plugin/pkg/auth/authorizer/rbac and pkg/registry/rbac/validation.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cluster.api import resources
from cluster.apiserver.requests import Attributes, Decision, ObjectReader, UserInfo
from cluster.machinery.objects import Object, key_of

GROUP = "rbac.authorization.k8s.io"
ROLES = resources.named(f"roles.{GROUP}")
ROLE_BINDINGS = resources.named(f"rolebindings.{GROUP}")
CLUSTER_ROLES = resources.named(f"clusterroles.{GROUP}")
CLUSTER_ROLE_BINDINGS = resources.named(f"clusterrolebindings.{GROUP}")

DECISION_CACHE_SIZE = 20_000
"""Decisions kept between two changes of the roles; about 400 bytes each."""

SERVICE_ACCOUNT_PREFIX = "system:serviceaccount:"


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """One rule of a Role. A rule names resources or URLs, never both."""

    verbs: tuple[str, ...]
    api_groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    resource_names: tuple[str, ...] = ()
    non_resource_urls: tuple[str, ...] = ()

    @classmethod
    def from_object(cls, rule: Mapping[str, Sequence[str] | None]) -> "PolicyRule":
        return cls(
            verbs=tuple(rule.get("verbs") or ()),
            api_groups=tuple(rule.get("apiGroups") or ()),
            resources=tuple(rule.get("resources") or ()),
            resource_names=tuple(rule.get("resourceNames") or ()),
            non_resource_urls=tuple(rule.get("nonResourceURLs") or ()),
        )

    def to_object(self) -> Object:
        fields = {
            "verbs": self.verbs,
            "apiGroups": self.api_groups,
            "resources": self.resources,
            "resourceNames": self.resource_names,
            "nonResourceURLs": self.non_resource_urls,
        }
        return {name: list(values) for name, values in fields.items() if values or name == "verbs"}

    def allows(self, a: Attributes) -> bool:
        if a.verb not in self.verbs and "*" not in self.verbs:
            return False
        if not a.is_resource:
            return any(url_matches(pattern, a.path) for pattern in self.non_resource_urls)
        return (
            (a.group in self.api_groups or "*" in self.api_groups)
            and resource_matches(self.resources, a.resource, a.subresource)
            and (not self.resource_names or a.name in self.resource_names)
        )


def resource_matches(patterns: Sequence[str], resource: str, subresource: str) -> bool:
    if "*" in patterns:
        return True
    if not subresource:
        return resource in patterns
    return f"{resource}/{subresource}" in patterns or f"*/{subresource}" in patterns


def url_matches(pattern: str, path: str) -> bool:
    return pattern in ("*", path) or (pattern.endswith("*") and path.startswith(pattern.rstrip("*")))


def rules_of(role: Object) -> tuple[PolicyRule, ...]:
    return tuple(PolicyRule.from_object(rule) for rule in role.get("rules") or ())


@dataclass(frozen=True, slots=True)
class Grant:
    """What one binding gives to one of its subjects."""

    rules: tuple[PolicyRule, ...]
    reason: str
    """`RBAC: allowed by ClusterRoleBinding "x" of ClusterRole "y" to User "z"`."""
    error: str = ""
    """Why the bound role has no rules: it does not exist."""
    order: int = 0
    """Position of the binding, so that a user's grants can be told in one order."""


@dataclass(slots=True)
class _Index:
    """Grants by subject key, for the whole cluster or for one namespace."""

    grants: dict[str, list[Grant]] = field(default_factory=dict)

    def of(self, user: UserInfo) -> Iterator[Grant]:
        if found := self.grants.get("u:" + user.name):
            yield from found
        for group in user.groups:
            if found := self.grants.get("g:" + group):
                yield from found


class RbacAuthorizer:
    """Allows or has no opinion; RBAC never denies."""

    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader
        self._versions: tuple[int, ...] = ()
        self._cluster = _Index()
        self._namespaces: dict[str, _Index] = {}
        self._decisions: dict[Attributes | tuple[object, ...], Decision] = {}

    async def authorize(self, attributes: Attributes) -> Decision:
        return self.decide(attributes)

    def decide(self, a: Attributes) -> Decision:
        self._refresh()
        user = a.user
        key = (
            user.name, user.groups, a.verb, a.group, a.resource, a.subresource, a.namespace, a.name,
            "" if a.resource else a.path,
        )  # fmt: skip
        known = self._decisions.get(key)
        if known is not None:
            return known
        if len(self._decisions) >= DECISION_CACHE_SIZE:
            self._decisions.clear()
        decision = self._decisions[key] = self._evaluate(a)
        return decision

    def allows_every_name(self, a: Attributes) -> bool:
        """Whether a rule that is not limited to certain names allows it; `a.name` does not matter."""
        self._refresh()
        return any(
            not rule.resource_names and rule.allows(a)
            for grant in self._grants(a.user, a.namespace)
            for rule in grant.rules
        )

    def rules_for(self, user: UserInfo, namespace: str) -> tuple[list[PolicyRule], list[str]]:
        """Every rule that holds for the user there, and the errors met: (rules, errors)."""
        self._refresh()
        rules: list[PolicyRule] = []
        errors: list[str] = []
        seen: set[int] = set()
        for grant in self._grants(user, namespace):
            if grant.order in seen:
                continue  # two subjects of one binding match: its rules count once
            seen.add(grant.order)
            rules.extend(grant.rules)
            if grant.error:
                errors.append(grant.error)
        return rules, errors

    def rules_of_reference(self, role_ref: Object, namespace: str) -> tuple[PolicyRule, ...] | None:
        """The rules that a `roleRef` stands for; None when the role does not exist."""
        role = self._role(role_ref, namespace)
        return None if role is None else rules_of(role)

    def _evaluate(self, a: Attributes) -> Decision:
        errors: list[str] = []
        for grant in self._grants(a.user, a.namespace):
            if grant.error:
                errors.append(grant.error)
            for rule in grant.rules:
                if rule.allows(a):
                    return Decision(True, grant.reason)
        return Decision(False, f"RBAC: {aggregate(errors)}" if errors else "")

    def _grants(self, user: UserInfo, namespace: str) -> Iterable[Grant]:
        grants = sorted(self._cluster.of(user), key=lambda grant: grant.order)
        if namespace:
            local = sorted(self._namespace(namespace).of(user), key=lambda grant: grant.order)
            grants.extend(local)
        return grants

    def _refresh(self) -> None:
        version = self._reader.version
        versions = (
            version(CLUSTER_ROLES), version(CLUSTER_ROLE_BINDINGS), version(ROLES), version(ROLE_BINDINGS)
        )  # fmt: skip
        if versions == self._versions:
            return
        if versions[:2] != self._versions[:2]:
            bindings = sorted(self._reader.list(CLUSTER_ROLE_BINDINGS), key=key_of)
            self._cluster = self._compile(bindings, "", start=0)
        # Namespaces are compiled when somebody asks about them: most never are.
        self._namespaces = {}
        self._decisions = {}
        self._versions = versions

    def _namespace(self, namespace: str) -> _Index:
        index = self._namespaces.get(namespace)
        if index is None:
            bindings = sorted(self._reader.list(ROLE_BINDINGS, namespace), key=key_of)
            # Negative positions keep them apart from the cluster's bindings.
            index = self._namespaces[namespace] = self._compile(bindings, namespace, start=-len(bindings) - 1)
        return index

    def _compile(self, bindings: Sequence[Object], namespace: str, *, start: int) -> _Index:
        index = _Index()
        for order, binding in enumerate(bindings, start):
            role_ref = binding.get("roleRef") or {}
            kind, role_name = role_ref.get("kind") or "", role_ref.get("name") or ""
            role = self._role(role_ref, namespace)
            error = "" if role is not None else f'{kind.lower()}.{GROUP} "{role_name}" not found'
            rules = () if role is None else rules_of(role)
            name = binding["metadata"]["name"]
            shown = f'RoleBinding "{name}/{namespace}"' if namespace else f'ClusterRoleBinding "{name}"'
            for subject in binding.get("subjects") or ():
                key = subject_key(subject, namespace)
                reason = f'RBAC: allowed by {shown} of {kind} "{role_name}" to {describe_subject(subject)}'
                index.grants.setdefault(key, []).append(Grant(rules, reason, error, order))
        return index

    def _role(self, role_ref: Object, namespace: str) -> Object | None:
        name = role_ref.get("name") or ""
        if role_ref.get("kind") == "Role" and namespace:
            return self._reader.get(ROLES, namespace, name)
        if role_ref.get("kind") == "ClusterRole":
            return self._reader.get(CLUSTER_ROLES, "", name)
        return None


def subject_key(subject: Object, namespace: str) -> str:
    """Whom a binding's subject means: a user's name or a group's. A ServiceAccount is a user."""
    kind, name = subject.get("kind"), subject.get("name") or ""
    if kind == "Group":
        return "g:" + name
    if kind == "ServiceAccount":
        return f"u:{SERVICE_ACCOUNT_PREFIX}{subject.get('namespace') or namespace}:{name}"
    return "u:" + name


def describe_subject(subject: Object) -> str:
    if subject.get("kind") == "ServiceAccount":
        return f'ServiceAccount "{subject.get("name")}/{subject.get("namespace") or ""}"'
    return f'{subject.get("kind")} "{subject.get("name")}"'


def aggregate(errors: Sequence[str]) -> str:
    """Several errors in one text, as upstream's aggregates print: one bare, more in brackets."""
    distinct = list(dict.fromkeys(errors))
    return distinct[0] if len(distinct) == 1 else "[" + ", ".join(distinct) + "]"
