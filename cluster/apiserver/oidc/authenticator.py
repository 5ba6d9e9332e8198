"""
Tokens of OpenID issuers: JSON Web Tokens that somebody else has signed, checked here by his published keys.

Order: whose is it, is the signature his, is it in time and for us, and only then what it says of its holder. A good
token is remembered by its hash until it ends or the issuer's keys change.

Called by   cluster.apiserver.authentication, behind the tokens that we know ourselves.
Source: k8s.io/apiserver, plugin/pkg/authenticator/token/oidc.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import jwt

from cluster.apiserver.oidc.claims import ClaimsRefused, user_of
from cluster.apiserver.oidc.configuration import IssuerSettings
from cluster.apiserver.oidc.key_set import IssuerKey, IssuerUnavailable, KeySet
from cluster.apiserver.requests import UserInfo
from cluster.apiserver.service_account_tokens import MAX_TOKEN_BYTES, TokenRejected

NOT_BEFORE_LEEWAY = 300.0
"""Seconds by which the issuer's clock may be ahead."""
_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class _Known:
    user: UserInfo
    not_before: float
    expires: float
    generation: int


class JwtAuthenticator:
    """All issuers of one configuration."""

    def __init__(self, issuers: Sequence[IssuerSettings], *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._issuers = {settings.url: (settings, KeySet(settings)) for settings in issuers}
        self._known: dict[bytes, _Known] = {}

    def use(self, issuers: Sequence[IssuerSettings]) -> None:
        """Another configuration; an issuer that stays as it was keeps its keys."""
        before = self._issuers
        self._issuers = {
            settings.url: before[settings.url]
            if settings.url in before and before[settings.url][0] == settings
            else (settings, KeySet(settings))
            for settings in issuers
        }
        self._known.clear()

    async def authenticate(self, token: str) -> UserInfo | None:
        """None for a token of nobody we know. Raises TokenRejected for one that is no good."""
        parsed = _unverified(token)
        if parsed is None:
            return None
        header, claims = parsed
        found = self._issuers.get(claims["iss"])
        if found is None:
            return None
        settings, keys = found
        digest = hashlib.sha256(token.encode()).digest()
        known = self._known.get(digest)
        if known is None or known.generation != keys.generation:
            known = await self._examine(token, header, settings, keys)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[digest] = known
        now = self._clock()
        if now >= known.expires:
            raise TokenRejected("oidc: verify token: oidc: token is expired")
        if now + NOT_BEFORE_LEEWAY < known.not_before:
            raise TokenRejected("oidc: verify token: oidc: current time is before the nbf (not before) time")
        return known.user

    async def _examine(self, token: str, header: dict[str, Any], settings: IssuerSettings, keys: KeySet) -> _Known:
        algorithm = header.get("alg")
        if algorithm not in settings.algorithms or "crit" in header or header.get("b64") is False:
            raise TokenRejected("oidc: verify token: the token is signed with an algorithm that is not accepted")
        key_id = header.get("kid", "")
        try:
            candidates = await keys.candidates(key_id if isinstance(key_id, str) else "")
        except IssuerUnavailable as fault:
            raise TokenRejected(str(fault)) from None
        claims = _verified(token, algorithm, candidates)
        audiences = claims.get("aud")
        listed = [audiences] if isinstance(audiences, str) else audiences
        if not isinstance(listed, list) or not any(audience in settings.audiences for audience in listed):
            raise TokenRejected(f"oidc: verify token: oidc: expected audience in {list(settings.audiences)}")
        expires, not_before = claims.get("exp"), claims.get("nbf", 0)
        if not _is_moment(expires) or not _is_moment(not_before):
            raise TokenRejected("oidc: verify token: the token says no valid exp or nbf")
        try:
            user = user_of(settings, claims)
        except ClaimsRefused as fault:
            raise TokenRejected(str(fault)) from None
        return _Known(user, float(not_before), float(expires), keys.generation)


def _unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Header and claims as they are said; None for what is no JSON Web Token of an issuer."""
    if len(token) > MAX_TOKEN_BYTES or token.count(".") != 2 or not token.isascii():
        return None
    try:
        found = jwt.api_jwt.decode_complete(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        return None
    claims = found["payload"]
    return (found["header"], claims) if isinstance(claims.get("iss"), str) else None


def _verified(token: str, algorithm: str, candidates: Sequence[IssuerKey]) -> dict[str, Any]:
    for candidate in candidates:
        # The key decides about the algorithm: what it cannot have signed is not even looked at.
        if algorithm not in candidate.algorithms:
            continue
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                candidate.key,
                algorithms=[algorithm],
                options={"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False},
            )
        except (jwt.PyJWTError, ValueError):
            continue
        return claims
    raise TokenRejected("oidc: verify token: failed to verify signature")


def _is_moment(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15
