"""
Which requests a webhook or a policy concerns: rules and selectors, as admissionregistration.k8s.io has them.

Used by the webhooks and by both kinds of admission policies.
Source: k8s.io/apiserver, pkg/admission/plugin/webhook/predicates/{rules,namespace,object}.
"""

from dataclasses import dataclass

from cluster.api import resources
from cluster.api.resources import Resource
from cluster.apiserver.admission.plugin import CREATE, UPDATE
from cluster.apiserver.requests import AdmissionRequest, ObjectReader
from cluster.machinery.labels import NOTHING, Selector, selector_of
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import not_found

GROUP = "admissionregistration.k8s.io"
_EXEMPT = frozenset(
    {
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings",
        "mutatingwebhookconfigurations",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "validatingwebhookconfigurations",
    }
)


def is_exempt(request: AdmissionRequest) -> bool:
    """What configures admission is admitted by none of it: a mistake could not be taken back."""
    return request.resource.group == GROUP and request.resource.plural in _EXEMPT


def is_namespace(request: AdmissionRequest) -> bool:
    return request.resource.qualified == "namespaces"


def namespace_of(request: AdmissionRequest) -> str:
    """The namespace as webhooks and expressions see it: a Namespace is in itself."""
    return request.name if is_namespace(request) else request.namespace


@dataclass(frozen=True, slots=True)
class Rule:
    operations: frozenset[str]
    groups: frozenset[str]
    versions: frozenset[str]
    resources: tuple[tuple[str, str], ...]
    """Plural and subresource; `*` for any of them."""
    scope: str
    names: frozenset[str]
    """resourceNames; empty for all."""

    @classmethod
    def of(cls, rule: Object) -> "Rule":
        split = (str(text).partition("/") for text in rule.get("resources") or ())
        return cls(
            operations=frozenset(rule.get("operations") or ()),
            groups=frozenset(rule.get("apiGroups") or ()),
            versions=frozenset(rule.get("apiVersions") or ()),
            resources=tuple((plural, subresource) for plural, _, subresource in split),
            scope=rule.get("scope") or "*",
            names=frozenset(rule.get("resourceNames") or ()),
        )

    def matches(self, request: AdmissionRequest, seen_as: Resource | None = None) -> bool:
        """`seen_as` is another version of the resource, to be judged in place of the one that was asked for."""
        resource = seen_as or request.resource
        return (
            _has(self.operations, request.operation)
            and _has(self.groups, resource.group)
            and _has(self.versions, resource.version)
            and any(
                plural in ("*", resource.plural) and subresource in ("*", request.subresource)
                for plural, subresource in self.resources
            )
            and self._in_scope(request)
            and (not self.names or request.name in self.names)
        )

    def _in_scope(self, request: AdmissionRequest) -> bool:
        # A Namespace counts as an object of the cluster.
        namespaced = bool(request.namespace) and not is_namespace(request)
        return self.scope == "*" or (self.scope == "Namespaced") == namespaced


def _has(wanted: frozenset[str], value: str) -> bool:
    return value in wanted or "*" in wanted


@dataclass(frozen=True, slots=True)
class Selectors:
    """Which objects are meant, by their own labels and by those of their namespace."""

    namespaces: Selector
    objects: Selector

    @classmethod
    def of(cls, holder: Object) -> "Selectors":
        return cls(_selector(holder.get("namespaceSelector")), _selector(holder.get("objectSelector")))

    def match_object(self, request: AdmissionRequest) -> bool:
        """The object before or after the change has the labels."""
        if self.objects.empty:
            return True
        return any(self._labelled(obj) for obj in (request.obj, request.old) if obj is not None)

    def _labelled(self, obj: Object) -> bool:
        # Options of a CONNECT are no objects with labels; not even an empty set of them.
        return "metadata" in obj and self.objects.matches(obj["metadata"].get("labels"))

    async def match_namespace(self, request: AdmissionRequest, reader: ObjectReader) -> bool:
        """
        The namespace has the labels; what is in no namespace always matches.

        Raises NotFound when there is no such namespace: what it would be like is not known.
        """
        if self.namespaces.empty:
            return True
        if is_namespace(request):
            if request.obj is not None and not request.subresource and request.operation in (CREATE, UPDATE):
                return self.namespaces.matches(request.obj["metadata"].get("labels"))
        elif not request.namespace:
            return True
        name = namespace_of(request)
        found = reader.get(resources.NAMESPACES, "", name)
        if found is None:  # made this very moment, perhaps
            found = await reader.get_current(resources.NAMESPACES, "", name)
        if found is None:
            raise not_found("", "namespaces", name)
        return self.namespaces.matches(found["metadata"].get("labels"))


def _selector(wanted: Object | None) -> Selector:
    """None stands for everything here; one that is broken, for nothing (validation refuses it)."""
    try:
        return Selector() if wanted is None else selector_of(wanted)
    except ValueError:
        return NOTHING
