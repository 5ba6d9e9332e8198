"""
Names of a zone and what is at them, in parts: each part has an owner, which replaces all of its own at once.

Called by   cluster.dns.zone (owners are Services) and federation.dns_server.zone (DNSRecordSets).
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from cluster.dns.names import ROOT, parent
from cluster.machinery.objects import Key

Content = TypeVar("Content")


class OwnedNames(Generic[Content]):
    def __init__(self) -> None:
        self._by_owner: dict[Key, Mapping[bytes, Content]] = {}
        self._names: dict[bytes, dict[Key, Content]] = {}
        self._descendants: Counter[bytes] = Counter()

    def put(self, owner: Key, names: Mapping[bytes, Content] | None) -> None:
        """Replace everything that one owner has; None removes it."""
        for name in self._by_owner.pop(owner, ()):
            held = self._names[name]
            del held[owner]
            if not held:
                del self._names[name]
                self._count_ancestors(name, -1)
        if names is not None:
            self._by_owner[owner] = names
            for name, content in names.items():
                if name not in self._names:
                    self._names[name] = {}
                    self._count_ancestors(name, 1)
                self._names[name][owner] = content

    def _count_ancestors(self, name: bytes, by: int) -> None:
        while name != ROOT:
            name = parent(name)
            self._descendants[name] += by
            if not self._descendants[name]:
                del self._descendants[name]

    def of(self, owner: Key) -> Mapping[bytes, Content] | None:
        return self._by_owner.get(owner)

    def at(self, name: bytes) -> Mapping[Key, Content] | None:
        """By owner; None: nobody has the name, though there may be names below it."""
        return self._names.get(name)

    def has_below(self, name: bytes) -> bool:
        """Whether the name exists, if only because of longer ones."""
        return name in self._descendants

    @property
    def owners(self) -> Mapping[Key, Mapping[bytes, Content]]:
        return self._by_owner

    def __contains__(self, name: bytes) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
