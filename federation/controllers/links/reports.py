"""What a link says of one object in its member, and to whom."""

from dataclasses import dataclass
from typing import Protocol

from cluster.machinery.objects import Key, Object

MESSAGE_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class Found:
    """One entry of Placement.status.clusters[], without the cluster's name."""

    state: str
    uid: str = ""
    """Of the template that the state is about; of a tombstone its own."""
    hash: str = ""
    generation: int = 0
    """metadata.generation of the member's object."""
    observed: int | None = None
    """Generation of the template that the member's object was written from."""
    message: str = ""
    status: Object | None = None

    def entry(self, cluster: str) -> Object:
        found: Object = {"name": cluster, "state": self.state}
        for field in ("uid", "hash", "generation", "observed", "status"):
            if value := getattr(self, field):
                found[field] = value
        if self.message:
            found["message"] = self.message[:MESSAGE_LIMIT]
        return found


@dataclass(frozen=True, slots=True)
class Condition:
    """Of a Cluster; its status is True."""

    type: str
    reason: str
    message: str


class Reporter(Protocol):
    """`federation.controllers.links.reporter`."""

    def report(self, home: Key, cluster: str, found: Found | None) -> None:
        """Say what was found; None: nothing is to be said of this cluster any more. Returns at once."""

    def confirmation_used(self, cluster: str) -> None:
        """Take the annotation that confirms deletions from the Cluster: what it was given for is done."""
