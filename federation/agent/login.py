"""
The agent's login at the federation: had by a bootstrap token, renewed before it ends, had again when it is lost.

    no certificate   the token in --token-file, read anew each time, so that a new invitation helps without a restart
    70 % of its life renewed with the certificate itself
    after its end    by a proof that its key is still ours; the token is for whom that does not help
    refused          by the token: the Cluster has left and joined again, or the federation has another CA
"""

import asyncio
import datetime as dt
import functools
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cluster.client.kubeconfig import ClientConfig
from cluster.client.rest import ApiClient
from cluster.machinery.status_errors import ApiError
from cluster.pki.authority import PkiError
from cluster.pki.issue import KeyPair
from federation.agent import credentials as store
from federation.agent.credentials import Credentials, credentials_of
from federation.agent.discovery import DiscoveryError, confirmed, discover, pinned_authority_of
from federation.agent.registration import DeniedError, ask
from federation.membership.bootstrap_tokens import read_token
from federation.membership.return_proof import make_proof

log = logging.getLogger(__name__)

USER_AGENT = "hanse-federation-agent"
FIRST_PAUSE, LAST_PAUSE = 1.0, 15.0
"""Seconds between tries to get in; a federation that comes back is found within the last."""
RENEW_PAUSE, REFUSED_PAUSE = 10.0, 10.0
NOT_NOW = (DeniedError, DiscoveryError, ApiError, PkiError, OSError, ValueError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Invited:
    """What the agent was started with."""

    cluster: str
    server: str
    """https URL of the federation."""
    token_file: Path | None = None
    pins: tuple[str, ...] = ()
    member_server: str = ""
    """Where others reach this cluster's API."""
    member_authority: bytes = b""
    """PEM of the CA by which they know it."""
    tunnel: bool = True
    """Whether the federation may ask this cluster's API: for views, logs, exec, names and imported Services."""


@dataclass(slots=True)
class Login:
    """`get` once, then `run` in a task. The clients follow the login by themselves."""

    invited: Invited
    member: ApiClient
    clients: Sequence[ApiClient]
    """At the federation."""
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)
    _identity: str = ""
    _refused: asyncio.Event = field(default_factory=asyncio.Event)
    _held: Credentials | None = None

    def refused(self) -> None:
        """Somebody was told that we are nobody."""
        self._refused.set()

    async def get(self, identity: str) -> None:
        """Returns with a login that has not ended. `identity` is the uid of the member's kube-system."""
        self._identity = identity
        try:
            kept = await store.load(self.member, self.invited.cluster)
        except ApiError as fault:
            log.warning("cannot look for kept credentials: %s", fault)
            kept = None
        if kept is not None and kept.ends > self.now() and self._is_pinned(kept):
            await self._use(kept)
            return
        await self._again(kept)

    async def run(self) -> None:
        """Until cancelled: renew when it is time, come in anew when refused."""
        while True:
            held = self._held
            assert held is not None  # noqa: S101 - `get` returned
            wait = (held.renew_at - self.now()).total_seconds()
            try:
                async with asyncio.timeout(max(0.0, wait)):
                    await self._refused.wait()
                await self._again(held)
                # Who is refused with a certificate that he has just got is not helped by one every two seconds.
                await asyncio.sleep(REFUSED_PAUSE)
                self._refused.clear()
            except TimeoutError:
                await self._renew(held)

    async def _renew(self, held: Credentials) -> None:
        if held.ends <= self.now():
            await self._again(held)
            return
        try:
            authority = await confirmed(self.clients[0], self.invited.pins)
            pair = await self._ask(self.clients[0])
            await self._take(authority, pair)
            log.info("the certificate is renewed")
        except NOT_NOW as fault:
            log.warning("the certificate is not renewed yet, it ends at %s: %s", held.ends, _words(fault))
            await asyncio.sleep(RENEW_PAUSE * (1 + random.random()))  # noqa: S311  (spreads load)

    async def _again(self, lost: Credentials | None) -> None:
        """For as long as it takes."""
        pause = FIRST_PAUSE
        while True:
            ways: list[Callable[[], Awaitable[None]]] = [self._by_token]
            if lost is not None and lost.ends <= self.now() and self._is_pinned(lost):
                ways.insert(0, functools.partial(self._by_return, lost))
            for way in ways:
                try:
                    await way()
                except NOT_NOW as fault:
                    log.warning("no login at %s yet: %s", self.invited.server, _words(fault))
                else:
                    log.info("cluster %s has a login at %s", self.invited.cluster, self.invited.server)
                    return
            await asyncio.sleep(pause * (1 + 0.2 * random.random()))  # noqa: S311  (spreads load)
            pause = min(2 * pause, LAST_PAUSE)

    async def _by_return(self, lost: Credentials) -> None:
        """With the key of an expired certificate."""
        proof = make_proof(lost.certificate, lost.key, self.now())
        config = ClientConfig(servers=(self.invited.server,), ca_data=lost.authority, token=proof)
        async with ApiClient(config, user_agent=USER_AGENT, connections=2) as client:
            await self._take(lost.authority, await self._ask(client))

    async def _by_token(self) -> None:
        if self.invited.token_file is None:
            raise ValueError("there is no certificate and no --token-file; invite the cluster again")
        token = read_token(await asyncio.to_thread(self.invited.token_file.read_text))
        if not self.invited.pins:
            raise ValueError("without --discovery-token-ca-cert-hash the federation cannot be told from an impostor")
        authority = await discover(self.invited.server, self.invited.pins, USER_AGENT)
        config = ClientConfig(servers=(self.invited.server,), ca_data=authority, token=token.text)
        async with ApiClient(config, user_agent=USER_AGENT, connections=2) as client:
            await self._take(authority, await self._ask(client))

    async def _ask(self, client: ApiClient) -> KeyPair:
        invited = self.invited
        return await ask(client, invited.cluster, self._identity, invited.member_server, invited.member_authority)

    async def _take(self, authority: bytes, pair: KeyPair) -> None:
        held = credentials_of(authority, pair.certificate_pem, pair.key_pem)
        await self._use(held)
        try:
            await store.keep(self.member, self.invited.cluster, held)
        except ApiError as fault:
            log.warning("the certificate cannot be kept in the cluster, a restart needs a token: %s", fault)

    async def _use(self, held: Credentials) -> None:
        self._held = held
        for client in self.clients:
            await client.use(held.config(self.invited.server))

    def _is_pinned(self, kept: Credentials) -> bool:
        if not self.invited.pins:
            return True
        try:
            pinned_authority_of(kept.authority, self.invited.pins)
        except DiscoveryError:
            return False
        return True


def _words(fault: Exception) -> str:
    return str(fault) or type(fault).__name__
