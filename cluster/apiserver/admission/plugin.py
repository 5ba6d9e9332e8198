"""
What an admission plugin is, and what all of them need.

A plugin says which operations on which resources concern it; the chain asks it only then. Most write paths therefore
touch two or three plugins of thirty.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

from cluster.apiserver.admission.configuration import Configurations
from cluster.apiserver.requests import AdmissionRequest, Authorizer, ObjectReader, ObjectWriter
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import Forbidden, forbidden

CREATE, UPDATE, DELETE, CONNECT = "CREATE", "UPDATE", "DELETE", "CONNECT"
ALL_OPERATIONS = frozenset({CREATE, UPDATE, DELETE, CONNECT})


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a plugin may use."""

    reader: ObjectReader
    writer: ObjectWriter
    authorizer: Authorizer | None = None
    """None in tests and single-user servers: everything is allowed."""
    configurations: Configurations = field(default_factory=dict)
    """What the plugins' configuration file says, by plugin."""
    kept_namespaces: Collection[str] = ()
    """Which may not be deleted, besides those of every cluster."""


class Plugin:
    """Base of all plugins. A subclass overrides `mutate`, `validate` or both."""

    name: str = ""
    """Upstream's, as in --enable-admission-plugins."""
    operations: frozenset[str] = ALL_OPERATIONS
    resources: frozenset[str] | None = None
    """Qualified plurals, `pods` or `ingresses.networking.k8s.io`; None means every resource."""

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        self.reader = around.reader

    async def mutate(self, request: AdmissionRequest) -> None:
        """Change `request.obj` in place, or raise ApiError."""

    async def validate(self, request: AdmissionRequest) -> None:
        """Raise ApiError to refuse. Nothing may be changed."""


def refuse(request: AdmissionRequest, why: str) -> Forbidden:
    """`pods "x" is forbidden: why`, for the object of the request; without a name its generateName is shown."""
    metadata = metadata_of(request)
    name = request.name or metadata.get("name") or metadata.get("generateName") or "Unknown"
    return forbidden(request.resource.group, request.resource.plural, name, why)


def metadata_of(request: AdmissionRequest) -> Object:
    obj = request.obj if request.obj is not None else request.old
    return (obj or {}).get("metadata") or {}


def spec_of(obj: Object | None) -> Object:
    return (obj or {}).get("spec") or {}
