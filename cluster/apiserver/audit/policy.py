"""
Which requests are written down, and how much of them: the file of `--audit-policy-file` (audit.k8s.io/v1 Policy).

Pure, except that `load` is given a file's bytes. The first rule that fits decides; without one nothing is written.
Called by   recorder.py, once a request.
Source: k8s.io/apiserver, pkg/audit/policy and pkg/apis/audit/validation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple

from cluster.apiserver.configuration_file import Fields, Reading, parse
from cluster.apiserver.requests import Attributes
from cluster.machinery.field_errors import FieldError, invalid, not_supported, required
from cluster.machinery.names import dns_subdomain


class Level(IntEnum):
    """How much is written; each holds what those before it do."""

    NONE = 0
    METADATA = 1
    REQUEST = 2
    REQUEST_RESPONSE = 3


class Stage(StrEnum):
    REQUEST_RECEIVED = "RequestReceived"
    RESPONSE_STARTED = "ResponseStarted"
    RESPONSE_COMPLETE = "ResponseComplete"
    PANIC = "Panic"


LEVEL_NAMES = {
    "None": Level.NONE,
    "Metadata": Level.METADATA,
    "Request": Level.REQUEST,
    "RequestResponse": Level.REQUEST_RESPONSE,
}
LEVEL_TEXTS = {level: name for name, level in LEVEL_NAMES.items()}


@dataclass(frozen=True, slots=True)
class Resources:
    """Kinds of one API group: `pods`, `pods/log`, `*/status`, `pods/*`; none means all of them."""

    group: str
    resources: tuple[str, ...]
    names: tuple[str, ...]

    def fits(self, a: Attributes) -> bool:
        if self.group != a.group:
            return False
        if not self.resources:
            return True
        if self.names and a.name not in self.names:
            return False
        whole = f"{a.resource}/{a.subresource}" if a.subresource else a.resource
        return any(
            pattern in ("*", whole)
            or (a.subresource and pattern == f"*/{a.subresource}")
            or pattern == f"{a.resource}/*"
            for pattern in self.resources
        )


@dataclass(frozen=True, slots=True)
class Decided:
    """What one request's record holds."""

    level: Level
    omitted: frozenset[Stage]
    omit_managed_fields: bool


@dataclass(frozen=True, slots=True)
class Rule:
    decided: Decided
    users: tuple[str, ...]
    groups: tuple[str, ...]
    verbs: tuple[str, ...]
    namespaces: tuple[str, ...]
    resources: tuple[Resources, ...]
    urls: tuple[str, ...]

    def fits(self, a: Attributes, *, known: bool) -> bool:
        """`known` is false when nobody could be authenticated: then no rule about users fits."""
        if self.users and not (known and a.user.name in self.users):
            return False
        if self.groups and not (known and any(group in self.groups for group in a.user.groups)):
            return False
        if self.verbs and a.verb not in self.verbs:
            return False
        if self.namespaces or self.resources:
            if not a.is_resource or (self.namespaces and a.namespace not in self.namespaces):
                return False
            return not self.resources or any(resources.fits(a) for resources in self.resources)
        if self.urls:
            return not a.is_resource and any(_covers(pattern, a.path) for pattern in self.urls)
        return True


@dataclass(frozen=True, slots=True)
class Policy:
    rules: tuple[Rule, ...]

    def decide(self, attributes: Attributes, *, known: bool = True) -> Decided:
        for rule in self.rules:
            if rule.fits(attributes, known=known):
                return rule.decided
        return _NOTHING


_NOTHING = Decided(Level.NONE, frozenset(), omit_managed_fields=False)


def _covers(pattern: str, path: str) -> bool:
    return pattern in ("*", path) or (pattern.endswith("*") and path.startswith(pattern.rstrip("*")))


