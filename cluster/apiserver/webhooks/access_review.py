"""
An authorizer behind a webhook: a SubjectAccessReview is posted for each question, its answer kept for a while.

Called by   cluster.apiserver.authorization, as one member of the chain.
Source: k8s.io/apiserver, plugin/pkg/authorizer/webhook and pkg/authorization/cel.
"""

import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from cluster.apiserver.requests import Attributes, Decision
from cluster.apiserver.webhooks.kubeconfig import KubeconfigWebhook, WebhookError, post_with_backoff
from cluster.machinery.labels import Selector
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import BadRequest

log = logging.getLogger(__name__)

FIRST_PAUSE = 0.5
"""Seconds before the second try."""
NO_OPINION, DENY = "NoOpinion", "Deny"
_REMEMBERED = 8192
_MAX_REMEMBERED_BYTES = 10_000
"""Of what the asker chooses; longer questions are not remembered, they may be meant to fill memory."""


@dataclass(frozen=True, slots=True)
class AccessWebhookSettings:
    version: str = "v1"
    allowed_ttl: float = 300.0
    """Seconds that an answer is good for; 0 asks every time."""
    denied_ttl: float = 30.0
    failure_policy: str = NO_OPINION
    """What it means that the webhook, or a condition, has no answer."""
    conditions: tuple[str, ...] = ()
    """Expressions over `request`, the review's spec, that must all be true for the webhook to be asked."""


class AccessWebhook:
    def __init__(
        self,
        client: KubeconfigWebhook,
        settings: AccessWebhookSettings,
        *,
        first_pause: float = FIRST_PAUSE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self.settings = settings
        self.first_pause = first_pause
        self._clock = clock
        self._answers: dict[bytes, tuple[float, Decision]] = {}

    async def authorize(self, attributes: Attributes) -> Decision:
        spec = review_spec(attributes, selectors=self.settings.version == "v1")
        if self.settings.conditions:
            concerned = self._is_concerned(spec)
            if isinstance(concerned, Decision):
                return concerned
        encoded = orjson.dumps(spec, option=orjson.OPT_SORT_KEYS)
        digest = hashlib.sha256(encoded).digest()
        known = self._answers.get(digest)
        if known is not None and self._clock() < known[0]:
            return known[1]
        try:
            decision = await self._ask(spec)
        except WebhookError as fault:
            log.error("the authorization webhook failed: %s", fault)
            return self._failed()
        ttl = self.settings.allowed_ttl if decision.allowed else self.settings.denied_ttl
        if ttl and _chosen_bytes(attributes) < _MAX_REMEMBERED_BYTES:
            if len(self._answers) >= _REMEMBERED:
                self._answers.pop(next(iter(self._answers)))
            self._answers[digest] = (self._clock() + ttl, decision)
        return decision

    async def close(self) -> None:
        await self._client.close()

    def _is_concerned(self, spec: Object) -> Decision | None:
        """None when it is to be asked. One condition that is false is enough, whatever becomes of the others."""
        from cluster.apiserver.webhooks import access_conditions  # loads the engine, for who has conditions

        faults = []
        for expression in self.settings.conditions:
            try:
                if access_conditions.value(expression, spec) is not True:
                    return Decision(False)
            except ValueError as fault:
                faults.append(str(fault))
        if not faults:
            return None
        log.error("the conditions of the authorization webhook have no value: %s", "; ".join(faults))
        return self._failed()

    def _failed(self) -> Decision:
        denies = self.settings.failure_policy == DENY
        return Decision(False, "the authorization webhook failed" if denies else "", denied=denies)

    async def _ask(self, spec: Object) -> Decision:
        review = {
            "kind": "SubjectAccessReview",
            "apiVersion": f"authorization.k8s.io/{self.settings.version}",
            "metadata": {},
            "spec": spec if self.settings.version == "v1" else _as_v1beta1(spec),
        }
        answer = await post_with_backoff(self._client, orjson.dumps(review), initial=self.first_pause)
        status = answer.get("status")
        if not isinstance(status, dict):
            raise WebhookError("the answer has no status", 500)
        allowed, denied = status.get("allowed") is True, status.get("denied") is True
        reason = status.get("reason")
        if allowed and denied:
            log.error("the authorization webhook returned both allow and deny response")
        return Decision(allowed and not denied, reason if isinstance(reason, str) else "", denied=denied)


def review_spec(a: Attributes, *, selectors: bool = True) -> Object:
    """What is asked, as a SubjectAccessReview's spec."""
    spec: Object = {}
    if a.is_resource:
        given = {
            "namespace": a.namespace, "verb": a.verb, "group": a.group, "version": a.version, "resource": a.resource,
            "subresource": a.subresource, "name": a.name,
        }  # fmt: skip
        asked: Object = {key: value for key, value in given.items() if value}
        if selectors:
            for name, text in (("labelSelector", a.label_selector), ("fieldSelector", a.field_selector)):
                if text and (requirements := _requirements(text)):
                    asked[name] = {"requirements": requirements}
        spec["resourceAttributes"] = asked
    else:
        spec["nonResourceAttributes"] = {"path": a.path, "verb": a.verb}
    user = a.user
    people = {"user": user.name, "groups": list(user.groups), "uid": user.uid,
              "extra": {key: list(values) for key, values in user.extra.items()}}  # fmt: skip
    spec.update((key, value) for key, value in people.items() if value)
    return spec


def _requirements(text: str) -> list[Object]:
    """Of a selector that can be read; nothing of another: who is asked must not take it for a narrower question."""
    names = {"in": "In", "notin": "NotIn", "exists": "Exists", "!": "DoesNotExist"}
    try:
        parsed = Selector.parse(text).requirements
    except BadRequest:
        return []
    found: list[Object] = []
    for one in parsed:
        if (operator := names.get(one.operator)) is None:
            return []
        requirement: Object = {"key": one.key, "operator": operator}
        if operator in ("In", "NotIn"):
            requirement["values"] = sorted(one.values)
        found.append(requirement)
    return found


def _as_v1beta1(spec: Object) -> Object:
    """The older version calls the groups `group`."""
    return {("group" if key == "groups" else key): value for key, value in spec.items()}


def _chosen_bytes(a: Attributes) -> int:
    return sum(map(len, (a.namespace, a.verb, a.group, a.version, a.resource, a.subresource, a.name, a.path,
                         a.label_selector, a.field_selector)))  # fmt: skip
