"""
Webhook configurations as the admission chain uses them: read from the cache, compiled once, in the order of calling.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.api.resources import Resource
from cluster.apiserver.admission.matching import Rule, Selectors
from cluster.apiserver.requests import ObjectReader
from cluster.apiserver.webhooks.client import Address
from cluster.machinery.objects import Object

if TYPE_CHECKING:
    from cluster.apiserver.admission.match_conditions import MatchConditions

log = logging.getLogger(__name__)

_REVIEWS = ("v1", "v1beta1")
_DEFAULT_SECONDS = 10


@dataclass(frozen=True, slots=True, eq=False)
class Hook:
    """One webhook of a configuration."""

    name: str
    uid: str
    """Configuration, name and place: what tells webhooks of the same name apart."""
    address: Address
    rules: tuple[Rule, ...]
    equivalent: bool
    """matchPolicy Equivalent: a rule for another version of the resource means this one too."""
    selectors: Selectors
    conditions: "MatchConditions | None"
    fails_open: bool
    """failurePolicy Ignore."""
    seconds: int
    dry_run: bool
    """May be called for a dry run."""
    review: str
    """Version of the AdmissionReview; empty when it understands none that exists."""
    reinvoke: bool
    """reinvocationPolicy IfNeeded."""

    @classmethod
    def of(cls, webhook: Object, uid: str) -> "Hook":
        policy = webhook.get("failurePolicy") or "Fail"
        versions = webhook.get("admissionReviewVersions") or ()
        return cls(
            name=webhook["name"],
            uid=uid,
            address=Address.of(webhook["clientConfig"]),
            rules=tuple(Rule.of(rule) for rule in webhook.get("rules") or ()),
            equivalent=webhook.get("matchPolicy", "Equivalent") == "Equivalent",
            selectors=Selectors.of(webhook),
            conditions=_conditions(webhook.get("matchConditions") or (), policy),
            fails_open=policy == "Ignore",
            seconds=int(webhook.get("timeoutSeconds") or _DEFAULT_SECONDS),
            dry_run=webhook.get("sideEffects") in ("None", "NoneOnDryRun"),
            review=next((version for version in versions if version in _REVIEWS), ""),
            reinvoke=webhook.get("reinvocationPolicy") == "IfNeeded",
        )


def _hooks_of(configuration: Object) -> tuple[Hook, ...]:
    name = configuration["metadata"]["name"]
    return tuple(
        Hook.of(webhook, f"{name}/{webhook['name']}/{index}")
        for index, webhook in enumerate(configuration.get("webhooks") or ())
    )


def _conditions(entries: Sequence[Object], policy: str) -> "MatchConditions | None":
    if not entries:
        return None
    from cluster.apiserver.admission.match_conditions import MatchConditions  # the expression engine is large

    return MatchConditions(entries, policy)


class ConfiguredHooks:
    """All webhooks of one kind of configuration, ordered by the configurations' names."""

    def __init__(self, reader: ObjectReader, resource: Resource) -> None:
        self._reader = reader
        self._resource = resource
        self._version = -1
        self._hooks: tuple[Hook, ...] = ()
        self._compiled: dict[tuple[str, str], tuple[Hook, ...]] = {}
        """By name and resourceVersion of a configuration."""

    def now(self) -> tuple[Hook, ...]:
        """Costs a comparison while no configuration changes."""
        version = self._reader.version(self._resource)
        if version != self._version:
            self._version = version
            self._compile()
        return self._hooks

    def _compile(self) -> None:
        compiled: dict[tuple[str, str], tuple[Hook, ...]] = {}
        for configuration in sorted(self._reader.list(self._resource), key=lambda one: str(one["metadata"]["name"])):
            metadata = configuration["metadata"]
            key = metadata["name"], metadata.get("resourceVersion") or ""
            try:
                compiled[key] = self._compiled.get(key) or _hooks_of(configuration)
            except (KeyError, TypeError, ValueError):
                # Written past our validation, straight into the store: it must not end every write of the cluster.
                log.exception("%s %s cannot be understood and is left out", self._resource.kind, metadata["name"])
        self._compiled = compiled
        self._hooks = tuple(hook for hooks in compiled.values() for hook in hooks)
