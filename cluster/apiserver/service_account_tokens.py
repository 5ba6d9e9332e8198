"""
ServiceAccount tokens: signed on request, verified on use, published as OpenID keys.

A token is a JWT (ES256, or RS256 with an RSA key) bound to its account and mostly to a pod too: it dies with either.
Verification is the signature (kept by hash, it is the costly part), then the claims, then the bound objects, which are
looked up each time.

Called by   cluster.apiserver.authentication (verify), the registry's serviceaccounts/token (sign), /openid/v1/jwks.
Source: kubernetes, pkg/serviceaccount and pkg/registry/core/serviceaccount/storage/token.go.
"""

import base64
import datetime as dt
import hashlib
import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import jwt
from cryptography.hazmat.primitives import serialization

from cluster.api import resources
from cluster.apiserver.requests import ObjectReader, UserInfo
from cluster.apiserver.service_account_keys import VerificationKey
from cluster.machinery.field_errors import invalid, invalid_from, quoted
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import BadRequest, conflict, not_found
from cluster.machinery.timestamps import format_time, parse_time

DEFAULT_EXPIRATION = 3600  # seconds
MIN_EXPIRATION = 600  # seconds
MOUNTED_EXPIRATION = 3607
"""Seconds that the admission plugin ServiceAccount asks for in Pods: by this number upstream knows such tokens."""
EXTENDED_EXPIRATION = 365 * 24 * 3600
"""Seconds that a mounted token is good for in truth: programs of old read their token once and never again."""
MAX_EXPIRATION = 1 << 32  # seconds
DELETION_LEEWAY = 60.0
"""Seconds that a token goes on after its account's or pod's deletion was due, as upstream: shutdown hooks need it."""
CLOCK_LEEWAY = 60.0
"""Seconds by which another apiserver's clock may be ahead of ours."""
STALE_INTERVAL = 3600.0
MAX_TOKEN_BYTES = 16 * 1024
TOKEN_CACHE_SIZE = 10_000
LEGACY_ISSUER = "kubernetes/serviceaccount"
PRIVATE_CLAIM = "kubernetes.io"
EXTRA_PREFIX = "authentication.kubernetes.io/"

_TOKEN_REQUESTS = resources.Resource("authentication.k8s.io", "v1", "tokenrequests", "TokenRequest", True)


log = logging.getLogger(__name__)


class TokenRejected(Exception):
    """The token is ours and no good. The text is for the server's log; a client sees 401 alone."""


@dataclass(frozen=True, slots=True)
class Dependency:
    """An object that a token lives with, in the state in which it was seen."""

    resource: resources.Resource
    namespace: str
    name: str
    uid: str
    version: str


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    user: UserInfo
    audiences: tuple[str, ...]
    """Those of the wanted audiences that the token is for."""
    expires: float
    """Unix seconds; infinity for a legacy token."""
    depends_on: tuple[Dependency, ...] = ()
    """The verdict holds until one of these changes; empty when it holds for this moment only."""


