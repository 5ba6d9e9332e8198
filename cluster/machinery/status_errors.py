"""
Errors of the Kubernetes API: one class a reason, each carrying the Status object that goes over the wire.

The apiserver raises them, `cluster.client` raises them again from what it received; so a caller catches
the same class on both sides. Texts are upstream's to the letter, people grep for them.
Source: k8s.io/apimachinery, pkg/api/errors.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from cluster.machinery.objects import Object


class ApiError(Exception):
    """Base of all. `status` is the Status object; `code` its HTTP code."""

    code: ClassVar[int] = 500
    reason: ClassVar[str] = "InternalError"

    def __init__(
        self,
        message: str,
        *,
        details: Object | None = None,
        retry_after: int | None = None,
        code: int | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.retry_after = retry_after
        """Seconds a client shall wait, sent as Retry-After; None sends no header."""
        self.http_code = code if code is not None else self.code
        self.status_reason = reason if reason is not None else self.reason

    @property
    def status(self) -> Object:
        status: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.status_reason:
            status["reason"] = self.status_reason
        details = dict(self.details or {})
        if self.retry_after is not None:
            details["retryAfterSeconds"] = self.retry_after
        if details or self.details is not None:
            status["details"] = details
        status["code"] = self.http_code
        return status


class BadRequest(ApiError):
    code, reason = 400, "BadRequest"


class Unauthorized(ApiError):
    code, reason = 401, "Unauthorized"


class Forbidden(ApiError):
    code, reason = 403, "Forbidden"


class NotFound(ApiError):
    code, reason = 404, "NotFound"


class MethodNotAllowed(ApiError):
    code, reason = 405, "MethodNotAllowed"


class NotAcceptable(ApiError):
    code, reason = 406, "NotAcceptable"


class AlreadyExists(ApiError):
    code, reason = 409, "AlreadyExists"


class Conflict(ApiError):
    code, reason = 409, "Conflict"


class Gone(ApiError):
    """The requested version is compacted away: list again."""

    code, reason = 410, "Expired"


class RequestEntityTooLarge(ApiError):
    code, reason = 413, "RequestEntityTooLarge"


class UnsupportedMediaType(ApiError):
    code, reason = 415, "UnsupportedMediaType"


class Invalid(ApiError):
    code, reason = 422, "Invalid"


class TooManyRequests(ApiError):
    code, reason = 429, "TooManyRequests"


class InternalError(ApiError):
    code, reason = 500, "InternalError"


class ServiceUnavailable(ApiError):
    code, reason = 503, "ServiceUnavailable"


class Timeout(ApiError):
    code, reason = 504, "Timeout"


_BY_REASON: Mapping[str, type[ApiError]] = {
    c.reason: c
    for c in (
        BadRequest, Unauthorized, Forbidden, NotFound, MethodNotAllowed, NotAcceptable, AlreadyExists, Conflict,
        Gone, RequestEntityTooLarge, UnsupportedMediaType, Invalid, TooManyRequests, InternalError,
        ServiceUnavailable, Timeout,
    )
} | {"Gone": Gone}  # fmt: skip
_BY_CODE: Mapping[int, type[ApiError]] = {c.code: c for c in _BY_REASON.values() if c not in (AlreadyExists,)}


def from_status(status: Any, code: int) -> ApiError:
    """Turn what a server answered into the error class it stands for; anything odd becomes a plain ApiError."""
    if not isinstance(status, dict) or status.get("kind") != "Status":
        return _BY_CODE.get(code, ApiError)(f"the server answered {code}: {str(status)[:200]}", code=code)
    reason = status.get("reason") or ""
    kind = _BY_REASON.get(reason) or _BY_CODE.get(code) or ApiError
    details = status.get("details") if isinstance(status.get("details"), dict) else None
    return kind(
        str(status.get("message") or f"the server answered {code}"),
        details=details,
        retry_after=(details or {}).get("retryAfterSeconds"),
        code=code,
        reason=reason,
    )


def qualified(group: str, plural: str) -> str:
    """`deployments.apps`, `pods`: how messages name a resource."""
    return f"{plural}.{group}" if group else plural


def not_found(group: str, plural: str, name: str) -> NotFound:
    details: Object = {"name": name, **({"group": group} if group else {}), "kind": plural}
    return NotFound(f'{qualified(group, plural)} "{name}" not found', details=details)


def already_exists(group: str, plural: str, name: str) -> AlreadyExists:
    details: Object = {"name": name, **({"group": group} if group else {}), "kind": plural}
    return AlreadyExists(f'{qualified(group, plural)} "{name}" already exists', details=details)


def conflict(group: str, plural: str, name: str, why: str) -> Conflict:
    details: Object = {"name": name, **({"group": group} if group else {}), "kind": plural}
    return Conflict(f'Operation cannot be fulfilled on {qualified(group, plural)} "{name}": {why}', details=details)


def forbidden(group: str, plural: str, name: str, why: str) -> Forbidden:
    details: Object = {
        **({"name": name} if name else {}),
        **({"group": group} if group else {}),
        "kind": plural,
    }
    subject = f'{qualified(group, plural)} "{name}"' if name else qualified(group, plural)
    return Forbidden(f"{subject} is forbidden: {why}", details=details)


def invalid(group: str, kind: str, name: str, causes: Sequence[tuple[str, str, str]]) -> Invalid:
    """
    422 for an object that fails validation.

    Args:
        group: API group of the kind, empty for core.
        kind: `Pod`, `Deployment`.
        name: the object's name, may be empty.
        causes: (reason, message, field path) each, e.g. ("FieldValueRequired", "Required value", "spec.x").
    """
    texts = [f"{field}: {message}" for _, message, field in causes]
    distinct = list(dict.fromkeys(texts))
    joined = distinct[0] if len(distinct) == 1 else "[" + ", ".join(distinct) + "]"
    details: Object = {
        **({"name": name} if name else {}),
        **({"group": group} if group else {}),
        **({"kind": kind} if kind else {}),
        "causes": [{"reason": reason, "message": message, "field": field} for reason, message, field in causes],
    }
    shown = f"{kind}.{group}" if group else kind
    return Invalid(f'{shown} "{name}" is invalid: {joined}', details=details)
