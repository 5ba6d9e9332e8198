"""
Who asks for what: the values that authentication, authorization and admission pass on.

Called by the apiserver's handlers. Pure data; the names and meanings are upstream's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from cluster.api.resources import Resource
from cluster.machinery.objects import Object


@dataclass(frozen=True, slots=True)
class UserInfo:
    """The authenticated user. `extra` values are lists, as in SubjectAccessReview."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


ANONYMOUS = UserInfo("system:anonymous", ("system:unauthenticated",))
LOOPBACK = UserInfo("system:apiserver", ("system:masters", "system:authenticated"))
"""The apiserver itself, when it writes its own objects."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is asked. A non-resource request has `path` and an empty `resource`."""

    user: UserInfo
    verb: str
    """get, list, watch, create, update, patch, delete, deletecollection, or the lower-case HTTP method."""
    group: str = ""
    version: str = ""
    resource: str = ""
    """Plural."""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    """URL path; always set, decisive only for a non-resource request."""
    label_selector: str = ""
    field_selector: str = ""

    @property
    def is_resource(self) -> bool:
        return bool(self.resource)


@dataclass(frozen=True, slots=True)
class Decision:
    allowed: bool
    reason: str = ""
    """For the log and for SubjectAccessReview's status; never needed to understand a 403."""
    denied: bool = False
    """True ends the chain of authorizers; False and not allowed means "no opinion"."""


class Authorizer(Protocol):
    async def authorize(self, attributes: Attributes) -> Decision: ...


class ObjectReader(Protocol):
    """
    Read-only view of what is stored, from the watch cache: no I/O, a few milliseconds late at most.

    The objects are shared; nobody may change them.
    """

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None: ...

    def list(self, resource: Resource, namespace: str = "") -> Sequence[Object]:
        """All objects of the resource, or those of one namespace."""

    def version(self, resource: Resource) -> int:
        """A number that changes whenever any object of the resource does: the key of derived caches."""

    async def get_current(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """As `get`, but never older than the moment of the call (one quorum read)."""


class ObjectWriter(Protocol):
    """The registry's write path for the apiserver's own objects: validated and stored, not admitted or authorized."""

    async def create(self, resource: Resource, obj: Object) -> Object:
        """Raises AlreadyExists, Invalid."""

    async def update(self, resource: Resource, obj: Object, subresource: str = "") -> Object:
        """
        Change the object, or its `status`; with `metadata.resourceVersion` as precondition when it is set.

        Raises NotFound, Conflict, Invalid.
        """


@dataclass(slots=True)
class Reinvocation:
    """
    What webhooks and policies that change objects keep of one request between two rounds of the chain.

    There is a second round when one of them has changed what others had already seen, and never a third.
    """

    wanted: bool = False
    second: bool = False
    """The chain runs for the second time."""
    state: dict[str, Any] = field(default_factory=dict)
    """By plugin name, whatever that plugin needs."""


@dataclass(slots=True)
class AdmissionRequest:
    """One write on its way in. Mutating plugins change `obj` in place; validating ones only raise."""

    operation: str
    """CREATE, UPDATE, DELETE or CONNECT."""
    resource: Resource
    subresource: str
    namespace: str
    name: str
    """Empty on a create with generateName, until the name is made."""
    obj: Object | None
    """
    None on DELETE. For a subresource that has a kind of its own, that object: Binding, Scale, Eviction, TokenRequest;
    on CONNECT the options, PodExecOptions and the like.
    """
    old: Object | None
    """None on CREATE. Never changed by plugins."""
    user: UserInfo
    dry_run: bool = False
    options: Object = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    """Sent to the client as Warning headers."""
    annotations: dict[str, str] = field(default_factory=dict)
    """For the audit log; keys are `plugin.example/what`."""
    reinvocation: Reinvocation | None = None
    """Made by the first plugin that needs it."""
    changed: bool = False
    """A webhook or policy has changed the object: what only the server may set has to be put right again."""


class Admission(Protocol):
    """The whole chain, as the registry sees it."""

    async def mutate(self, request: AdmissionRequest) -> None:
        """Raises ApiError (mostly Forbidden or Invalid) to refuse."""

    async def validate(self, request: AdmissionRequest) -> None:
        """Runs after the object is defaulted, mutated and validated. Raises ApiError to refuse."""


def user_info(user: UserInfo) -> Object:
    """As the API shows a user."""
    info: Object = {"username": user.name}
    if user.uid:
        info["uid"] = user.uid
    if user.groups:
        info["groups"] = list(user.groups)
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra.items()}
    return info
