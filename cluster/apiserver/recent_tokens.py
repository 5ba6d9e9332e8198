"""
Users of ServiceAccount tokens that were verified before, for as long as nothing that the token depends on has changed.

Called by authentication.py, which verifies in full whatever is not found here.
"""

from collections.abc import Callable
from dataclasses import dataclass

from cluster.apiserver.requests import ObjectReader, UserInfo
from cluster.apiserver.service_account_tokens import Dependency, VerifiedToken

SIZE = 10_000


@dataclass(frozen=True, slots=True)
class _Recent:
    user: UserInfo
    expires: float
    depends_on: tuple[Dependency, ...]


class RecentTokens:
    def __init__(self, reader: ObjectReader, clock: Callable[[], float]) -> None:
        self._reader = reader
        self._clock = clock
        self._recent: dict[bytes, _Recent] = {}

    def keep(self, digest: bytes, user: UserInfo, verified: VerifiedToken) -> None:
        if not verified.depends_on:
            return
        if len(self._recent) >= SIZE:
            self._recent.clear()
        self._recent[digest] = _Recent(user, verified.expires, verified.depends_on)

    def find(self, digest: bytes) -> UserInfo | None:
        """None when it has to be verified (again): unknown, expired, or an object it is bound to is another now."""
        known = self._recent.get(digest)
        if known is None:
            return None
        if self._clock() < known.expires and all(self._is_same(d) for d in known.depends_on):
            return known.user
        del self._recent[digest]
        return None

    def _is_same(self, known: Dependency) -> bool:
        found = self._reader.get(known.resource, known.namespace, known.name)
        if found is None:
            return False
        metadata = found["metadata"]
        return bool(metadata["uid"] == known.uid and metadata["resourceVersion"] == known.version)

    def clear(self) -> None:
        self._recent.clear()