def load(data: bytes, path: str) -> Policy:
    """
    Read a policy file.

    Raises:
        ValueError: It is no valid Policy; the message has the file and every fault.
    """
    found, reading = parse(data, path, "Policy", ("audit.k8s.io/v1",))
    reading.known(found, "", ("kind", "apiVersion", "metadata", "rules", "omitStages", "omitManagedFields"))
    shared = _Shared(
        _stages(reading, found.get("omitStages"), "omitStages"),
        reading.flag(found.get("omitManagedFields"), "omitManagedFields"),
    )
    rules = tuple(_rule(reading, rule, at, shared) for at, rule in reading.objects(found.get("rules"), "rules"))
    if not rules:
        reading.faults.append(required("rules", "loaded illegal policy with 0 rules"))
    reading.finish("audit Policy")
    return Policy(rules)


class _Shared(NamedTuple):
    omitted: frozenset[Stage]
    omit_managed_fields: bool


_RULE = (
    "level", "users", "userGroups", "verbs", "namespaces", "resources", "nonResourceURLs", "omitStages",
    "omitManagedFields",
)  # fmt: skip


def _rule(reading: Reading, given: Fields, path: str, shared: _Shared) -> Rule:
    reading.known(given, path, _RULE)
    level = reading.text(given.get("level"), f"{path}.level")
    if not level:
        reading.faults.append(required(f"{path}.level"))
    elif level not in LEVEL_NAMES:
        reading.faults.append(not_supported(f"{path}.level", level, list(LEVEL_NAMES)))
    urls = reading.words(given.get("nonResourceURLs"), f"{path}.nonResourceURLs")
    reading.faults += _url_faults(urls, f"{path}.nonResourceURLs")
    if urls and (given.get("resources") or given.get("namespaces")):
        why = "rules cannot apply to both regular resources and non-resource URLs"
        reading.faults.append(invalid(f"{path}.nonResourceURLs", list(urls), why))
    own = given.get("omitManagedFields")
    listed = reading.objects(given.get("resources"), f"{path}.resources")
    return Rule(
        Decided(
            LEVEL_NAMES.get(level, Level.NONE),
            shared.omitted | _stages(reading, given.get("omitStages"), f"{path}.omitStages"),
            omit_managed_fields=reading.flag(own, f"{path}.omitManagedFields", shared.omit_managed_fields),
        ),
        reading.words(given.get("users"), f"{path}.users"),
        reading.words(given.get("userGroups"), f"{path}.userGroups"),
        reading.words(given.get("verbs"), f"{path}.verbs"),
        reading.words(given.get("namespaces"), f"{path}.namespaces"),
        tuple(_resources(reading, one, at) for at, one in listed),
        urls,
    )


def _resources(reading: Reading, given: Fields, path: str) -> Resources:
    reading.known(given, path, ("group", "resources", "resourceNames"))
    group = reading.text(given.get("group"), f"{path}.group")
    if group and (wrong := dns_subdomain(group)):
        reading.faults.append(invalid(f"{path}.group", group, ",".join(wrong)))
    kinds = reading.words(given.get("resources"), f"{path}.resources")
    names = reading.words(given.get("resourceNames"), f"{path}.resourceNames")
    if names and not kinds:
        why = "using resourceNames requires at least one resource"
        reading.faults.append(invalid(f"{path}.resourceNames", list(names), why))
    return Resources(group, kinds, names)


def _url_faults(urls: Sequence[str], path: str) -> list[FieldError]:
    faults = []
    for at, url in enumerate(urls):
        if url != "*" and not url.startswith("/"):
            faults.append(invalid(f"{path}[{at}]", url, "non-resource URL rules must begin with a '/' character"))
        if url != "*" and "*" in url[:-1]:
            why = "non-resource URL wildcards '*' must be the final character of the rule"
            faults.append(invalid(f"{path}[{at}]", url, why))
    return faults


def _stages(reading: Reading, given: Any, path: str) -> frozenset[Stage]:
    stages = set()
    for at, word in enumerate(reading.words(given, path)):
        if word in tuple(Stage):
            stages.add(Stage(word))
        else:
            reading.faults.append(invalid(f"{path}[{at}]", word, "allowed stages are " + ",".join(Stage)))
    return frozenset(stages)
