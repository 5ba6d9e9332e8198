"""
Who calls a service's HTTPS port, and may they: asked of the apiserver, remembered for a while.

A client certificate of the cluster CA is believed at once (TLS has verified it); a bearer token goes to a TokenReview.
What the caller wants goes to a SubjectAccessReview. When the apiserver cannot be asked the answer is no.

Called by   the kubelet's server, and the ports of controller manager and scheduler (`DelegatedAuth.allow`).
Needs       leave to create tokenreviews and subjectaccessreviews: ClusterRole system:auth-delegator or system:node.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Generic, TypeVar

from aiohttp import web

from cluster.api import resources
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError

log = logging.getLogger(__name__)

TOKEN_REVIEWS = resources.named("tokenreviews.authentication.k8s.io")
ACCESS_REVIEWS = resources.named("subjectaccessreviews.authorization.k8s.io")

# Seconds an answer is good for. Source: the kubelet's authentication.webhook and authorization.webhook defaults.
TOKEN_TTL = 120.0
ALLOWED_TTL = 300.0
REFUSED_TTL = 30.0
CACHE_SIZE = 4096

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody known. `extra` as in SubjectAccessReview."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Access:
    """What is asked: a resource with its fields, or, with an empty resource, a path."""

    verb: str
    path: str = ""
    resource: str = ""
    subresource: str = ""
    group: str = ""
    namespace: str = ""
    name: str = ""


class DelegatedAuth:
    def __init__(self, client: ApiClient, *, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            client: Logged in as the service.
            clock: Seconds, growing.
        """
        self._client = client
        self._callers: _Answers[bytes, Caller | None] = _Answers(clock)
        self._decisions: _Answers[tuple[str, tuple[str, ...], Access], bool] = _Answers(clock)

    async def allow(self, request: web.BaseRequest) -> bool:
        """For a plain HTTP port: may the caller do this method on this path?"""
        caller = await self.authenticate(request)
        if caller is None:
            return False
        verb = "get" if request.method in ("GET", "HEAD") else request.method.lower()
        return await self.authorize(caller, Access(verb, path=request.path))

    async def authenticate(self, request: web.BaseRequest) -> Caller | None:
        """The caller of a request on a TLS connection; None (answer 401) for one that nobody vouches for."""
        transport = request.transport
        tls = transport.get_extra_info("ssl_object") if transport is not None else None
        der = tls.getpeercert(True) if tls is not None else None
        if der and (caller := caller_of_certificate(der)) is not None:
            return caller
        scheme, _, token = request.headers.get("Authorization", "").strip().partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            return await self.authenticate_token(token.strip())
        return None

    async def authenticate_token(self, token: str) -> Caller | None:
        key = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        known = self._callers.get(key)
        if known is not None:
            return known.value
        review = {
            "apiVersion": TOKEN_REVIEWS.api_version,
            "kind": TOKEN_REVIEWS.kind,
            "spec": {"token": token},
        }
        try:
            answer = await self._client.create(TOKEN_REVIEWS, review)
        except ApiError as error:
            log.warning("cannot ask the apiserver whose token it is: %s", error.message)
            return None
        status = answer.get("status") or {}
        caller = _caller_of_review(status.get("user") or {}) if status.get("authenticated") else None
        self._callers.put(key, caller, TOKEN_TTL if caller else REFUSED_TTL)
        return caller

    async def authorize(self, caller: Caller, access: Access) -> bool:
        key = (caller.name, caller.groups, access)
        known = self._decisions.get(key)
        if known is not None:
            return known.value
        try:
            answer = await self._client.create(ACCESS_REVIEWS, _review_of(caller, access))
        except ApiError as error:
            log.warning("cannot ask the apiserver what %s may do: %s", caller.name, error.message)
            return False
        allowed = bool((answer.get("status") or {}).get("allowed"))
        self._decisions.put(key, allowed, ALLOWED_TTL if allowed else REFUSED_TTL)
        return allowed


@lru_cache(maxsize=64)
def caller_of_certificate(der: bytes) -> Caller | None:
    """Name and groups from a certificate that TLS has verified; None for one without a common name."""
    # Only here, because the import costs 50 ms and megabytes that services pay at every start.
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    subject = x509.load_der_x509_certificate(der).subject
    names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if not names:
        return None
    groups = tuple(str(a.value) for a in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))
    return Caller(str(names[-1].value), (*groups, "system:authenticated"))


def _caller_of_review(user: Object) -> Caller | None:
    if not user.get("username"):
        return None
    extra = {key: tuple(values) for key, values in (user.get("extra") or {}).items()}
    return Caller(user["username"], tuple(user.get("groups") or ()), user.get("uid") or "", extra)


def _review_of(caller: Caller, access: Access) -> Object:
    spec: Object = {"user": caller.name, "groups": list(caller.groups)}
    if caller.uid:
        spec["uid"] = caller.uid
    if caller.extra:
        spec["extra"] = {key: list(values) for key, values in caller.extra.items()}
    if access.resource:
        attributes = {
            "verb": access.verb,
            "group": access.group,
            "version": "v1",
            "resource": access.resource,
            "subresource": access.subresource,
            "namespace": access.namespace,
            "name": access.name,
        }
        spec["resourceAttributes"] = {key: value for key, value in attributes.items() if value}
    else:
        spec["nonResourceAttributes"] = {"path": access.path, "verb": access.verb}
    return {"apiVersion": ACCESS_REVIEWS.api_version, "kind": ACCESS_REVIEWS.kind, "spec": spec}


Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class _Answer(Generic[Value]):
    value: Value
    good_until: float


class _Answers(Generic[Key, Value]):
    """Answers by question, each for its time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._answers: dict[Key, _Answer[Value]] = {}

    def get(self, key: Key) -> _Answer[Value] | None:
        answer = self._answers.get(key)
        return answer if answer is not None and self._clock() < answer.good_until else None

    def put(self, key: Key, value: Value, seconds: float) -> None:
        if len(self._answers) >= CACHE_SIZE:
            now = self._clock()
            self._answers = {k: a for k, a in self._answers.items() if now < a.good_until}
            if len(self._answers) >= CACHE_SIZE:
                self._answers.clear()
        self._answers[key] = _Answer(value, self._clock() + seconds)
