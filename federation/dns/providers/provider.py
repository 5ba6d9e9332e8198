"""What every DNS provider can do. Providers know nothing of each other, of Kubernetes or of why a change is made."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from federation.dns.plan import Change, Observed
from federation.dns.recordsets import Group


class ProviderError(Exception):
    """The provider cannot be reached, or refuses for a reason that concerns the whole zone. Says what to do."""


class Provider(Protocol):
    def express(self, group: Group) -> Group:
        """What of it this provider can have in a zone; that is what is compared with what is there."""

    async def check(self) -> Sequence[str]:
        """
        What is doubtful about the zone and the way to it, in words; nothing when all is well.

        Raises ProviderError when nothing could be changed there.
        """

    async def observe(self, names: Iterable[str]) -> Mapping[str, Observed]:
        """
        What the zone has at these names; names without anything are left away.

        Raises ProviderError: nothing may be concluded then, least of all that names are free.
        """

    async def apply(self, changes: Iterable[Change]) -> Mapping[str, str]:
        """
        Carry changes out, each name atomically. Returns name -> why its change was refused or did not show.

        Raises ProviderError.
        """

    async def run(self) -> None:
        """What there is to do besides, until cancelled."""
