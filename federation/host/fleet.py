"""The members as the operator's commands reach them: with the federation's own logins, from this host."""

import contextlib
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field

from cluster.api import resources
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError, NotFound
from federation.api.kinds import SYSTEM_NAMESPACE
from federation.api.resources import CLUSTERS
from federation.errors import UnreachableError, WrongInputError
from federation.host.control_plane import client
from federation.host.home import Home
from federation.host.services import url
from federation.membership.member_clients import Member, MemberClients, MemberFault, secret_name

USER_AGENT = "federate"


@dataclass(frozen=True, slots=True)
class Fleet:
    federation: ApiClient
    clusters: Mapping[str, Object]
    members: Mapping[str, Member]
    """Those that can be asked."""
    faults: Mapping[str, str] = field(default_factory=dict)
    """Why the others cannot."""

    def member(self, name: str) -> Member:
        """Raises WrongInputError for one that is no member, UnreachableError for one that cannot be asked."""
        if name in self.members:
            return self.members[name]
        if name in self.faults:
            raise UnreachableError(
                f"cluster {name} cannot be asked",
                why=self.faults[name],
                next_step="`federate status` tells its health.",
            )
        raise _no_member(name)


def _no_member(name: str) -> WrongInputError:
    return WrongInputError(
        f"there is no cluster {name}",
        why="it is no member of this federation",
        next_step="`federate status` lists them.",
    )


@contextlib.asynccontextmanager
async def fleet(home: Home, only: Collection[str] = ()) -> AsyncIterator[Fleet]:
    """All members, or those that are named. Raises FederateError."""
    description = home.require()
    async with contextlib.AsyncExitStack() as stack:
        federation = await stack.enter_async_context(client(home))
        clients = MemberClients(USER_AGENT, federation.config)
        stack.push_async_callback(clients.close)
        try:
            listed = (await federation.list(CLUSTERS)).get("items") or ()
            clusters = {one["metadata"]["name"]: one for one in listed}
            for name in only:
                if name not in clusters:
                    raise _no_member(name)
            found, faults = {}, {}
            for name in sorted(only or clusters):
                try:
                    found[name] = clients.member(clusters[name], await _secret(federation, clusters[name]))
                except MemberFault as fault:
                    faults[name] = str(fault)
        except (ApiError, TimeoutError) as fault:
            raise UnreachableError(
                f"federation {home.name} does not answer at {url(description)}", why=str(fault) or "it took too long",
                next_step=f"`federate init {home.name}` starts what died.",
            ) from fault  # fmt: skip
        yield Fleet(federation, clusters, found, faults)


async def _secret(federation: ApiClient, cluster: Object) -> Object | None:
    name = secret_name(cluster)
    if not name:
        return None
    try:
        return await federation.get(resources.SECRETS, name, namespace=SYSTEM_NAMESPACE)
    except NotFound:
        return None
