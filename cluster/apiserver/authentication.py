"""
Who is asking? Client certificate, bearer token, front proxy, or nobody.

One Authenticator a server. Its answer is a user, or None for 401: credentials were given and are no good, or none were
given and anonymous requests are off. What TLS has verified (the chain) is not verified again, except which of our CAs
signed it: the front proxy's CA vouches for proxies, never for users.

Called by   the request pipeline, once a request; reviews (TokenReview).
Not here    impersonation.py (acting as somebody else), authorization.py.
Source: kubernetes, pkg/kubeapiserver/authenticator.
"""

import base64
import binascii
import csv
import hashlib
import hmac
import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cluster.api import resources
from cluster.apiserver.recent_tokens import RecentTokens
from cluster.apiserver.requests import ANONYMOUS, ObjectReader, UserInfo
from cluster.apiserver.service_account_tokens import TokenRejected, TokenVerifier
from cluster.machinery.objects import Object
from cluster.machinery.timestamps import parse_time

log = logging.getLogger(__name__)

AUTHENTICATED_GROUP = "system:authenticated"
UNAUTHENTICATED_GROUP = "system:unauthenticated"
BOOTSTRAP_NAMESPACE = "kube-system"
BOOTSTRAP_TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
BOOTSTRAP_GROUP = "system:bootstrappers"
WEBSOCKET_TOKEN_PREFIX = "base64url.bearer.authorization.k8s.io."  # noqa: S105
CERTIFICATE_CACHE_SIZE = 4096
# Our own private enterprise number's arc is not registered; upstream's OID for a user's uid in a certificate.
UID_OID = x509.ObjectIdentifier("1.3.6.1.4.1.57683.2")


class Headers(Protocol):
    """Request headers: names in any case, each with one or several values (multidict's shape)."""

    def get(self, key: str, /) -> str | None: ...

    def getall(self, key: str, default: list[str], /) -> list[str]: ...

    def keys(self) -> Iterable[str]: ...


@dataclass(frozen=True, slots=True)
class FrontProxySettings:
    """Whom to believe when a proxy says who the user is (`--requestheader-*`)."""

    authorities: tuple[x509.Certificate, ...]
    allowed_names: tuple[str, ...] = ()
    """Common names of proxies; empty allows any that the CA signed."""
    username_headers: tuple[str, ...] = ("X-Remote-User",)
    group_headers: tuple[str, ...] = ("X-Remote-Group",)
    extra_prefixes: tuple[str, ...] = ("X-Remote-Extra-",)
    uid_headers: tuple[str, ...] = ("X-Remote-Uid",)


@dataclass(frozen=True, slots=True)
class AuthenticatedToken:
    user: UserInfo
    audiences: tuple[str, ...]


class TokenSource(Protocol):
    """Somebody else who knows tokens: an OpenID issuer, a webhook."""

    async def __call__(self, token: str, audiences: Sequence[str]) -> AuthenticatedToken | None:
        """None for a token of nobody it knows. Raises TokenRejected for one that is no good."""


@dataclass(frozen=True, slots=True)
class _KnownCertificate:
    not_before: float
    not_after: float
    user: UserInfo | None
    proxy_name: str | None
    """Its common name when the front proxy's CA signed it."""


