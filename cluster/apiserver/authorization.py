"""
May this user do this? A chain of authorizers, asked in order; the first that allows or denies decides.

Called by   the request pipeline once a request, impersonation and reviews once a question.
Not here    who the user is (authentication.py); what the object may look like (admission).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cluster.apiserver.node_authorizer import NodeAuthorizer
from cluster.apiserver.rbac import PolicyRule, RbacAuthorizer, aggregate
from cluster.apiserver.requests import Attributes, Authorizer, Decision, ObjectReader, UserInfo
from cluster.machinery.field_errors import quoted
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import Forbidden, forbidden

ABAC_VERSION = "abac.authorization.kubernetes.io/v1beta1"
SUPER_GROUP = "system:masters"
"""Its members may do everything, whatever the roles say: the way back in when every binding is lost."""

MODES = ("Node", "RBAC", "ABAC", "Webhook", "AlwaysAllow", "AlwaysDeny")


class AlwaysAllow:
    async def authorize(self, attributes: Attributes) -> Decision:
        return Decision(True)


class AlwaysDeny:
    async def authorize(self, attributes: Attributes) -> Decision:
        return Decision(False, "Everything is forbidden.", denied=False)


@dataclass(frozen=True, slots=True)
class AbacPolicy:
    """One line of an ABAC policy file (abac.authorization.kubernetes.io/v1beta1)."""

    user: str = ""
    group: str = ""
    readonly: bool = False
    api_group: str = ""
    resource: str = ""
    namespace: str = ""
    non_resource_path: str = ""

    def allows(self, a: Attributes) -> bool:
        if not self._subject_matches(a.user):
            return False
        if self.readonly and a.verb not in ("get", "list", "watch"):
            return False
        if not a.is_resource:
            pattern = self.non_resource_path
            return pattern in ("*", a.path) or (pattern.endswith("*") and a.path.startswith(pattern.rstrip("*")))
        return (
            self.namespace in ("*", a.namespace)
            and self.resource in ("*", a.resource)
            and self.api_group in ("*", a.group)
        )

    def _subject_matches(self, user: UserInfo) -> bool:
        matched = False
        if self.user:
            if self.user not in ("*", user.name):
                return False
            matched = True
        if self.group:
            if self.group != "*" and self.group not in user.groups:
                return False
            matched = True
        return matched


class AbacAuthorizer:
    def __init__(self, policies: Sequence[AbacPolicy]) -> None:
        self._policies = tuple(policies)

    async def authorize(self, attributes: Attributes) -> Decision:
        if any(policy.allows(attributes) for policy in self._policies):
            return Decision(True)
        return Decision(False, "No policy matched.")


def load_abac_policies(path: Path) -> list[AbacPolicy]:
    """
    Read an ABAC policy file: one JSON object a line, `#` starts a comment.

    Raises:
        ValueError: A line is no policy. The message has the file, the line's number and the reason.
    """
    policies = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            policies.append(_abac_policy(json.loads(text)))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}; write one abac v1beta1 Policy a line") from error
    return policies


_ABAC_FIELDS = {"user": "user", "group": "group", "apiGroup": "api_group", "resource": "resource",
                "namespace": "namespace", "nonResourcePath": "non_resource_path"}  # fmt: skip


def _abac_policy(given: object) -> AbacPolicy:
    """Raises ValueError. What is misspelt or of another type must not become a policy for more than was meant."""
    if not isinstance(given, dict) or given.get("kind") != "Policy":
        kind = given.get("kind") if isinstance(given, dict) else given
        raise ValueError(f"kind is {kind!r}, wanted 'Policy'")
    if given.get("apiVersion") != ABAC_VERSION:
        raise ValueError(f"apiVersion is {given.get('apiVersion')!r}, wanted {ABAC_VERSION!r}")
    spec = given.get("spec")
    if not isinstance(spec, dict):
        raise ValueError("spec is no object")
    if unknown := sorted(spec.keys() - _ABAC_FIELDS.keys() - {"readonly"}):
        raise ValueError(f"unknown field {unknown[0]!r}")
    texts = {ours: spec.get(name, "") for name, ours in _ABAC_FIELDS.items()}
    if wrong := [name for name, ours in _ABAC_FIELDS.items() if not isinstance(texts[ours], str)]:
        raise ValueError(f"{wrong[0]} is {spec[wrong[0]]!r}, wanted a string")
    readonly = spec.get("readonly", False)
    if not isinstance(readonly, bool):
        raise ValueError(f"readonly is {readonly!r}, wanted true or false")
    return AbacPolicy(readonly=readonly, **texts)


class UserAuthorizer(Protocol):
    """Decides about some users alone, by more than their names and roles."""

    def concerns(self, user: UserInfo) -> bool: ...

    async def authorize(self, attributes: Attributes) -> Decision:
        """Asked about these users only."""


class UnionAuthorizer:
    """The chain that the server asks. system:masters is let through before any member of it."""

    def __init__(self, named: Sequence[tuple[str, Authorizer]], first: UserAuthorizer | None = None) -> None:
        """`named` are the members in order, each with its mode; `first` is asked before them."""
        self._named = tuple(named)
        self._first = first
        self._authorizers = tuple(authorizer for _, authorizer in named)
        self.rbac = next((one for one in self._authorizers if isinstance(one, RbacAuthorizer)), None)
        """The RBAC member, for rule resolution and escalation checks; None when the mode is off."""
        self.generation = 0
        """Changes whenever the chain does."""

    def rearrange(self, modes: Sequence[str], webhooks: Sequence[Authorizer]) -> None:
        """Another order and other webhooks; the members besides those stay."""
        others = {mode: authorizer for mode, authorizer in self._named if mode != "Webhook"}
        remaining = iter(webhooks)
        self._named = tuple((mode, next(remaining) if mode == "Webhook" else others[mode]) for mode in modes)
        self._authorizers = tuple(authorizer for _, authorizer in self._named)
        self.generation += 1

    async def authorize(self, attributes: Attributes) -> Decision:
        if SUPER_GROUP in attributes.user.groups:
            return Decision(True)
        reasons = []
        if self._first is not None and self._first.concerns(attributes.user):
            decision = await self._first.authorize(attributes)
            if decision.allowed or decision.denied:
                return decision
        for authorizer in self._authorizers:
            decision = await authorizer.authorize(attributes)
            if decision.allowed or decision.denied:
                return decision
            if decision.reason:
                reasons.append(decision.reason)
        return Decision(False, "\n".join(reasons))

    def allows_every_name(self, attributes: Attributes) -> bool:
        """
        True when this is allowed whatever object it names, for as long as no RBAC object changes.

        False says nothing: `authorize` decides then.
        """
        if SUPER_GROUP in attributes.user.groups:
            return True
        if self._first is not None and self._first.concerns(attributes.user):
            return False
        for authorizer in self._authorizers:
            match authorizer:
                case RbacAuthorizer():
                    if authorizer.allows_every_name(attributes):
                        return True
                case NodeAuthorizer():
                    if authorizer.node_name(attributes.user) is not None:
                        return False  # nodes see what their Pods need, and those come and go
                case AlwaysAllow():
                    return True
                case _:
                    return False  # others may deny, or look at more than is known here
        return False

    def rules_for(self, user: UserInfo, namespace: str) -> tuple[list[PolicyRule], bool, str]:
        """
        What the user may do in a namespace, as far as it can be listed: (rules, incomplete, error).

        Used by SelfSubjectRulesReview. The Node authorizer and ABAC cannot list, so nodes' answers are incomplete.
        """
        rules, errors = self.rbac.rules_for(user, namespace) if self.rbac else ([], [])
        incomplete = self._first is not None and self._first.concerns(user)
        for authorizer in self._authorizers:
            if isinstance(authorizer, NodeAuthorizer) and authorizer.node_name(user) is not None:
                incomplete = True
                errors = ["node authorizer does not support user rule resolution", *errors]
            elif isinstance(authorizer, AlwaysAllow):
                rules = [PolicyRule(("*",), ("*",), ("*",)), PolicyRule(("*",), non_resource_urls=("*",)), *rules]
            elif isinstance(authorizer, AbacAuthorizer):
                incomplete = True
        if any(mode == "Webhook" for mode, _ in self._named):
            incomplete = True
            errors = [*errors, "webhook authorizer does not support user rule resolution"]
        return rules, incomplete, aggregate(errors) if errors else ""


def build_authorizer(
    modes: Sequence[str],
    reader: ObjectReader,
    *,
    abac_policies: Sequence[AbacPolicy] = (),
    webhooks: Sequence[Authorizer] = (),
    first: UserAuthorizer | None = None,
) -> UnionAuthorizer:
    """
    The chain for `--authorization-mode` or a configuration, in the given order.

    Args:
        modes: Of MODES.
        reader: The watch cache; RBAC needs the four RBAC kinds there, Node needs pods and what hangs on them.
        abac_policies: From `load_abac_policies`; needed by mode ABAC alone.
        webhooks: One for each mode Webhook, in order.
        first: Asked before all of them.

    Raises:
        ValueError: A mode is unknown, given twice, or none is given.
    """
    if not modes:
        raise ValueError("no authorization mode is given; use --authorization-mode=Node,RBAC")
    alone = [mode for mode in modes if mode != "Webhook"]
    if len(set(alone)) != len(alone) or modes.count("Webhook") > max(len(webhooks), 1):
        raise ValueError(f"authorization modes {','.join(modes)} name one twice")
    chain: list[tuple[str, Authorizer]] = []
    remaining = iter(webhooks)
    for mode in modes:
        match mode:
            case "Node":
                chain.append((mode, NodeAuthorizer(reader)))
            case "RBAC":
                chain.append((mode, RbacAuthorizer(reader)))
            case "ABAC":
                chain.append((mode, AbacAuthorizer(abac_policies)))
            case "Webhook":
                chain.append((mode, next(remaining)))
            case "AlwaysAllow":
                chain.append((mode, AlwaysAllow()))
            case "AlwaysDeny":
                chain.append((mode, AlwaysDeny()))
            case _:
                raise ValueError(f"authorization mode {mode!r} is unknown; there are {', '.join(MODES)}")
    return UnionAuthorizer(chain, first)


def refusal(attributes: Attributes, reason: str = "") -> Forbidden:
    """The 403 for a decision that is not "allowed"; `reason` is the decision's."""
    a = attributes
    user = quoted(a.user.name)
    if not a.is_resource:
        text = f"User {user} cannot {a.verb} path {quoted(a.path)}"
    else:
        resource = f"{a.resource}/{a.subresource}" if a.subresource else a.resource
        where = f"in the namespace {quoted(a.namespace)}" if a.namespace else "at the cluster scope"
        text = f"User {user} cannot {a.verb} resource {quoted(resource)} in API group {quoted(a.group)} {where}"
    if reason:
        text = f"{text}: {reason}"
    if not a.is_resource:
        details: Object = {}
        return Forbidden(f"forbidden: {text}", details=details)
    return forbidden(a.group, a.resource, a.name, text)
