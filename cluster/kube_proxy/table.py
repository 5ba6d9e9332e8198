"""
The proxy's table as it should be, and the smallest transaction that leads there from what was applied last. Pure.

Two Services may want one element (an externalIP claimed twice): the first by name has it, and the other gets it
when the first goes. Chains and sets that nobody uses any more are emptied at once and removed one transaction
later: kernels before 6.2 refuse to remove a chain in the transaction that removes the last element leading to it.
"""

from collections.abc import Iterable

from cluster.kube_proxy.rules import TABLE, ProxySettings, ServiceRules, base_table
from cluster.machinery.objects import Key

_Element = tuple[str, str]
_CHUNK = 2000  # elements in one statement: nft's parser is fastest with long lists, but not endless ones


class ProxyTable:
    """Call `put` for what changed, then `transaction` for the text, then `applied` once the kernel has it."""

    def __init__(self, settings: ProxySettings) -> None:
        self._settings = settings
        self._services: dict[Key, ServiceRules] = {}
        self._claims: dict[_Element, dict[Key, str]] = {}
        self._touched: set[_Element] = set()
        self._chains: dict[str, tuple[str, ...]] = {}
        self._in_kernel: dict[_Element, str] | None = None
        """None: nothing is known of the kernel's table; the next transaction replaces all of it."""
        self._kernel_chains: dict[str, tuple[str, ...]] = {}
        self._kernel_sets: dict[str, int] = {}
        self._leaving: frozenset[str] = frozenset()
        self._next: tuple[dict[str, tuple[str, ...]], dict[str, int], frozenset[str]] = ({}, {}, frozenset())

    def put(self, key: Key, rules: ServiceRules | None) -> None:
        """What one Service contributes from now on; None: nothing."""
        old = self._services.pop(key, None)
        for element in _elements(old):
            claims = self._claims[element]
            claims.pop(key, None)
            self._touched.add(element)
            if not claims:
                del self._claims[element]
        if rules is None:
            return
        self._services[key] = rules
        for (name, what), value in _valued(rules):
            self._claims.setdefault((name, what), {})[key] = value
            self._touched.add((name, what))

    def value(self, element: _Element) -> str | None:
        claims = self._claims.get(element)
        return None if claims is None else claims[min(claims)]

    @property
    def services(self) -> int:
        return len(self._services)

    def forget_kernel(self) -> None:
        """The kernel's table is not what was applied: replace all of it next time."""
        self._in_kernel = None

    def transaction(self) -> str:
        """The text for nft; empty when there is nothing to do. Nothing is remembered before `applied`."""
        chains, sets = self._wanted_chains()
        if self._in_kernel is None:
            return self._whole(chains, sets)
        added, removed = self._element_changes(self._in_kernel)
        out = [f"add set ip {TABLE} {n} {_set_body(sets[n])}" for n in sets if n not in self._kernel_sets]
        changed = {name: lines for name, lines in chains.items() if self._kernel_chains.get(name) != lines}
        unused = [n for n in (*self._kernel_chains, *self._kernel_sets) if n not in chains and n not in sets]
        emptied = [name for name in unused if name not in self._leaving and name in self._kernel_chains]
        deleted = [name for name in unused if name in self._leaving]
        out += [f"add chain ip {TABLE} {name}" for name in changed if name not in self._kernel_chains]
        out += [f"flush chain ip {TABLE} {n}" for n in (*changed, *emptied) if n in self._kernel_chains]
        out += [f"add rule ip {TABLE} {name} {line}" for name, lines in changed.items() for line in lines]
        out += _statements("delete", [(element, "") for element in removed])
        out += _statements("add", added)
        out += [f"delete {'chain' if n in self._kernel_chains else 'set'} ip {TABLE} {n}" for n in deleted]
        leaving = frozenset(name for name in unused if name not in deleted)
        self._next = (
            {**chains, **{name: () for name in leaving if name in self._kernel_chains}},
            {**sets, **{name: self._kernel_sets[name] for name in leaving if name in self._kernel_sets}},
            leaving,
        )
        return "\n".join(out) + "\n" if out else ""

    def applied(self) -> None:
        """The last transaction is in the kernel."""
        if self._in_kernel is None:
            self._in_kernel = {element: claims[min(claims)] for element, claims in self._claims.items()}
        else:
            for element in self._touched:
                value = self.value(element)
                if value is None:
                    self._in_kernel.pop(element, None)
                else:
                    self._in_kernel[element] = value
        self._touched.clear()
        self._kernel_chains, self._kernel_sets, self._leaving = self._next

    @property
    def has_leavers(self) -> bool:
        """Something waits for a second transaction."""
        return bool(self._leaving)

    def _wanted_chains(self) -> tuple[dict[str, tuple[str, ...]], dict[str, int]]:
        # A shared chain stays once it exists: there are few, and the next Service is likely to want it again.
        for rules in self._services.values():
            self._chains.update(rules.shared_chains)
        chains = dict(self._chains)
        sets: dict[str, int] = {}
        for rules in self._services.values():
            chains.update(rules.own_chains)
            sets.update(rules.affinity_sets)
        return chains, sets

    def _element_changes(self, kernel: dict[_Element, str]) -> tuple[list[tuple[_Element, str]], list[_Element]]:
        added: list[tuple[_Element, str]] = []
        removed: list[_Element] = []
        for element in self._touched:
            wanted, held = self.value(element), kernel.get(element)
            if wanted == held:
                continue
            if held is not None:
                removed.append(element)
            if wanted is not None:
                added.append((element, wanted))
        return sorted(added), sorted(removed)

    def _whole(self, chains: dict[str, tuple[str, ...]], sets: dict[str, int]) -> str:
        self._next = (chains, sets, frozenset())
        parts = [
            f"add table ip {TABLE}",
            f"delete table ip {TABLE}",
            f"table ip {TABLE} {{",
            base_table(self._settings),
        ]
        parts += [f"  set {name} {_set_body(seconds)}" for name, seconds in sets.items()]
        parts += [f"  chain {name} {{ }}" for name in chains]
        parts.append("}")
        parts += [f"add rule ip {TABLE} {name} {line}" for name, lines in chains.items() for line in lines]
        parts += _statements("add", sorted((e, claims[min(claims)]) for e, claims in self._claims.items()))
        return "\n".join(parts) + "\n"


def _set_body(seconds: int) -> str:
    return f"{{ type ipv4_addr; flags dynamic,timeout; timeout {seconds}s; size 65535; }}"


def _elements(rules: ServiceRules | None) -> Iterable[_Element]:
    if rules is not None:
        for name, entries in rules.elements.items():
            for what in entries:
                yield name, what


def _valued(rules: ServiceRules) -> Iterable[tuple[_Element, str]]:
    for name, entries in rules.elements.items():
        for what, value in entries.items():
            yield (name, what), value


def _statements(verb: str, elements: Iterable[tuple[_Element, str]]) -> list[str]:
    by_name: dict[str, list[str]] = {}
    for (name, what), value in elements:
        by_name.setdefault(name, []).append(f"{what} : {value}" if value else what)
    return [
        f"{verb} element ip {TABLE} {name} {{ {', '.join(entries[start : start + _CHUNK])} }}"
        for name, entries in by_name.items()
        for start in range(0, len(entries), _CHUNK)
    ]