class Authenticator:
    def __init__(
        self,
        reader: ObjectReader,
        *,
        client_authorities: Sequence[x509.Certificate] = (),
        static_tokens: Mapping[str, UserInfo] | None = None,
        service_accounts: TokenVerifier | None = None,
        audiences: Sequence[str] = (),
        bootstrap_tokens: bool = False,
        anonymous: bool = False,
        anonymous_paths: Sequence[str] = (),
        front_proxy: FrontProxySettings | None = None,
        others: Sequence[TokenSource] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            reader: Where bootstrap tokens are looked up.
            client_authorities: CAs whose certificates name users (`--client-ca-file`).
            static_tokens: From `load_token_file`; None when there is no such file.
            service_accounts: Verifies ServiceAccount tokens.
            audiences: The apiserver's own (`--api-audiences`).
            bootstrap_tokens: `--enable-bootstrap-token-auth`.
            anonymous: `--anonymous-auth`: a request without credentials is system:anonymous.
            anonymous_paths: Paths open to anonymous requests although `anonymous` is off, e.g. /livez.
            front_proxy: `--requestheader-*`.
            others: Asked in order for tokens that are not ours.
            clock: Unix seconds.
        """
        self._reader = reader
        self._client_authorities = tuple(client_authorities)
        # Compared by digest, so that neither the time nor a core dump tells a token.
        self._static: dict[bytes, UserInfo] = {}
        self._recent = RecentTokens(reader, clock)
        self.use_tokens(static_tokens or {})
        self._service_accounts = service_accounts
        self.audiences = tuple(audiences)
        self._bootstrap = bootstrap_tokens
        self._anonymous = anonymous
        self._anonymous_paths = frozenset(anonymous_paths)
        self._front_proxy = front_proxy
        self._others = tuple(others)
        self._clock = clock
        self._certificates: dict[bytes, _KnownCertificate] = {}

    def use_tokens(self, static_tokens: Mapping[str, UserInfo]) -> None:
        """Another `--token-auth-file`; tokens that are not in it are no longer good."""
        self._static = {_digest(token): with_authenticated_group(user) for token, user in static_tokens.items()}

    def use_anonymous(self, paths: Sequence[str], *, everywhere: bool) -> None:
        """Whom to let in without credentials from now on."""
        self._anonymous, self._anonymous_paths = everywhere, frozenset(paths)

    def use_authorities(
        self, client_authorities: Sequence[x509.Certificate], front_proxy: FrontProxySettings | None
    ) -> None:
        """Other CAs; certificates of those that are gone are no longer good, on open connections too."""
        self._client_authorities = tuple(client_authorities)
        self._front_proxy = front_proxy
        self._certificates.clear()

    def forget_tokens(self) -> None:
        """Other ServiceAccount keys: every token is verified again."""
        self._recent.clear()

    def recall(self, token: bytes | None, peer_certificate_der: bytes | None) -> UserInfo | None:
        """
        The user, when it is known without looking anything up; None says nothing, `authenticate` decides then.

        Args:
            token: SHA-256 of the request's one bearer token, None without one.
            peer_certificate_der: As for `authenticate`.
        """
        if peer_certificate_der is not None:
            known = self._certificate(peer_certificate_der)
            if known is not None:
                # A front proxy speaks for others, by headers.
                return known.user if known.proxy_name is None else None
        if token is None:
            return None
        return self._static.get(token) or self._recent.find(token)

    async def authenticate(
        self, headers: Headers, peer_certificate_der: bytes | None = None, path: str = ""
    ) -> UserInfo | None:
        """
        The user of one request, or None for 401.

        Args:
            headers: The request's.
            peer_certificate_der: The client's leaf, its chain verified by TLS against all our client CAs.
            path: URL path, for what anonymous requests may see.
        """
        known = self._certificate(peer_certificate_der) if peer_certificate_der else None
        if known is not None:
            if self._front_proxy is not None and known.proxy_name is not None:
                proxied = self._proxied_user(headers, known.proxy_name)
                if proxied is not None:
                    return with_authenticated_group(proxied)
            if known.user is not None:
                return known.user
        authorization = headers.getall("Authorization", [])
        if len(authorization) > 1:
            return None  # two sets of credentials: whichever we took, somebody else might take the other
        token = _bearer_token(authorization[0] if authorization else "") or _websocket_token(headers)
        if token:
            try:
                found = await self.authenticate_token(token, self.audiences)
            except TokenRejected as rejected:
                log.info("token rejected: %s", rejected)
                return None
            return found.user if found else None
        if self._anonymous or path in self._anonymous_paths:
            return ANONYMOUS
        return None

    async def authenticate_token(self, token: str, audiences: Sequence[str]) -> AuthenticatedToken | None:
        """
        Whose token is it, for one of these audiences? None for a token that nobody knows.

        Raises TokenRejected for a ServiceAccount token that is expired, forged, revoked or for others.
        """
        # Tokens that carry no audience are for the apiserver itself.
        own = tuple(a for a in audiences if a in self.audiences)
        digest = _digest(token)
        user = self._static.get(digest)
        if user is not None:
            return AuthenticatedToken(user, own) if own or not audiences else None
        rejected: TokenRejected | None = None
        if self._service_accounts is not None:
            try:
                verified = await self._service_accounts.verify(token, audiences)
            except TokenRejected as fault:
                if not self._others:
                    raise
                rejected = fault  # another cluster may have the same issuer, and its tokens another judge
            else:
                if verified is not None:
                    user = with_authenticated_group(verified.user)
                    if tuple(audiences) == self.audiences:
                        self._recent.keep(digest, user, verified)
                    return AuthenticatedToken(user, verified.audiences)
        if self._bootstrap and (user := self._bootstrap_user(token)) is not None:
            return AuthenticatedToken(with_authenticated_group(user), own) if own or not audiences else None
        for ask in self._others:
            try:
                found = await ask(token, audiences)
            except TokenRejected as fault:
                rejected = rejected or fault
                continue
            if found is not None:
                return AuthenticatedToken(with_authenticated_group(found.user), found.audiences)
        if rejected is not None:
            raise rejected
        return None

    def _certificate(self, der: bytes) -> _KnownCertificate | None:
        """What a client certificate stands for now; None when expired or signed by no CA of ours."""
        digest = hashlib.sha256(der).digest()
        known = self._certificates.get(digest)
        if known is None:
            try:
                known = self._examine(der, digest)
            except ValueError as error:
                log.info("client certificate cannot be read: %s", error)
                return None
            if len(self._certificates) >= CERTIFICATE_CACHE_SIZE:
                self._certificates.clear()
            self._certificates[digest] = known
        return known if known.not_before <= self._clock() < known.not_after else None

    def _examine(self, der: bytes, digest: bytes) -> _KnownCertificate:
        certificate = x509.load_der_x509_certificate(der)
        for_clients = _allows_client_authentication(certificate)
        user = proxy_name = None
        if for_clients and _signed_by_one_of(certificate, self._client_authorities):
            user = _user_of(certificate, digest)
        proxy_authorities = self._front_proxy.authorities if self._front_proxy else ()
        if for_clients and _signed_by_one_of(certificate, proxy_authorities):
            proxy_name = _common_name(certificate)
        return _KnownCertificate(
            certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp(), user, proxy_name
        )

    def _proxied_user(self, headers: Headers, proxy_name: str) -> UserInfo | None:
        settings = self._front_proxy
        if settings is None or (settings.allowed_names and proxy_name not in settings.allowed_names):
            return None
        name = next((value for header in settings.username_headers if (value := headers.get(header))), None)
        if not name:
            return None
        groups = tuple(group for header in settings.group_headers for group in headers.getall(header, []) if group)
        uid = next((value for header in settings.uid_headers if (value := headers.get(header))), "")
        return UserInfo(name, groups, uid, extra_from_headers(headers, settings.extra_prefixes))

    def _bootstrap_user(self, token: str) -> UserInfo | None:
        match = BOOTSTRAP_TOKEN.fullmatch(token)
        if match is None:
            return None
        token_id, token_secret = match.groups()
        secret = self._reader.get(resources.SECRETS, BOOTSTRAP_NAMESPACE, f"bootstrap-token-{token_id}")
        if secret is None or secret.get("type") != "bootstrap.kubernetes.io/token":
            return None
        data = _decoded(secret)
        if secret["metadata"].get("deletionTimestamp") or data.get("token-id") != token_id:
            return None
        if not hmac.compare_digest(data.get("token-secret", "").encode(), token_secret.encode()):
            return None
        if data.get("usage-bootstrap-authentication") != "true" or self._is_over(data.get("expiration", "")):
            return None
        groups = [group for group in data.get("auth-extra-groups", "").split(",") if group]
        if not all(group.startswith(BOOTSTRAP_GROUP + ":") for group in groups):
            return None
        return UserInfo(f"system:bootstrap:{token_id}", (BOOTSTRAP_GROUP, *groups))

    def _is_over(self, expiration: str) -> bool:
        if not expiration:
            return False
        try:
            return parse_time(expiration).timestamp() <= self._clock()
        except ValueError:
            return True  # an end that cannot be read is taken as past


def with_authenticated_group(user: UserInfo) -> UserInfo:
    if AUTHENTICATED_GROUP in user.groups or UNAUTHENTICATED_GROUP in user.groups:
        return user
    return replace(user, groups=(*user.groups, AUTHENTICATED_GROUP))


def extra_from_headers(headers: Headers, prefixes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """`X-Remote-Extra-Acme.com%2FTeam: a` -> {"acme.com/team": ("a",)}."""

    extra: dict[str, tuple[str, ...]] = {}
    for header in dict.fromkeys(name.lower() for name in headers.keys()):  # noqa: SIM118
        for prefix in prefixes:
            if header.startswith(prefix.lower()) and len(header) > len(prefix):
                key = unquote(header[len(prefix) :]).lower()
                extra[key] = (*extra.get(key, ()), *headers.getall(header, []))
    return extra


def load_token_file(path: Path) -> dict[str, UserInfo]:
    """
    Read `--token-auth-file`: CSV lines of token, user, uid and, quoted, groups.

    Raises ValueError for a line with fewer than three columns or an empty token; it names the line, not the token.
    """
    tokens: dict[str, UserInfo] = {}
    with path.open(newline="") as file:
        for number, row in enumerate(csv.reader(file, skipinitialspace=True), 1):
            if not row or row[0].startswith("#"):
                continue
            if len(row) < 3 or not row[0] or not row[1]:
                raise ValueError(f'{path}, line {number}: {len(row)} columns; write token,user,uid,"group1,group2"')
            groups = tuple(group.strip() for group in row[3].split(",") if group.strip()) if len(row) > 3 else ()
            tokens[row[0]] = UserInfo(row[1], groups, row[2])
    return tokens


def _bearer_token(authorization: str) -> str:
    scheme, _, token = authorization.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _websocket_token(headers: Headers) -> str:
    """A browser cannot set Authorization on a websocket, so it sends the token as a subprotocol."""
    for value in headers.getall("Sec-WebSocket-Protocol", []):
        for protocol in value.split(","):
            encoded = protocol.strip()
            if encoded.startswith(WEBSOCKET_TOKEN_PREFIX):
                text = encoded.removeprefix(WEBSOCKET_TOKEN_PREFIX)
                try:
                    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
                except (binascii.Error, ValueError):
                    return text  # no base64: not a token anybody knows, so 401
    return ""


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _decoded(secret: Object) -> dict[str, str]:
    decoded = {}
    for key, value in (secret.get("data") or {}).items():
        try:
            decoded[key] = base64.b64decode(value).decode()
        except (binascii.Error, ValueError):
            continue  # a binary value is none of those that a bootstrap token has
    return decoded


def _signed_by_one_of(certificate: x509.Certificate, authorities: Sequence[x509.Certificate]) -> bool:
    for authority in authorities:
        try:
            certificate.verify_directly_issued_by(authority)
        except (InvalidSignature, ValueError, TypeError):
            continue
        return True
    return False


def _allows_client_authentication(certificate: x509.Certificate) -> bool:
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return ExtendedKeyUsageOID.CLIENT_AUTH in usages or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usages


def _common_name(certificate: x509.Certificate) -> str:
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[-1].value) if found else ""


def _user_of(certificate: x509.Certificate, digest: bytes) -> UserInfo | None:
    name = _common_name(certificate)
    if not name:
        return None
    subject = certificate.subject
    groups = tuple(str(a.value) for a in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))
    uids = subject.get_attributes_for_oid(UID_OID)
    uid = str(uids[0].value) if uids else ""
    extra = {"authentication.kubernetes.io/credential-id": (f"X509SHA256={digest.hex()}",)}
    return with_authenticated_group(UserInfo(name, groups, uid, extra))
