"""The KindRules of the federation, parsed once: which one counts for a kind, and what is wrong with the others."""

from collections.abc import Callable, Mapping

from cluster.client.informer import Informer
from cluster.machinery.objects import Object
from federation.placement.kind_rules import NO_RULE, KindRule, RuleError, in_force, kind_rule_of

GroupKind = tuple[str, str]


class KindRuleBook:
    """`informer` is run by whoever made it."""

    def __init__(self, informer: Informer) -> None:
        self._informer = informer
        self._listeners: list[Callable[[GroupKind], None]] = []
        self._parsed: dict[str, KindRule] = {}
        self._in_force: Mapping[GroupKind, KindRule] = {}
        self._faults: dict[str, str] = {}
        informer.add_handler(self._put, self._replace, self._remove)

    async def wait_synced(self) -> None:
        await self._informer.wait_synced()

    def of(self, group: str, kind: str) -> KindRule:
        return self._in_force.get((group, kind), NO_RULE)

    def listen(self, listener: Callable[[GroupKind], None]) -> None:
        """Be told of every kind for which another rule counts."""
        self._listeners.append(listener)

    def fault(self, name: str) -> str:
        """Why a rule does not count; empty when it does."""
        if name in self._faults:
            return self._faults[name]
        rule = self._parsed.get(name)
        counts = self.of(rule.group, rule.kind) if rule is not None else NO_RULE
        return f"KindRule {counts.name} is older and counts for this kind" if counts.name not in ("", name) else ""

    def _put(self, obj: Object) -> None:
        name = obj["metadata"]["name"]
        self._parsed.pop(name, None)
        self._faults.pop(name, None)
        try:
            self._parsed[name] = kind_rule_of(obj)
        except RuleError as fault:
            self._faults[name] = str(fault)
        self._settle()

    def _replace(self, old: Object, new: Object) -> None:
        if old["spec"] != new["spec"] or old["metadata"]["uid"] != new["metadata"]["uid"]:
            self._put(new)

    def _remove(self, obj: Object) -> None:
        name = obj["metadata"]["name"]
        self._parsed.pop(name, None)
        self._faults.pop(name, None)
        self._settle()

    def _settle(self) -> None:
        before, self._in_force = self._in_force, in_force(self._parsed.values())
        for kind in before.keys() | self._in_force.keys():
            if before.get(kind) != self._in_force.get(kind):
                for listener in self._listeners:
                    listener(kind)
