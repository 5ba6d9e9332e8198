"""What an answer that is an error means for the object it is about. Pure."""

from dataclasses import dataclass

from cluster.client.controller import is_being_emptied
from cluster.machinery.status_errors import (
    ApiError,
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    ServiceUnavailable,
    Timeout,
    TooManyRequests,
    Unauthorized,
    UnsupportedMediaType,
)
from federation.controllers.links.parts import FAILED, PENDING

REFUSED = 300.0  # seconds until what a member refused is tried again without a change
_UID_MISMATCH = "uid mismatch"
"""How a server begins to say that the object that is to be changed is not there any more, or another one."""
NO_LEAVE = 30.0  # seconds; somebody may be about to grant it


@dataclass(frozen=True, slots=True)
class Failure:
    state: str = ""
    """What is reported; empty: nothing, it goes on by itself."""
    message: str = ""
    after: float | None = None
    """Seconds until the next try; None: after the backoff of the key."""
    unreachable: bool = False
    """The member does not answer: nothing is tried until it does."""
    without_apply: bool = False
    """The member does not know server-side apply."""
    look: bool = False
    """What is known of the object is out of date."""
    lacks_namespace: bool = False
    lacks_kind: bool = False


def failure_of(error: ApiError) -> Failure:
    match error:
        case UnsupportedMediaType():
            return Failure(without_apply=True, after=0.0)
        case TooManyRequests():
            return Failure(after=0.0)  # the budget holds it back
        case ServiceUnavailable() | Timeout() if not _answered(error):
            return Failure(PENDING, "the cluster does not answer", unreachable=True)
        case NotFound() if _names_namespace(error):
            return Failure(PENDING, "its namespace is not there yet", after=10.0, lacks_namespace=True)
        case NotFound():
            return Failure(PENDING, "the cluster does not serve this kind", after=10.0, lacks_kind=True)
        case Conflict() | BadRequest() if isinstance(error, Conflict) or error.message.startswith(_UID_MISMATCH):
            return Failure(look=True)
        case Forbidden() if is_being_emptied(error):
            return Failure(PENDING, "its namespace is being deleted in the cluster", after=2.0)
        case Forbidden() | Unauthorized():
            return Failure(FAILED, error.message, after=NO_LEAVE)
        case _ if error.http_code >= 500:
            return Failure(FAILED, error.message)
        case _:
            return Failure(FAILED, error.message, after=REFUSED)


def _answered(error: ApiError) -> bool:
    """Whether the server itself said so, and not the way to it."""
    return error.details is not None or error.retry_after is not None


def _names_namespace(error: ApiError) -> bool:
    return (error.details or {}).get("kind") == "namespaces"
