"""
AdmissionReviews: what a webhook is asked about a write, and what of its answer counts.

Pure. Source: k8s.io/apiserver, pkg/admission/plugin/webhook/request/admissionreview.go and
pkg/admission/plugin/webhook/errors/statuserror.go.
"""

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

import orjson

from cluster.api.resources import Resource
from cluster.apiserver.admission.request_variables import request_value
from cluster.apiserver.requests import AdmissionRequest
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError, BadRequest

_GROUP = "admission.k8s.io"


class BadReviewError(Exception):
    """The answer is no review of what was asked. The text is upstream's."""


@dataclass(frozen=True, slots=True)
class Verdict:
    allowed: bool
    status: Object = field(default_factory=dict)
    """Why not, as the webhook says it: a Status as far as the webhook made it one."""
    patch: list[Any] | None = None
    """JSON patch operations."""
    warnings: tuple[str, ...] = ()
    annotations: dict[str, str] = field(default_factory=dict)
    """For the audit log."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A write as a webhook's rule names it: perhaps in another version than the one it was made in."""

    resource: Resource
    obj: Object | None
    old: Object | None


def review(version: str, uid: str, request: AdmissionRequest, seen: Seen) -> Object:
    asked = {
        "uid": uid,
        **request_value(request, seen.resource),
        "object": seen.obj,
        "oldObject": seen.old,
        "dryRun": request.dry_run,
    }
    asked.setdefault("userInfo", {})
    asked.setdefault("options", None)
    return {"kind": "AdmissionReview", "apiVersion": f"{_GROUP}/{version}", "request": asked}


def verdict(answer: Object, version: str, uid: str, *, mutating: bool) -> Verdict:
    """Raises BadReviewError."""
    response = answer.get("response")
    if not isinstance(response, dict):
        raise BadReviewError("webhook response was absent")
    strict = version == "v1"
    if strict and response.get("uid") != uid:
        raise BadReviewError(f'expected response.uid="{uid}", got "{_text(response.get("uid"))}"')
    expected = f"{_GROUP}/{version}, Kind=AdmissionReview"
    given = f"{_text(answer.get('apiVersion'))}, Kind={_text(answer.get('kind'))}"
    if given != expected and (strict or given != ", Kind="):
        raise BadReviewError(f"expected webhook response of {expected}, got {given}")
    status = response.get("status")
    status = status if isinstance(status, dict) else {}
    return Verdict(
        allowed=response.get("allowed") is True,
        status=status,
        patch=_patch(response, mutating=mutating, strict=strict),
        warnings=tuple(text for text in _listed(response.get("warnings")) if isinstance(text, str)),
        annotations=_texts(response.get("auditAnnotations")),
    )


def _patch(response: Object, *, mutating: bool, strict: bool) -> list[Any] | None:
    patch, form = response.get("patch") or None, response.get("patchType")
    if not mutating:
        # The first version of reviews let it pass and did nothing with it.
        if strict and patch is not None:
            raise BadReviewError("validating webhook may not return response.patch")
        if strict and form is not None:
            raise BadReviewError("validating webhook may not return response.patchType")
        return None
    if strict and patch is not None and form is None:
        raise BadReviewError("webhook returned response.patch but not response.patchType")
    if strict and patch is None and form is not None:
        raise BadReviewError("webhook returned response.patchType but not response.patch")
    if patch is None:
        return None
    if form not in ("JSONPatch", None):
        raise BadReviewError(f'webhook returned invalid response.patchType of "{_text(form)}"')
    try:
        operations = orjson.loads(base64.b64decode(patch, validate=True))
    except (binascii.Error, orjson.JSONDecodeError, TypeError, ValueError):
        raise BadReviewError("response.patch is no base64 of a JSON document") from None
    if not isinstance(operations, list):
        raise BadReviewError("response.patch is no list of operations")
    return operations or None


def rejection(name: str, status: Object) -> ApiError:
    """What the client gets when the webhook says no; the status is the webhook's, as far as it is one."""
    denied = f'admission webhook "{name}" denied the request'
    reason, message, code = status.get("reason"), status.get("message"), status.get("code")
    reason = reason if isinstance(reason, str) else ""
    if isinstance(message, str) and message:
        text = f"{denied}: {message}"
    elif reason:
        text = f"{denied}: {reason}"
    else:
        text = f"{denied} without explanation"
    # A refusal with a code of success, or with one that is none, is a bad request.
    number = code if isinstance(code, int) and 400 <= code <= 599 else 400
    details = status.get("details") if isinstance(status.get("details"), dict) else None
    seconds = (details or {}).get("retryAfterSeconds")
    return ApiError(
        text, code=number, reason=reason, details=details, retry_after=seconds if isinstance(seconds, int) else None
    )


def no_dry_run(name: str) -> ApiError:
    return BadRequest(f'admission webhook "{name}" does not support dry run')


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: Any) -> dict[str, str]:
    return {key: text for key, text in value.items() if isinstance(text, str)} if isinstance(value, dict) else {}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
