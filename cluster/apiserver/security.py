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
from cluster.apiserver.authorization import UnionAuthorizer
from cluster.apiserver.authorizer_sources import AuthorizerSources
from cluster.apiserver.file_changes import FileChanges
from cluster.apiserver.options import Options
from cluster.apiserver.profile import CLUSTER, Profile
from cluster.apiserver.registry.registry import Registry
from cluster.apiserver.requests import UserInfo
from cluster.apiserver.reviews import Reviews
from cluster.apiserver.service_account_keys import VerificationKey, json_web_keys, load_verification_keys
from cluster.apiserver.service_account_tokens import MAX_EXPIRATION, TokenIssuer, TokenVerifier
from cluster.apiserver.token_sources import TokenSources, anonymous
from cluster.machinery.status_errors import Unauthorized

_JWKS_PATH = "/openid/v1/jwks"


@dataclass(frozen=True, slots=True)
class Security:
    options: Options
    authenticator: Authenticator
    verifier: TokenVerifier | None
    authorizer: UnionAuthorizer
    reviews: Reviews
    issuer: TokenIssuer | None
    token_pages: dict[str, bytes]
    token_sources: TokenSources
    authorizer_sources: AuthorizerSources

    async def authenticate(self, request: web.BaseRequest) -> UserInfo:
        """Raises Unauthorized."""
        user = await self.authenticator.authenticate(request.headers, _peer(request), request.rel_url.path)
        if user is None:
            raise Unauthorized("Unauthorized")
        return user

    def watch_files(self, files: FileChanges) -> None:
        """Take up changed CAs, tokens and ServiceAccount keys."""
        options = self.options
        files.on_change("the token file", [options.token_auth_file], self._reload_tokens)
        files.on_change(
            "the client CA", [options.client_ca_file, options.requestheader_client_ca_file], self._reload_authorities
        )
        keys = [*options.service_account_key_file, options.service_account_signing_key_file]
        files.on_change("the ServiceAccount keys", keys, self._reload_keys)
        self.token_sources.watch_file(files, self.authenticator)
        self.authorizer_sources.watch_file(files)

    async def close(self) -> None:
        await self.token_sources.close()
        await self.authorizer_sources.close()

    def _reload_tokens(self) -> None:
        self.authenticator.use_tokens(load_token_file(Path(self.options.token_auth_file)))

    def _reload_authorities(self) -> None:
        self.authenticator.use_authorities(_certificates(self.options.client_ca_file), _front_proxy(self.options))

    def _reload_keys(self) -> None:
        keys = _verification_keys(self.options)
        if self.issuer is not None:
            self.issuer.use_key(Path(self.options.service_account_signing_key_file).read_bytes())
        if self.verifier is not None:
            self.verifier.use_keys(keys)
        self.authenticator.forget_tokens()
        self.token_pages.update(_token_pages(self.options, self.issuer, keys))


def _peer(request: web.BaseRequest) -> bytes | None:
    """The client's verified certificate, read once a connection."""
    transport = request.transport
    tls = transport.get_extra_info("ssl_object") if transport is not None else None
    if tls is None:
        return None
    der: bytes | None = tls.getpeercert(True)
    return der or None


def build(options: Options, registry: Registry, profile: Profile = CLUSTER) -> Security:
    """Reads the files that the flags name. Raises OSError or ValueError for one that is missing or wrong."""
    keys = _verification_keys(options)
    verifier = TokenVerifier(keys, options.service_account_issuer, registry) if keys else None
    issuer = None
    if options.service_account_signing_key_file and options.service_account_issuer:
        issuer = TokenIssuer(
            Path(options.service_account_signing_key_file).read_bytes(),
            options.service_account_issuer[0],
            options.api_audiences,
            registry,
            extend_expiration=options.service_account_extend_token_expiration,
            max_expiration=int(options.service_account_max_token_expiration) or MAX_EXPIRATION,
        )
    sources = TokenSources(options)
    paths, everywhere = anonymous(options, sources.settings)
    authenticator = Authenticator(
        registry,
        client_authorities=_certificates(options.client_ca_file),
        static_tokens=load_token_file(Path(options.token_auth_file)) if options.token_auth_file else None,
        service_accounts=verifier,
        audiences=options.api_audiences,
        bootstrap_tokens=options.enable_bootstrap_token_auth,
        anonymous=everywhere,
        anonymous_paths=paths,
        front_proxy=_front_proxy(options),
        others=(*sources.sources, *(make(options) for make in profile.token_sources)),
    )
    first = profile.authorizer(registry) if profile.authorizer is not None else None
    authorizers = AuthorizerSources(options, registry, first)
    authorizer = authorizers.chain
    reviews = Reviews(authenticator, authorizer)
    pages = _token_pages(options, issuer, keys)
    return Security(options, authenticator, verifier, authorizer, reviews, issuer, pages, sources, authorizers)


def _verification_keys(options: Options) -> list[VerificationKey]:
    keys: list[VerificationKey] = []
    for path in options.service_account_key_file:
        keys += load_verification_keys(Path(path).read_bytes())
    return keys


def _token_pages(options: Options, issuer: TokenIssuer | None, keys: list[VerificationKey]) -> dict[str, bytes]:
    """What others need to check our tokens by themselves."""
    if issuer is None or not options.service_account_issuer[0].startswith("https://"):
        return {}
    own = f"https://{options.advertise_address}:{options.secure_port}{_JWKS_PATH}"
    document = issuer.openid_configuration(options.service_account_jwks_uri or own, keys)
    return {
        "/.well-known/openid-configuration": orjson.dumps(document),
        _JWKS_PATH: orjson.dumps(json_web_keys(keys)),
    }


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
        uid_headers=options.requestheader_uid_headers or ("X-Remote-Uid",),
    )
