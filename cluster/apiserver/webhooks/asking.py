"""
One write and the webhooks: which of them it concerns, and what each says about it.

Used by both admission plugins. Source: k8s.io/apiserver, pkg/admission/plugin/webhook/generic/webhook.go (whom it
concerns) and the dispatchers in .../mutating and .../validating (what a failed call means).
"""

import logging
import time
import uuid

from cluster.api.resources import Resource
from cluster.apiserver.admission.plugin import refuse
from cluster.apiserver.requests import AdmissionRequest, Authorizer, ObjectReader
from cluster.apiserver.webhooks import admission_review, metrics
from cluster.apiserver.webhooks.admission_review import BadReviewError, Seen, Verdict
from cluster.apiserver.webhooks.client import CallError, WebhookClient
from cluster.apiserver.webhooks.hooks import Hook
from cluster.apiserver.webhooks.versions import Versions
from cluster.machinery.status_errors import InternalError

log = logging.getLogger(__name__)

_WARNING_LENGTH = 1024


class Asking:
    """For the webhooks of one form, `admit` (mutating) or `validating`."""

    def __init__(
        self,
        form: str,
        reader: ObjectReader,
        authorizer: Authorizer | None,
        client: WebhookClient,
        versions: Versions,
        counts: metrics.WebhookMetrics,
    ) -> None:
        self._form = form
        self._mutating = form == "admit"
        self._reader = reader
        self._authorizer = authorizer
        self._client = client
        self._versions = versions
        self._counts = counts

    async def concerns(self, hook: Hook, request: AdmissionRequest) -> Seen | None:
        """
        The write as the webhook wants to see it; None when it does not.

        Raises Forbidden when a matchCondition cannot be evaluated, NotFound when the namespace is not there.
        """
        resource = self._matched(hook, request)
        if resource is None or not hook.selectors.match_object(request):
            return None
        if not await hook.selectors.match_namespace(request, self._reader):
            return None
        seen = await self._seen(request, resource)
        if hook.conditions is None:
            return seen
        match = await hook.conditions.evaluate(request, self._authorizer, seen_as=resource, obj=seen.obj, old=seen.old)
        if match.error:
            raise refuse(request, match.error)
        if not match.matches:
            self._counts.excluded(hook.name, self._form, request.operation)
            return None
        return seen

    def _matched(self, hook: Hook, request: AdmissionRequest) -> Resource | None:
        """The version in which a rule means the write."""
        if any(rule.matches(request) for rule in hook.rules):
            return request.resource
        if not hook.equivalent:
            return None
        others = self._versions.others(request.resource)
        return next((one for rule in hook.rules for one in others if rule.matches(request, one)), None)

    async def _seen(self, request: AdmissionRequest, resource: Resource) -> Seen:
        obj, old = request.obj, request.old
        # A Scale or the like is the same under every version of what it scales.
        if resource is request.resource or not _is_whole(request):
            return Seen(resource, obj, old)
        return Seen(
            resource,
            await self._versions.bring(obj, resource) if obj is not None else None,
            await self._versions.bring(old, resource) if old is not None else None,
        )

    async def ask(self, hook: Hook, request: AdmissionRequest, seen: Seen, place: str) -> Verdict | None:
        """
        The webhook's consent; None when it failed and is not needed.

        `place` says where in the order it was called, for the audit log. Raises ApiError: it refused, or it failed and
        has to be heard.
        """
        operation = request.operation
        if request.dry_run and not hook.dry_run:
            self._counts.rejected(hook.name, self._form, operation, metrics.INTERNAL, 0)
            raise admission_review.no_dry_run(hook.name)
        began = time.perf_counter()
        try:
            verdict = await self._verdict(hook, request, seen)
        except (CallError, BadReviewError) as fault:
            code = fault.code if isinstance(fault, CallError) else 200
            rejected = not hook.fails_open
            spent = time.perf_counter() - began
            self._counts.called(hook.name, self._form, operation, spent, code, rejected=rejected)
            step = "failed to call webhook" if isinstance(fault, CallError) else "received invalid webhook response"
            if rejected:
                self._counts.rejected(hook.name, self._form, operation, metrics.CALLING, 0)
                log.warning("failed calling webhook, failing closed %s: %s: %s", hook.name, step, fault)
                raise InternalError(
                    f'Internal error occurred: failed calling webhook "{hook.name}": {step}: {fault}'
                ) from None
            self._counts.failed_open(hook.name, self._form)
            log.warning("failed calling webhook, failing open %s: %s: %s", hook.name, step, fault)
            form = "mutating" if self._mutating else "validating"
            request.annotations[f"failed-open.{form}.webhook.admission.k8s.io/{place}"] = hook.name
            return None
        spent = time.perf_counter() - began
        self._counts.called(hook.name, self._form, operation, spent, 200, rejected=not verdict.allowed)
        request.warnings.extend(shown for text in verdict.warnings if (shown := _printable(text)))
        for key, value in verdict.annotations.items():
            request.annotations[f"{hook.name}/{key}"] = value
        if not verdict.allowed:
            refusal = admission_review.rejection(hook.name, verdict.status)
            self._counts.rejected(hook.name, self._form, operation, metrics.NO_ERROR, refusal.http_code)
            raise refusal
        return verdict

    async def _verdict(self, hook: Hook, request: AdmissionRequest, seen: Seen) -> Verdict:
        if not hook.review:
            raise CallError(
                "could not create admission objects: webhook does not accept known AdmissionReview versions"
            )
        uid = str(uuid.uuid4())
        review = admission_review.review(hook.review, uid, request, seen)
        answer = await self._client.post(hook.address, review, hook.seconds)
        return admission_review.verdict(answer, hook.review, uid, mutating=self._mutating)


def _is_whole(request: AdmissionRequest) -> bool:
    """It is about objects of the resource itself, not of a subresource's own kind."""
    obj = request.obj or request.old or {}
    return obj.get("kind") == request.resource.kind and obj.get("apiVersion") == request.resource.api_version


def _printable(text: str) -> str:
    return "".join(letter for letter in text if letter.isprintable())[:_WARNING_LENGTH]
