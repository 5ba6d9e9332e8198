"""
Who may ask for what at the door, and where that queues: found out once, kept until something it came from changes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from cluster.apiserver.authorization import UnionAuthorizer
from cluster.apiserver.flow_control.controller import Flow
from cluster.apiserver.in_flight import InFlight
from cluster.apiserver.rbac import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES
from cluster.apiserver.registry.kinds import Kind
from cluster.apiserver.registry.registry import Registry
from cluster.apiserver.requests import Attributes, UserInfo
from cluster.apiserver.router import Route

KNOWN_USERS = 4096


@dataclass(slots=True, eq=False)
class Asking:
    """What a URL asks for; of single objects all that differ in the name alone."""

    route: Route
    kind: Kind
    allowed: dict[int, UserInfo] = field(default_factory=dict, kw_only=True)
    """Whom the roles allow it, by identity."""
    flows: dict[int, Flow] = field(default_factory=dict, kw_only=True)
    """Where their requests queue, by the same."""
    flows_of: int = field(default=-1, kw_only=True)
    """The generation of flow control that these are of."""


class KnownRights:
    def __init__(
        self, registry: Registry, authorizer: UnionAuthorizer, in_flight: InFlight, forget: Callable[[], None]
    ) -> None:
        """
        Args:
            forget: called when roles have changed: nothing that was asked before may be kept.
        """
        self._authorizer = authorizer
        self._in_flight = in_flight
        self._forget = forget
        self._roles = [
            registry.kind(kind).cache for kind in (ROLES, ROLE_BINDINGS, CLUSTER_ROLES, CLUSTER_ROLE_BINDINGS)
        ]
        self._seen: tuple[int, ...] = ()

    def allows(self, asking: Asking, user: UserInfo) -> bool:
        """True when it is allowed whatever object is named; False leaves the request to the handler."""
        roles, bindings, cluster_roles, cluster_bindings = self._roles
        changes = (roles.changes, bindings.changes, cluster_roles.changes, cluster_bindings.changes)
        seen = (*changes, self._authorizer.generation)
        if seen != self._seen:
            self._seen = seen
            self._forget()
            asking.allowed.clear()
            asking.flows.clear()
        if asking.allowed.get(id(user)) is user:
            return True
        if not self._authorizer.allows_every_name(_attributes(asking.route, user)):
            return False
        if len(asking.allowed) >= KNOWN_USERS:
            asking.allowed.clear()
            asking.flows.clear()
        asking.allowed[id(user)] = user
        return True

    def flow(self, asking: Asking, user: UserInfo) -> Flow | None:
        """None without priority and fairness."""
        control = self._in_flight.flow_control
        if control is None:
            return None
        if asking.flows_of != control.generation or len(asking.flows) > KNOWN_USERS:
            asking.flows.clear()
            asking.flows_of = control.generation
        found = asking.flows.get(id(user))
        if found is None:
            # Users are kept alive by `allowed`, which has just let this one pass.
            found = asking.flows[id(user)] = control.classify(_attributes(asking.route, user))
        return found


def _attributes(asked: Route, user: UserInfo) -> Attributes:
    return Attributes(
        user=user,
        verb=asked.verb,
        group=asked.group,
        version=asked.version,
        resource=asked.resource,
        subresource=asked.subresource,
        namespace=asked.namespace,
        path=asked.path,
    )
