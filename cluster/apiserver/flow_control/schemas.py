"""
Which FlowSchema a request belongs to, and which flow of it.

Pure. Source: k8s.io/apiserver, pkg/util/flowcontrol/rule.go.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from cluster.apiserver.requests import Attributes, UserInfo
from cluster.machinery.objects import Object

_SERVICE_ACCOUNT = "system:serviceaccount:"
ANY = "*"


@dataclass(frozen=True, slots=True)
class Subjects:
    users: frozenset[str]
    groups: frozenset[str]
    accounts: frozenset[tuple[str, str]]
    """namespace and name, `*` for all names of the namespace."""

    def hold(self, user: UserInfo) -> bool:
        if ANY in self.users or user.name in self.users:
            return True
        if ANY in self.groups or not self.groups.isdisjoint(user.groups):
            return True
        if self.accounts and user.name.startswith(_SERVICE_ACCOUNT):
            namespace, _, name = user.name[len(_SERVICE_ACCOUNT) :].partition(":")
            return (namespace, name) in self.accounts or (namespace, ANY) in self.accounts
        return False


@dataclass(frozen=True, slots=True)
class ResourceRule:
    verbs: frozenset[str]
    groups: frozenset[str]
    resources: frozenset[str]
    cluster_scope: bool
    namespaces: frozenset[str]

    def matches(self, asked: Attributes) -> bool:
        resource = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
        in_scope = _holds(self.namespaces, asked.namespace) if asked.namespace else self.cluster_scope
        return (
            in_scope
            and _holds(self.verbs, asked.verb)
            and _holds(self.groups, asked.group)
            and _holds(self.resources, resource)
        )


@dataclass(frozen=True, slots=True)
class PathRule:
    verbs: frozenset[str]
    paths: tuple[str, ...]

    def matches(self, asked: Attributes) -> bool:
        return _holds(self.verbs, asked.verb) and any(_path_matches(pattern, asked.path) for pattern in self.paths)


@dataclass(frozen=True, slots=True)
class Rule:
    subjects: Subjects
    resources: tuple[ResourceRule, ...]
    paths: tuple[PathRule, ...]

    def matches(self, asked: Attributes) -> bool:
        if not self.subjects.hold(asked.user):
            return False
        rules: tuple[ResourceRule, ...] | tuple[PathRule, ...] = self.resources if asked.is_resource else self.paths
        return any(rule.matches(asked) for rule in rules)


@dataclass(frozen=True, slots=True)
class FlowSchema:
    name: str
    uid: str
    level: str
    """Name of its PriorityLevelConfiguration."""
    precedence: int
    distinguisher: str
    """ByUser, ByNamespace, or empty: all its requests are one flow."""
    rules: tuple[Rule, ...]

    def matches(self, asked: Attributes) -> bool:
        return any(rule.matches(asked) for rule in self.rules)

    def flow_of(self, asked: Attributes) -> str:
        """What tells its flows apart."""
        match self.distinguisher:
            case "ByUser":
                return asked.user.name
            case "ByNamespace":
                return asked.namespace
            case _:
                return ""


_ANYTHING = frozenset({ANY})


def _mandatory(name: str, group: str, precedence: int, distinguisher: str) -> FlowSchema:
    everything = ResourceRule(_ANYTHING, _ANYTHING, _ANYTHING, cluster_scope=True, namespaces=_ANYTHING)
    subjects = Subjects(frozenset(), frozenset({group}), frozenset())
    rule = Rule(subjects, (everything,), (PathRule(_ANYTHING, (ANY,)),))
    return FlowSchema(name, "", name, precedence, distinguisher, (rule,))


EXEMPT = _mandatory("exempt", "system:masters", 1, "")
CATCH_ALL = _mandatory("catch-all", ANY, 10_000, "ByUser")
"""These two hold even when nobody has written them yet, or somebody deleted them."""


def read_schema(obj: Object) -> FlowSchema:
    """A stored, and so defaulted and valid, FlowSchema."""
    metadata, spec = obj["metadata"], obj["spec"]
    return FlowSchema(
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        level=spec["priorityLevelConfiguration"]["name"],
        precedence=spec["matchingPrecedence"],
        distinguisher=(spec.get("distinguisherMethod") or {}).get("type", ""),
        rules=tuple(_rule(rule) for rule in spec.get("rules") or ()),
    )


def in_order(schemas: Iterable[FlowSchema], levels: Iterable[str]) -> list[FlowSchema]:
    """As they are tried: lowest precedence first, then by name; those whose level is missing are left out."""
    known = set(levels)
    found = {schema.name: schema for schema in schemas if schema.level in known}
    for mandatory in (EXEMPT, CATCH_ALL):
        found.setdefault(mandatory.name, mandatory)
    return sorted(found.values(), key=lambda schema: (schema.precedence, schema.name))


def _rule(rule: Object) -> Rule:
    users, groups, accounts = set(), set(), set()
    for subject in rule.get("subjects") or ():
        match subject["kind"]:
            case "User":
                users.add(subject["user"]["name"])
            case "Group":
                groups.add(subject["group"]["name"])
            case "ServiceAccount":
                account = subject["serviceAccount"]
                accounts.add((account["namespace"], account["name"]))
            case other:
                raise ValueError(f"subject kind {other!r} of a FlowSchema is neither User, Group nor ServiceAccount")
    resources = tuple(
        ResourceRule(
            verbs=frozenset(one.get("verbs") or ()),
            groups=frozenset(one.get("apiGroups") or ()),
            resources=frozenset(one.get("resources") or ()),
            cluster_scope=bool(one.get("clusterScope")),
            namespaces=frozenset(one.get("namespaces") or ()),
        )
        for one in rule.get("resourceRules") or ()
    )
    paths = tuple(
        PathRule(frozenset(one.get("verbs") or ()), tuple(one.get("nonResourceURLs") or ()))
        for one in rule.get("nonResourceRules") or ()
    )
    return Rule(Subjects(frozenset(users), frozenset(groups), frozenset(accounts)), resources, paths)


def _holds(words: frozenset[str], word: str) -> bool:
    return ANY in words or word in words


def _path_matches(pattern: str, path: str) -> bool:
    if pattern in (ANY, path):
        return True
    return pattern.endswith("/*") and path.startswith(pattern[:-1])
