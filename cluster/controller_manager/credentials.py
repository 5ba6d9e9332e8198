"""
Each controller acts as its own ServiceAccount, so that each may do what it needs and no more.

With --use-service-account-credentials the manager's own certificate only watches, makes these accounts and asks for
their tokens; the bootstrap roles `system:controller:*` are bound to them.
Source: kube-controller-manager, the names in pkg/controller names and the bootstrap policy.
"""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from cluster.api import resources
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import AlreadyExists, ApiError

log = logging.getLogger(__name__)

NAMESPACE = "kube-system"
LIFETIME = 3600  # seconds that are asked for; the apiserver may grant fewer
RENEW_AT = 0.8  # of the life that was granted
REFUSED_PAUSE = 1.0  # seconds from a refusal to the renewal
TRY_AGAIN = 5.0  # seconds after a renewal that failed

ACCOUNTS: Mapping[str, str] = {
    "serviceaccount-controller": "service-account-controller",
    "root-ca-certificate-publisher-controller": "root-ca-cert-publisher",
    "node-ipam-controller": "node-controller",
    "node-lifecycle-controller": "node-controller",
    "taint-eviction-controller": "node-controller",
    "replicationcontroller-controller": "replication-controller",
    "daemonset-controller": "daemon-set-controller",
    "endpoints-controller": "endpoint-controller",
    "garbage-collector-controller": "generic-garbage-collector",
    "pod-garbage-collector-controller": "pod-garbage-collector",
    "certificatesigningrequest-signing-controller": "certificate-controller",
}
"""Controllers whose account has another name than they have."""


class ControllerLogins:
    """One client an account; their tokens are renewed while `run` runs."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._tokens: dict[str, str] = {}
        self._clients: dict[str, ApiClient] = {}
        self._granted = float(LIFETIME)
        self._refused = asyncio.Event()

    def client_of(self, controller: str) -> ApiClient:
        return self._clients[account_of(controller)]

    async def run(self) -> None:
        """
        Renews all tokens together, at four fifths of the life that was granted, or when one is refused: the key that
        signed it may count no longer.
        """
        wait = self._granted * RENEW_AT
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._refused.wait(), wait)
                await asyncio.sleep(REFUSED_PAUSE)  # others are refused as well, and may be so again
            self._refused.clear()
            try:
                await self.renew(self._clients)
                wait = self._granted * RENEW_AT
            except* ApiError as failures:
                why = failures.exceptions[0]
                log.warning("cannot renew the controllers' tokens, trying again in %g s: %s", TRY_AGAIN, why)
                wait = TRY_AGAIN

    async def renew(self, accounts: Iterable[str]) -> None:
        async with asyncio.TaskGroup() as tasks:
            for account in accounts:
                tasks.create_task(self._fetch(account), name=f"token of {account}")

    async def _fetch(self, account: str) -> None:
        request: Object = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [], "expirationSeconds": LIFETIME},
        }
        answer = await self._client.create(
            resources.SERVICE_ACCOUNTS, request, namespace=NAMESPACE, name=account, subresource="token"
        )
        self._tokens[account] = answer["status"]["token"]
        expires = dt.datetime.fromisoformat(answer["status"]["expirationTimestamp"])
        self._granted = min(self._granted, (expires - dt.datetime.now(dt.UTC)).total_seconds())

    def add(self, account: str) -> ApiClient:
        """A client without the manager's certificate: on one connection a certificate counts before a token."""
        config = dataclasses.replace(
            self._client.config, cert_file=None, key_file=None, cert_data=b"", key_data=b"", token="", token_file=None
        )
        client = ApiClient(
            config,
            user_agent=f"kube-controller-manager/{account}",
            token_source=lambda: self._tokens[account],
            on_refused=self._refused.set,
        )
        self._clients[account] = client
        return client


def account_of(controller: str) -> str:
    return ACCOUNTS.get(controller, controller)


@asynccontextmanager
async def controller_logins(client: ApiClient, controllers: Iterable[str]) -> AsyncIterator[ControllerLogins]:
    """
    Accounts made where they are missing, tokens fetched, clients closed at the end.

    Raises ApiError (in an ExceptionGroup) when an account or its token cannot be had: nothing can run then.
    """
    logins = ControllerLogins(client)
    accounts = sorted({account_of(controller) for controller in controllers})
    async with AsyncExitStack() as stack:
        for account in accounts:
            await stack.enter_async_context(logins.add(account))
        async with asyncio.TaskGroup() as tasks:
            for account in accounts:
                tasks.create_task(_ensure_account(client, account), name=f"account {account}")
        await logins.renew(accounts)
        yield logins


async def _ensure_account(client: ApiClient, account: str) -> None:
    wanted: Object = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": account, "namespace": NAMESPACE},
    }
    try:
        await client.create(resources.SERVICE_ACCOUNTS, wanted)
    except AlreadyExists:
        log.debug("account %s is there", account)
