"""
Who else knows tokens: OpenID issuers and a webhook, made from the flags when there are any.

Called by   security.py at the start. What is not configured is not even imported.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.apiserver.access_options import OidcFlags
from cluster.apiserver.authentication import AuthenticatedToken, Authenticator, TokenSource
from cluster.apiserver.file_changes import FileChanges
from cluster.apiserver.options import Options

if TYPE_CHECKING:
    from cluster.apiserver.oidc.authenticator import JwtAuthenticator
    from cluster.apiserver.oidc.configuration import AuthenticationSettings
    from cluster.apiserver.webhooks.token_review import TokenWebhook


class TokenSources:
    def __init__(self, options: Options) -> None:
        """Raises OSError or ValueError for files and flags that cannot be used."""
        self._options = options
        self.settings = _settings(options)
        self.sources: list[TokenSource] = []
        self.issuers: JwtAuthenticator | None = None
        self.webhook: TokenWebhook | None = None
        if self.settings is not None:
            from cluster.apiserver.oidc import authenticator

            self.issuers = authenticator.JwtAuthenticator(self.settings.issuers)
            self.sources.append(self._by_issuer)
        if options.access.token_webhook.config_file:
            from cluster.apiserver.webhooks import kubeconfig, token_review

            flags = options.access.token_webhook
            self.webhook = webhook = token_review.TokenWebhook(
                kubeconfig.KubeconfigWebhook(kubeconfig.load_config(flags.config_file)),
                version=flags.version,
                ttl=flags.allowed_ttl,
                own_audiences=options.api_audiences,
            )

            async def by_webhook(token: str, audiences: Sequence[str]) -> AuthenticatedToken | None:
                found = await webhook.authenticate(token, audiences)
                return AuthenticatedToken(found.user, found.audiences) if found is not None else None

            self.sources.append(by_webhook)

    async def _by_issuer(self, token: str, audiences: Sequence[str]) -> AuthenticatedToken | None:
        assert self.issuers is not None  # noqa: S101 - a source only when there are issuers
        user = await self.issuers.authenticate(token)
        if user is None:
            return None
        # The issuer's audience has been checked; towards us it stands for the apiserver's own.
        own = tuple(audience for audience in audiences if audience in self._options.api_audiences)
        return AuthenticatedToken(user, own) if own or not audiences else None

    def watch_file(self, files: FileChanges, authenticator: Authenticator) -> None:
        """Take up a changed authentication configuration; a wrong one changes nothing."""

        def reload() -> None:
            settings = _settings(self._options)
            assert settings is not None  # noqa: S101 - there is a file
            assert self.issuers is not None  # noqa: S101 - there is a file
            self.issuers.use(settings.issuers)
            paths, everywhere = anonymous(self._options, settings)
            authenticator.use_anonymous(paths, everywhere=everywhere)

        path = self._options.access.authentication_config
        files.on_change("the authentication configuration", [path], reload)

    async def close(self) -> None:
        if self.webhook is not None:
            await self.webhook.close()


def anonymous(options: Options, settings: "AuthenticationSettings | None") -> tuple[tuple[str, ...], bool]:
    """(paths that are open without credentials, whether all are). Raises ValueError when it is said twice."""
    if settings is None or settings.anonymous is None:
        return (), bool(options.anonymous_auth)
    if options.anonymous_auth is not None:
        raise ValueError(
            "--anonymous-auth flag cannot be set when anonymous field is configured in authentication configuration"
            " file"
        )
    chosen = settings.anonymous
    return chosen.paths, chosen.enabled and not chosen.paths


def _settings(options: Options) -> "AuthenticationSettings | None":
    """None when nobody's tokens but our own are to be believed."""
    access = options.access
    if not access.authentication_config and access.oidc == OidcFlags():
        return None
    from cluster.apiserver.oidc import configuration  # for who has issuers

    if access.authentication_config:
        return configuration.load(access.authentication_config, options.service_account_issuer)
    authority = Path(access.oidc.ca_file).read_text() if access.oidc.ca_file else ""
    return configuration.from_flags(access.oidc, authority, options.service_account_issuer)
