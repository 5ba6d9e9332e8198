"""All policies of the federation, parsed once: which one decides for an object, and what differs between clusters."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

import orjson

from cluster.client.informer import Informer
from cluster.machinery.objects import Object
from federation.placement.policies import (
    OverridePolicy,
    PropagationPolicy,
    override_policy_of,
    overrides_for,
    policy_for,
    propagation_policy_of,
)

Policy = PropagationPolicy | OverridePolicy
P = TypeVar("P", PropagationPolicy, OverridePolicy)


@dataclass(frozen=True, slots=True)
class PolicyInformers:
    """Informers at the federation's apiserver; whoever makes them runs them."""

    propagation: Informer
    cluster_propagation: Informer
    overrides: Informer
    cluster_overrides: Informer

    def all(self) -> tuple[Informer, ...]:
        return (self.propagation, self.cluster_propagation, self.overrides, self.cluster_overrides)


class _Shelf(Generic[P]):
    """Policies of one sort, by namespace; "" for those of all."""

    def __init__(self, parse: Callable[[Object], P], told: Callable[[P], None]) -> None:
        self._parse: Callable[[Object], P] = parse
        self._told: Callable[[P], None] = told
        self.by_namespace: dict[str, dict[str, P]] = {}
        self.digests: dict[tuple[str, str], str] = {}
        """Of what the policy says, by namespace and name."""

    def fill_from(self, informer: Informer) -> None:
        informer.add_handler(self._put, self._replace, self._remove)

    def for_namespace(self, namespace: str) -> Iterable[P]:
        yield from self.by_namespace.get("", {}).values()
        if namespace:
            yield from self.by_namespace.get(namespace, {}).values()

    def _put(self, policy: Object) -> None:
        metadata = policy["metadata"]
        parsed = self._parse(policy)
        namespace, name = metadata.get("namespace") or "", metadata["name"]
        self.by_namespace.setdefault(namespace, {})[name] = parsed
        said = orjson.dumps(policy.get("spec"), option=orjson.OPT_SORT_KEYS)
        self.digests[namespace, name] = hashlib.blake2b(said, digest_size=16).hexdigest()
        self._told(parsed)

    def _replace(self, old: Object, new: Object) -> None:
        if old.get("spec") == new.get("spec") and old["metadata"]["uid"] == new["metadata"]["uid"]:
            return
        before = self._parse(old)
        self._put(new)
        self._told(before)

    def _remove(self, policy: Object) -> None:
        metadata = policy["metadata"]
        namespace, name = metadata.get("namespace") or "", metadata["name"]
        found = self.by_namespace.get(namespace, {}).pop(name, None)
        self.digests.pop((namespace, name), None)
        if found is not None:
            self._told(found)


class PolicyBook:
    """`listen` is told of every policy that is new, changed (as it was and as it is) or gone."""

    def __init__(self, informers: PolicyInformers) -> None:
        self._listeners: list[Callable[[Policy], None]] = []
        self._propagation = _Shelf(propagation_policy_of, self._tell)
        self._overrides = _Shelf(override_policy_of, self._tell)
        self._propagation.fill_from(informers.propagation)
        self._propagation.fill_from(informers.cluster_propagation)
        self._overrides.fill_from(informers.overrides)
        self._overrides.fill_from(informers.cluster_overrides)

    def listen(self, listener: Callable[[Policy], None]) -> None:
        self._listeners.append(listener)

    def policy_for(self, template: Object, incumbent: str = "") -> PropagationPolicy:
        """`incumbent`: the key of the policy that placed it."""
        namespace = template["metadata"].get("namespace") or ""
        return policy_for(template, self._propagation.for_namespace(namespace), incumbent)

    def get(self, key: str) -> PropagationPolicy | None:
        """By what Placement.spec.policy holds."""
        namespace, _, name = key.rpartition("/")
        return self._propagation.by_namespace.get(namespace, {}).get(name)

    def overrides_hash(self, template: Object) -> str:
        """Changes with any rule that applies to the object; empty where none does."""
        found = overrides_for(template, self._overrides.for_namespace(template["metadata"].get("namespace") or ""))
        if not found:
            return ""
        digests = [[one.namespace, one.name, self._overrides.digests[one.namespace, one.name]] for one in found]
        return hashlib.blake2b(orjson.dumps(digests), digest_size=16).hexdigest()

    def _tell(self, policy: Policy) -> None:
        for listener in self._listeners:
            listener(policy)
