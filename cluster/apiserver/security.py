"""
Who may in: authentication, authorization and token signing, put together from the flags.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
from aiohttp import web
from cryptography import x509

from cluster.apiserver.authentication import Authenticator, FrontProxySettings, load_token_file
from cluster.apiserver.authorization import UnionAuthorizer, build_authorizer, load_abac_policies
from cluster.apiserver.options import Options
from cluster.apiserver.registry.registry import Registry
from cluster.apiserver.requests import UserInfo
from cluster.apiserver.reviews import Reviews
from cluster.apiserver.service_account_keys import VerificationKey, json_web_keys, load_verification_keys
from cluster.apiserver.service_account_tokens import TokenIssuer, TokenVerifier
from cluster.machinery.status_errors import Unauthorized

_JWKS_PATH = "/openid/v1/jwks"


@dataclass(frozen=True, slots=True)
class Security:
    authenticator: Authenticator
    authorizer: UnionAuthorizer
    reviews: Reviews
    issuer: TokenIssuer | None
    token_pages: dict[str, bytes]

    async def authenticate(self, request: web.BaseRequest) -> UserInfo:
        """Raises Unauthorized."""
        user = await self.authenticator.authenticate(request.headers, _peer(request), request.rel_url.path)
        if user is None:
            raise Unauthorized("Unauthorized")
        return user


def _peer(request: web.BaseRequest) -> bytes | None:
    """The client's verified certificate, read once a connection."""
    transport = request.transport
    tls = transport.get_extra_info("ssl_object") if transport is not None else None
    if tls is None:
        return None
    der: bytes | None = tls.getpeercert(True)
    return der or None


def build(options: Options, registry: Registry) -> Security:
    """Reads the files that the flags name. Raises OSError or ValueError for one that is missing or wrong."""
    keys: list[VerificationKey] = []
    for path in options.service_account_key_file:
        keys += load_verification_keys(Path(path).read_bytes())
    verifier = TokenVerifier(keys, options.service_account_issuer, registry) if keys else None
    issuer = None
    if options.service_account_signing_key_file and options.service_account_issuer:
        issuer = TokenIssuer(
            Path(options.service_account_signing_key_file).read_bytes(),
            options.service_account_issuer[0],
            options.api_audiences,
            registry,
        )
    authenticator = Authenticator(
        registry,
        client_authorities=_certificates(options.client_ca_file),
        static_tokens=load_token_file(Path(options.token_auth_file)) if options.token_auth_file else None,
        service_accounts=verifier,
        audiences=options.api_audiences,
        bootstrap_tokens=options.enable_bootstrap_token_auth,
        anonymous=options.anonymous_auth,
        front_proxy=_front_proxy(options),
    )
    policies = load_abac_policies(Path(options.authorization_policy_file)) if options.authorization_policy_file else []
    authorizer = build_authorizer(options.authorization_mode, registry, abac_policies=policies)
    pages: dict[str, bytes] = {}
    if issuer is not None and options.service_account_issuer[0].startswith("https://"):
        jwks_uri = (
            options.service_account_jwks_uri or f"https://{options.advertise_address}:{options.secure_port}{_JWKS_PATH}"
        )
        pages["/.well-known/openid-configuration"] = orjson.dumps(issuer.openid_configuration(jwks_uri, keys))
        pages[_JWKS_PATH] = orjson.dumps(json_web_keys(keys))
    return Security(authenticator, authorizer, Reviews(authenticator, authorizer), issuer, pages)


def _certificates(path: str) -> Sequence[x509.Certificate]:
    return x509.load_pem_x509_certificates(Path(path).read_bytes()) if path else ()


def _front_proxy(options: Options) -> FrontProxySettings | None:
    if not options.requestheader_client_ca_file:
        return None
    return FrontProxySettings(
        authorities=tuple(_certificates(options.requestheader_client_ca_file)),
        allowed_names=options.requestheader_allowed_names,
        username_headers=options.requestheader_username_headers or ("X-Remote-User",),
        group_headers=options.requestheader_group_headers or ("X-Remote-Group",),
        extra_prefixes=options.requestheader_extra_headers_prefix or ("X-Remote-Extra-",),
    )