class TokenVerifier:
    """Verifies ServiceAccount tokens."""

    def __init__(
        self,
        keys: Sequence[VerificationKey],
        issuers: Sequence[str],
        reader: ObjectReader,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            keys: Accepted keys, the signing one included.
            issuers: Accepted `iss`, the first is the signer's.
            reader: Where accounts, pods, nodes and secrets are looked up.
            clock: Unix seconds.
        """
        self._keys = tuple(keys)
        self._issuers = frozenset(issuers)
        self._reader = reader
        self._clock = clock
        self._claims: dict[bytes, dict[str, Any]] = {}
        self._told_stale: dict[str, float] = {}

    def use_keys(self, keys: Sequence[VerificationKey]) -> None:
        """Other keys; tokens that only a former one verifies are no longer good."""
        self._keys = tuple(keys)
        self._claims.clear()

    async def verify(self, token: str, audiences: Sequence[str]) -> VerifiedToken | None:
        """
        Check a token for one of the audiences.

        Returns None when the token is none of ours (no JWT, another issuer); another authenticator may know it.
        Raises TokenRejected when it is ours and forged, expired, for others, or bound to what is gone.
        """
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        claims = self._claims.get(digest)
        if claims is None:
            claims = self._verified_claims(token)
            if claims is None:
                return None
            if len(self._claims) >= TOKEN_CACHE_SIZE:
                self._claims.clear()
            self._claims[digest] = claims
        if claims["iss"] == LEGACY_ISSUER:
            return await self._legacy(token, claims, audiences)
        expires = self._check_times(claims)
        granted = self._check_audiences(claims, audiences)
        bound: list[tuple[resources.Resource, Object]] = []
        user = await self._check_objects(claims, bound)
        warn_after = claims[PRIVATE_CLAIM].get("warnafter")
        if _is_number(warn_after) and self._clock() > warn_after:
            self._tell_stale(user.name, self._clock() - warn_after)
        return VerifiedToken(user, granted, expires, _dependencies(bound))

    def _tell_stale(self, subject: str, seconds: float) -> None:
        """Once an hour and account: its program does not read its token again, and will stand without one day."""
        now = self._clock()
        if now - self._told_stale.get(subject, 0.0) < STALE_INTERVAL:
            return
        if len(self._told_stale) >= TOKEN_CACHE_SIZE:
            self._told_stale.clear()
        self._told_stale[subject] = now
        log.warning(
            "a stale token is used, its program should read it anew: subject %s, %d s after the warning threshold",
            subject, seconds,
        )  # fmt: skip

    def _verified_claims(self, token: str) -> dict[str, Any] | None:
        if len(token) > MAX_TOKEN_BYTES or token.count(".") != 2 or not token.isascii():
            return None
        try:
            header = jwt.get_unverified_header(token)
            unverified = jwt.api_jwt.decode_complete(token, options={"verify_signature": False})["payload"]
        except (jwt.PyJWTError, ValueError, RecursionError):
            return None
        issuer = unverified.get("iss")
        if not isinstance(issuer, str) or (issuer not in self._issuers and issuer != LEGACY_ISSUER):
            return None
        if "crit" in header or header.get("b64") is False:
            raise TokenRejected("the header asks for extensions that are not understood")
        algorithm, key_id = header.get("alg"), header.get("kid")
        # The key decides about the algorithm, never the token: no `none`, no HS256 with a public key as its secret.
        candidates = [key for key in self._keys if key.algorithm == algorithm]
        candidates = [key for key in candidates if key.key_id == key_id] or candidates
        for key in candidates:
            try:
                return jwt.decode(
                    token,
                    key.key,
                    algorithms=[key.algorithm],
                    options={"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False},
                )
            except jwt.PyJWTError:
                continue
        raise TokenRejected("the signature fits none of the ServiceAccount keys")

    def _check_times(self, claims: Mapping[str, Any]) -> float:
        now = self._clock()
        expires, not_before, issued = claims.get("exp"), claims.get("nbf", 0), claims.get("iat", 0)
        if not _is_number(expires) or not _is_number(not_before) or not _is_number(issued):
            raise TokenRejected("the token says no valid exp, nbf or iat")
        if now >= expires:
            raise TokenRejected("service account token has expired")
        if now + CLOCK_LEEWAY < not_before or now + CLOCK_LEEWAY < issued:
            raise TokenRejected("service account token is not valid yet")
        return float(expires)

    def _check_audiences(self, claims: Mapping[str, Any], wanted: Sequence[str]) -> tuple[str, ...]:
        given = claims.get("aud")
        if isinstance(given, str):
            given = [given]
        if not isinstance(given, list) or not all(isinstance(audience, str) for audience in given):
            raise TokenRejected("the token names no audience")
        granted = tuple(audience for audience in given if audience in wanted)
        if not granted:
            raise TokenRejected(f"token audiences {given!r} is invalid for the target audiences {list(wanted)!r}")
        return granted

    async def _check_objects(
        self, claims: Mapping[str, Any], bound: list[tuple[resources.Resource, Object]]
    ) -> UserInfo:
        """The token's user; what it is bound to is added to `bound`."""

        async def require(resource: resources.Resource, namespace: str, name: str, uid: str, what: str) -> None:
            bound.append((resource, await self._living(resource, namespace, name, uid, what)))

        private = claims.get(PRIVATE_CLAIM)
        if not isinstance(private, dict):
            raise TokenRejected("service account claims are missing")
        namespace = private.get("namespace")
        name, uid = _reference(private, "serviceaccount")
        if not isinstance(namespace, str) or not namespace or not name:
            raise TokenRejected("service account claims are incomplete")
        if claims.get("sub") != f"system:serviceaccount:{namespace}:{name}":
            raise TokenRejected("the token's subject is not its service account")
        await require(resources.SERVICE_ACCOUNTS, namespace, name, uid, "service account")
        extra: dict[str, tuple[str, ...]] = {}
        if isinstance(claims.get("jti"), str):
            extra[EXTRA_PREFIX + "credential-id"] = (f"JTI={claims['jti']}",)
        if "secret" in private:
            secret_name, secret_uid = _reference(private, "secret")
            await require(resources.SECRETS, namespace, secret_name, secret_uid, "secret")
        node_name, node_uid = _reference(private, "node")
        if node_name:
            extra[EXTRA_PREFIX + "node-name"] = (node_name,)
            if node_uid:
                extra[EXTRA_PREFIX + "node-uid"] = (node_uid,)
        if "pod" in private:
            pod_name, pod_uid = _reference(private, "pod")
            await require(resources.PODS, namespace, pod_name, pod_uid, "pod")
            extra[EXTRA_PREFIX + "pod-name"] = (pod_name,)
            extra[EXTRA_PREFIX + "pod-uid"] = (pod_uid,)
        elif node_name:
            # With a pod the node is information only: the pod's life ends with the node's.
            await require(resources.NODES, "", node_name, node_uid, "node")
        return service_account_user(namespace, name, uid, extra)

    async def _living(self, resource: resources.Resource, namespace: str, name: str, uid: str, what: str) -> Object:
        """The object, of that very uid. The store is asked when the cache does not have it (yet)."""
        found = self._reader.get(resource, namespace, name)
        if found is None or found["metadata"].get("uid") != uid:
            found = await self._reader.get_current(resource, namespace, name)
        if found is None:
            raise TokenRejected(f"{what} {namespace}/{name} is gone")
        if found["metadata"].get("uid") != uid:
            raise TokenRejected(f"{what} {namespace}/{name} is another one (UID {found['metadata'].get('uid')})")
        deleted = found["metadata"].get("deletionTimestamp")
        if deleted and parse_time(deleted).timestamp() + DELETION_LEEWAY < self._clock():
            raise TokenRejected(f"{what} {namespace}/{name} is being deleted")
        return found

    async def _legacy(self, token: str, claims: Mapping[str, Any], wanted: Sequence[str]) -> VerifiedToken:
        """A token without end, kept in a Secret of type kubernetes.io/service-account-token: dies with the Secret."""
        if "aud" in claims or "exp" in claims:
            raise TokenRejected("a token of the legacy issuer has no audience and no end")
        prefix = PRIVATE_CLAIM + "/serviceaccount/"
        namespace, name, uid, secret_name = (
            str(claims.get(prefix + field) or "")
            for field in ("namespace", "service-account.name", "service-account.uid", "secret.name")
        )
        if not namespace or claims.get("sub") != f"system:serviceaccount:{namespace}:{name}":
            raise TokenRejected("the token's subject is not its service account")
        secret = self._reader.get(resources.SECRETS, namespace, secret_name)
        stored = base64.b64decode(((secret or {}).get("data") or {}).get("token") or "")
        if secret is None or secret["metadata"].get("deletionTimestamp") or stored != token.encode():
            raise TokenRejected(f"secret {namespace}/{secret_name} does not hold this token (any more)")
        await self._living(resources.SERVICE_ACCOUNTS, namespace, name, uid, "service account")
        return VerifiedToken(service_account_user(namespace, name, uid, {}), tuple(wanted), float("inf"))


class TokenIssuer:
    """Signs what POST serviceaccounts/NAME/token asks for, and publishes the keys."""

    def __init__(
        self,
        signing_key_pem: bytes,
        issuer: str,
        audiences: Sequence[str],
        reader: ObjectReader,
        *,
        extend_expiration: bool = False,
        max_expiration: int = MAX_EXPIRATION,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            signing_key_pem: `sa.key`.
            issuer: URL for `iss`.
            audiences: The apiserver's own; a request without audiences gets them.
            reader: Where the bound objects are looked up.
            extend_expiration: Let tokens that are mounted in Pods live for a year, and say so when they are used
                after the hour that their holder was told.
            max_expiration: Seconds; longer requests are shortened to it.
            clock: Unix seconds.
        """
        self.use_key(signing_key_pem)
        self.issuer = issuer
        self.audiences = tuple(audiences)
        self._reader = reader
        self._extend_expiration = extend_expiration
        self._max_expiration = max_expiration
        self._clock = clock

    def use_key(self, signing_key_pem: bytes) -> None:
        """Sign with this key from now on. Raises ValueError for what is no private key."""
        key = serialization.load_pem_private_key(signing_key_pem, password=None)
        self._verification = VerificationKey.from_public_key(key.public_key())
        self._key = key

    async def create_token(self, request: Object, namespace: str, name: str) -> Object:
        """
        Answer a TokenRequest: the same object with `status.token` and `status.expirationTimestamp`.

        Raises:
            NotFound: No such account, pod, secret or node.
            Invalid: The wanted lifetime is under ten minutes or absurd.
            BadRequest, Conflict: The bound object is of a wrong kind, runs under another account, or has another uid.
        """
        account = await self._get(resources.SERVICE_ACCOUNTS, namespace, name)
        spec = dict(request.get("spec") or {})
        seconds = spec.get("expirationSeconds")
        seconds = DEFAULT_EXPIRATION if seconds is None else seconds
        _check_expiration(seconds)
        # The answer says what is granted: not more than the limit.
        seconds = min(seconds, self._max_expiration)
        audiences = list(spec.get("audiences") or self.audiences)
        private: Object = {
            "namespace": namespace,
            "serviceaccount": {"name": name, "uid": account["metadata"]["uid"]},
            **await self._bound_object(spec.get("boundObjectRef"), namespace, name),
        }
        issued = int(self._clock())
        lifetime = seconds
        if self._extend_expiration and seconds == MOUNTED_EXPIRATION and set(audiences) <= set(self.audiences):
            private["warnafter"] = issued + seconds
            lifetime = min(EXTENDED_EXPIRATION, self._max_expiration)
        claims = {
            "aud": audiences,
            "exp": issued + lifetime,
            "iat": issued,
            "iss": self.issuer,
            "jti": str(uuid.uuid4()),
            PRIVATE_CLAIM: private,
            "nbf": issued,
            "sub": f"system:serviceaccount:{namespace}:{name}",
        }
        expires = dt.datetime.fromtimestamp(issued + seconds, dt.UTC)
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {
                **(request.get("metadata") or {}),
                "name": name,
                "namespace": namespace,
                "creationTimestamp": format_time(dt.datetime.fromtimestamp(issued, dt.UTC)),
            },
            "spec": {
                "audiences": audiences,
                "expirationSeconds": seconds,
                "boundObjectRef": spec.get("boundObjectRef"),
            },
            "status": {"token": self._sign(claims), "expirationTimestamp": format_time(expires)},
        }

    def legacy_token(self, account: Object, secret_name: str) -> str:
        """The endless token of a kubernetes.io/service-account-token Secret; for compatibility only."""
        metadata = account["metadata"]
        prefix = PRIVATE_CLAIM + "/serviceaccount/"
        return self._sign(
            {
                "iss": LEGACY_ISSUER,
                prefix + "namespace": metadata["namespace"],
                prefix + "secret.name": secret_name,
                prefix + "service-account.name": metadata["name"],
                prefix + "service-account.uid": metadata["uid"],
                "sub": f"system:serviceaccount:{metadata['namespace']}:{metadata['name']}",
            }
        )

    def openid_configuration(self, jwks_uri: str, keys: Sequence[VerificationKey]) -> Object:
        """/.well-known/openid-configuration."""
        return {
            "issuer": self.issuer,
            "jwks_uri": jwks_uri,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": sorted({key.algorithm for key in keys}),
        }

    def _sign(self, claims: Object) -> str:
        headers = {"kid": self._verification.key_id, "typ": None}
        return jwt.encode(claims, self._key, algorithm=self._verification.algorithm, headers=headers)  # type: ignore[arg-type]  # from_public_key has refused other kinds of keys

    async def _bound_object(self, reference: Object | None, namespace: str, account_name: str) -> Object:
        """The private claims for a boundObjectRef."""
        if not reference:
            return {}
        kind, api_version = reference.get("kind") or "", reference.get("apiVersion") or ""
        name = reference.get("name") or ""
        claims: Object = {}
        if api_version == "v1" and kind == "Pod":
            bound = await self._get(resources.PODS, namespace, name)
            spec = bound.get("spec") or {}
            if spec.get("serviceAccountName") != account_name:
                raise BadRequest(
                    f"cannot bind token for serviceaccount {quoted(account_name)} to pod running with different"
                    " serviceaccount name."
                )
            if node_name := spec.get("nodeName"):
                node = self._reader.get(resources.NODES, "", node_name)
                claims["node"] = {"name": node_name, **({"uid": node["metadata"]["uid"]} if node else {})}
        elif api_version == "v1" and kind == "Secret":
            bound = await self._get(resources.SECRETS, namespace, name)
        elif api_version == "v1" and kind == "Node":
            bound = await self._get(resources.NODES, "", name)
        else:
            group, _, version = api_version.rpartition("/")
            raise BadRequest(f"cannot bind token to object of type {group}/{version}, Kind={kind}")
        uid = bound["metadata"]["uid"]
        wanted_uid = reference.get("uid") or ""
        if wanted_uid and wanted_uid != uid:
            why = (
                f"the UID in the bound object reference ({wanted_uid}) does not match the UID in record."
                " The object might have been deleted and then recreated"
            )
            raise conflict("", kind, name, why)
        claims[kind.lower()] = {"name": name, "uid": uid}
        return claims

    async def _get(self, resource: resources.Resource, namespace: str, name: str) -> Object:
        found = self._reader.get(resource, namespace, name)
        if found is None:
            found = await self._reader.get_current(resource, namespace, name)
        if found is None:
            raise not_found(resource.group, resource.plural, name)
        return found


def service_account_user(namespace: str, name: str, uid: str, extra: Mapping[str, tuple[str, ...]]) -> UserInfo:
    return UserInfo(f"system:serviceaccount:{namespace}:{name}", service_account_groups(namespace), uid, dict(extra))


def service_account_groups(namespace: str) -> tuple[str, ...]:
    return ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")


def _check_expiration(seconds: object) -> None:
    fault = ""
    if not isinstance(seconds, int) or isinstance(seconds, bool) or seconds < MIN_EXPIRATION:
        fault = "may not specify a duration less than 10 minutes"
    elif seconds > MAX_EXPIRATION:
        fault = "may not specify a duration larger than 2^32 seconds"
    if fault:
        raise invalid_from(_TOKEN_REQUESTS, "", [invalid("spec.expirationSeconds", seconds, fault)])


def _reference(private: Mapping[str, Any], field: str) -> tuple[str, str]:
    """(name, uid) of a private claim; empty texts when it is absent or malformed."""
    reference = private.get(field)
    if not isinstance(reference, dict):
        return "", ""
    name, uid = reference.get("name"), reference.get("uid")
    return (name if isinstance(name, str) else ""), (uid if isinstance(uid, str) else "")


def _dependencies(bound: Sequence[tuple[resources.Resource, Object]]) -> tuple[Dependency, ...]:
    """Nothing when one of the objects is being deleted: then the passing of time alone ends the token."""
    if any(obj["metadata"].get("deletionTimestamp") for _, obj in bound):
        return ()
    return tuple(
        Dependency(resource, m.get("namespace") or "", m["name"], m.get("uid") or "", m.get("resourceVersion") or "")
        for resource, obj in bound
        for m in (obj["metadata"],)
    )


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
