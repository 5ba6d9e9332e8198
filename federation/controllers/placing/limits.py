"""What the placer wants to know of members beside their Cluster objects: how many replicas they are able to run."""

from collections.abc import Callable, Mapping
from typing import Protocol

from federation.api.refs import Ref


class Limits(Protocol):
    """Whoever watches Pods in members."""

    def limits(self, ref: Ref) -> Mapping[str, int]:
        """
        Cluster -> replicas of this workload that it is able to run, for clusters where Pods of it cannot be scheduled.

        A cluster where all of them run, or may yet, is not in it.
        """

    def listen(self, listener: Callable[[Ref], None]) -> None:
        """Be told of every workload whose limits are other ones."""


class _Unknown:
    def limits(self, _ref: Ref) -> Mapping[str, int]:
        return {}

    def listen(self, _listener: Callable[[Ref], None]) -> None:
        """Nothing ever changes."""


NO_LIMITS: Limits = _Unknown()
