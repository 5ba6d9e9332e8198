"""
Tokens that a webhook knows: a TokenReview is posted for each, and the answer is remembered for a while.

Called by   cluster.apiserver.authentication, after everybody else has been asked.
Source: k8s.io/apiserver, plugin/pkg/authenticator/token/webhook.
"""

import asyncio
import functools
import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson

from cluster.apiserver.requests import UserInfo
from cluster.apiserver.service_account_tokens import TokenRejected
from cluster.apiserver.webhooks.kubeconfig import KubeconfigWebhook, WebhookError, post_with_backoff
from cluster.machinery.objects import Object

log = logging.getLogger(__name__)

FIRST_PAUSE = 0.5
"""Seconds before the second try."""
_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class ReviewedToken:
    user: UserInfo
    audiences: tuple[str, ...]


class TokenWebhook:
    def __init__(
        self,
        client: KubeconfigWebhook,
        *,
        version: str,
        ttl: float,
        own_audiences: Sequence[str],
        first_pause: float = FIRST_PAUSE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            version: `v1` or `v1beta1`.
            ttl: Seconds that an answer is good for; 0 asks every time.
            own_audiences: What a webhook that names no audiences is taken to mean.
        """
        self._client = client
        self._version = f"authentication.k8s.io/{version}"
        self._ttl = ttl
        self._own = tuple(own_audiences)
        self.first_pause = first_pause
        self._clock = clock
        self._answers: dict[bytes, tuple[float, ReviewedToken | None]] = {}
        self._asking: dict[bytes, asyncio.Task[ReviewedToken | None]] = {}

    async def authenticate(self, token: str, audiences: Sequence[str]) -> ReviewedToken | None:
        """None for a token that it does not know. Raises TokenRejected when it does not answer."""
        digest = hashlib.sha256(orjson.dumps([token, list(audiences)])).digest()
        known = self._answers.get(digest)
        if known is not None and self._clock() < known[0]:
            return known[1]
        # All who come with this token at once wait for one answer.
        asking = self._asking.get(digest)
        if asking is None:
            asking = self._asking[digest] = asyncio.create_task(self._ask(token, audiences), name="token-review")
            asking.add_done_callback(functools.partial(self._answered, digest))
        try:
            answer = await asyncio.shield(asking)
        except WebhookError as fault:
            log.warning("the token webhook failed: %s", fault)
            raise TokenRejected(f"the token webhook failed: {fault}") from None
        if self._ttl:
            if len(self._answers) >= _REMEMBERED:
                self._answers.clear()
            self._answers[digest] = (self._clock() + self._ttl, answer)
        return answer

    async def _ask(self, token: str, audiences: Sequence[str]) -> ReviewedToken | None:
        spec: Object = {"token": token}
        if audiences:
            spec["audiences"] = list(audiences)
        review = {"kind": "TokenReview", "apiVersion": self._version, "metadata": {}, "spec": spec}
        answer = await post_with_backoff(self._client, orjson.dumps(review), initial=self.first_pause)
        status = answer.get("status")
        if not isinstance(status, dict) or status.get("authenticated") is not True:
            return None
        user = _user(status.get("user"))
        if user is None:
            return None
        if not audiences:
            return ReviewedToken(user, ())
        given = status.get("audiences") or self._own
        granted = tuple(audience for audience in audiences if audience in given)
        return ReviewedToken(user, granted) if granted else None

    def _answered(self, digest: bytes, task: asyncio.Task[ReviewedToken | None]) -> None:
        del self._asking[digest]
        if not task.cancelled():
            task.exception()  # told to all who waited; if none did, to nobody

    async def close(self) -> None:
        await self._client.close()


def _user(given: object) -> UserInfo | None:
    """None for a user without a name, or one whose parts are no texts."""
    if not isinstance(given, dict) or not isinstance(given.get("username"), str) or not given["username"]:
        return None
    groups, extra = given.get("groups") or [], given.get("extra") or {}
    lists = [groups, *(extra.values() if isinstance(extra, dict) else [None])]
    if not all(isinstance(one, list) and all(isinstance(text, str) for text in one) for one in lists):
        return None
    uid = given.get("uid") or ""
    return UserInfo(
        given["username"], tuple(groups), str(uid), {str(key): tuple(values) for key, values in extra.items()}
    )
