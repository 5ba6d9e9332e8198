"""Who waits for what, and who is woken when it is there."""

from collections.abc import Callable
from typing import NamedTuple

from federation.api.refs import Ref


class ForKind(NamedTuple):
    """The member serves it, and its objects are read."""

    group: str
    kind: str


class ForObject(NamedTuple):
    """Its first write is answered, however."""

    ref: Ref


class ForEndings(NamedTuple):
    """What has to be deleted first in a namespace, or among what has none, is on its way."""

    namespace: str


class ForLeave(NamedTuple):
    """Deletions may go on."""


Needed = ForKind | ForObject | ForEndings | ForLeave


class Waiting:
    """Nobody is asked again until what he waits for happens."""

    def __init__(self, wake: Callable[[Ref], None]) -> None:
        self._wake = wake
        self._waiting: dict[Needed, set[Ref]] = {}

    def add(self, ref: Ref, needed: Needed) -> None:
        self._waiting.setdefault(needed, set()).add(ref)

    def happened(self, needed: Needed) -> None:
        for ref in self._waiting.pop(needed, ()):
            self._wake(ref)

    def kinds_changed(self) -> None:
        for needed in [one for one in self._waiting if isinstance(one, ForKind)]:
            self.happened(needed)
