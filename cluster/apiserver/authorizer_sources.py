"""
The chain of authorizers, made from the flags or from `--authorization-config`, and made anew when that file changes.

Called by   security.py at the start. Webhooks are imported only when there are any.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.apiserver.access_options import AccessOptions
from cluster.apiserver.authorization import UnionAuthorizer, UserAuthorizer, build_authorizer, load_abac_policies
from cluster.apiserver.file_changes import FileChanges
from cluster.apiserver.options import Options
from cluster.apiserver.requests import ObjectReader

if TYPE_CHECKING:
    from cluster.apiserver.authorization_configuration import AuthorizerSettings
    from cluster.apiserver.webhooks.access_review import AccessWebhook


class AuthorizerSources:
    def __init__(self, options: Options, reader: ObjectReader, first: UserAuthorizer | None = None) -> None:
        """Raises OSError or ValueError for files and flags that cannot be used."""
        self._options = options
        path = options.authorization_policy_file
        self._policies = load_abac_policies(Path(path)) if path else []
        if options.access.authorization_config:
            kinds, webhooks = self._read_config()
        else:
            kinds = list(options.authorization_mode)
            webhooks = [_webhook_of_flags(options.access)] if "Webhook" in kinds else []
        self._kinds = kinds
        self._webhooks = list(webhooks)
        """All that were ever asked, to be closed at the end."""
        self.chain: UnionAuthorizer = build_authorizer(
            kinds, reader, abac_policies=self._policies, webhooks=webhooks, first=first
        )

    def _read_config(self) -> "tuple[list[str], list[AccessWebhook]]":
        from cluster.apiserver import authorization_configuration

        settings = authorization_configuration.load(self._options.access.authorization_config)
        return [one.kind for one in settings], _webhooks_of(settings)

    def watch_file(self, files: FileChanges) -> None:
        """Take up changed webhooks and another order; which others are asked stays, as upstream."""
        path = self._options.access.authorization_config

        def reload() -> None:
            kinds, webhooks = self._read_config()
            before = sorted(set(self._kinds) - {"Webhook"})
            if sorted(set(kinds) - {"Webhook"}) != before:
                raise ValueError(f"authorizers other than webhooks must stay {before}; restart to change them")
            self._kinds = kinds
            self._webhooks += webhooks
            self.chain.rearrange(kinds, webhooks)

        files.on_change("the authorization configuration", [path], reload)

    async def close(self) -> None:
        for webhook in self._webhooks:
            await webhook.close()


def _webhook_of_flags(access: AccessOptions) -> "AccessWebhook":
    from cluster.apiserver.webhooks import kubeconfig
    from cluster.apiserver.webhooks.access_review import AccessWebhook, AccessWebhookSettings

    flags = access.authorization_webhook
    if not flags.config_file:
        raise ValueError(
            "authorization-mode Webhook's authorization config file not passed; set --authorization-webhook-config-file"
        )
    client = kubeconfig.KubeconfigWebhook(kubeconfig.load_config(flags.config_file))
    return AccessWebhook(client, AccessWebhookSettings(flags.version, flags.allowed_ttl, flags.denied_ttl))


def _webhooks_of(settings: "Sequence[AuthorizerSettings]") -> "list[AccessWebhook]":
    found = []
    for one in settings:
        if one.webhook is not None:
            from cluster.apiserver.webhooks import access_review, kubeconfig

            config = kubeconfig.load_config(one.webhook.kubeconfig)
            client = kubeconfig.KubeconfigWebhook(config, timeout=one.webhook.timeout)
            found.append(access_review.AccessWebhook(client, one.webhook.review))
    return found
