"""
One leader at a time, by a Lease.

Called by the scheduler and the controller manager. Whoever holds the Lease leads; who cannot renew it within the
renew deadline stops at once, and the process ends, so that nothing half-led goes on. Every write is fenced by the
Lease's resourceVersion. Source of durations and fields: client-go, tools/leaderelection.
"""

import asyncio
import datetime
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from cluster.api import resources
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object, copy_object
from cluster.machinery.status_errors import AlreadyExists, ApiError, Conflict, NotFound
from cluster.machinery.timestamps import format_micro_time

log = logging.getLogger(__name__)

JITTER = 1.2
NO_SPACE = 507  # HTTP's Insufficient Storage: what an apiserver says while etcd has its alarm


class LeadershipLost(Exception):
    """Another instance may lead by now. End the process; its supervisor starts it as a follower."""


@dataclass(frozen=True, slots=True)
class ElectionSettings:
    lease_duration: float = 15.0
    """Seconds a follower waits after the last renewal it saw."""
    renew_deadline: float = 10.0
    """Seconds the leader tries to renew before it gives up."""
    retry_period: float = 2.0
    """Seconds between tries."""
    keeps_when_full: bool = False
    """
    Whether to lead on while the store has no space for any write: nobody else can take the Lease then. For a second
    after there is space again two may lead, so this is for what bears that.
    """

    def __post_init__(self) -> None:
        if not self.lease_duration > self.renew_deadline > JITTER * self.retry_period > 0:
            raise ValueError(
                f"leader election: lease duration {self.lease_duration:g} s must exceed the renew deadline "
                f"{self.renew_deadline:g} s, and that {JITTER} × the retry period {self.retry_period:g} s. "
                "Correct --leader-elect-lease-duration, --leader-elect-renew-deadline, --leader-elect-retry-period."
            )


class LeaderElector:
    def __init__(
        self, client: ApiClient, *, namespace: str, name: str, identity: str, settings: ElectionSettings
    ) -> None:
        self._client = client
        self._namespace, self._name, self._identity = namespace, name, identity
        self._settings = settings
        self._seen: Object = {}
        self._seen_at = 0.0
        self.is_leader = False

    @property
    def transitions(self) -> int:
        """How often leadership has passed on, by the Lease: the same for one leader's time, more for the next one's."""
        return int((self._seen.get("spec") or {}).get("leaseTransitions") or 0)

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """
        Wait for the Lease, then run `lead` as long as it is ours.

        Raises LeadershipLost when it was lost, after `lead` has been cancelled; whatever `lead` raises.
        The Lease is given back when this is cancelled, so that a follower need not wait for it to expire.
        """
        while not await self._try():  # noqa: ASYNC110  (what is waited for happens on another host)
            await asyncio.sleep(self._pause())
        log.info("leading: %s/%s is held by %s", self._namespace, self._name, self._identity)
        self.is_leader = True
        leading = asyncio.ensure_future(lead())
        renewing = asyncio.create_task(self._renew(), name="renew leadership")
        try:
            await asyncio.wait({leading, renewing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.is_leader = False
            for task in (leading, renewing):
                task.cancel()
            results = await asyncio.gather(leading, renewing, return_exceptions=True)
            if not isinstance(results[1], LeadershipLost):
                await self._release()
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result

    def _pause(self) -> float:
        return self._settings.retry_period * (1 + (JITTER - 1) * random.random())  # noqa: S311  (spreads load)

    async def _renew(self) -> None:
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(self._settings.retry_period)
            started = time.monotonic()
            remaining = renewed + self._settings.renew_deadline - started
            try:
                async with asyncio.timeout(max(remaining, 0.1)):
                    if await self._try():
                        renewed = started  # a follower counts from the write, which may be long before its answer
                        continue
            except TimeoutError:
                log.warning("the Lease %s/%s could not be renewed in time", self._namespace, self._name)
            if time.monotonic() - renewed >= self._settings.renew_deadline or self._held_by_another():
                raise LeadershipLost(
                    f"the Lease {self._namespace}/{self._name} was not renewed for {self._settings.renew_deadline:g} s "
                    f"or has passed to {self._holder() or 'nobody'}. The service ends and starts again as a follower."
                )

    def _holder(self) -> str:
        return str((self._seen.get("spec") or {}).get("holderIdentity") or "")

    def _held_by_another(self) -> bool:
        return self._holder() not in ("", self._identity)

    async def _try(self) -> bool:
        """Take or renew the Lease. False when another holds it or no server answers."""
        try:
            try:
                lease = await self._client.get(resources.LEASES, self._name, namespace=self._namespace)
            except NotFound:
                self._observe(await self._client.create(resources.LEASES, self._lease_to_create()))
                return True
            self._observe(lease)
            duration = float((lease.get("spec") or {}).get("leaseDurationSeconds") or self._settings.lease_duration)
            if self._held_by_another() and time.monotonic() - self._seen_at < duration:
                return False
            self._observe(await self._client.update(resources.LEASES, self._lease_to_renew(lease)))
        except (Conflict, AlreadyExists):
            return False
        except ApiError as error:
            log.warning("leader election: %s", error)
            return self._settings.keeps_when_full and error.http_code == NO_SPACE and self._holder() == self._identity
        return True

    def _observe(self, lease: Object) -> None:
        """Only our own clock counts: a Lease is fresh as long as we see it change."""
        if lease.get("spec") != self._seen.get("spec"):
            self._seen_at = time.monotonic()
        self._seen = lease

    def _now(self) -> str:
        return format_micro_time(datetime.datetime.now(datetime.UTC))

    def _lease_to_create(self) -> Object:
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"namespace": self._namespace, "name": self._name},
            "spec": self._spec(0, self._now()),
        }

    def _spec(self, transitions: int, acquired: str) -> Object:
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": max(1, round(self._settings.lease_duration)),
            "acquireTime": acquired,
            "renewTime": self._now(),
            "leaseTransitions": transitions,
        }

    def _lease_to_renew(self, lease: Object) -> Object:
        renewed = copy_object(lease)
        spec = renewed.get("spec") or {}
        transitions = int(spec.get("leaseTransitions") or 0)
        if spec.get("holderIdentity") == self._identity:
            renewed["spec"] = {**spec, **self._spec(transitions, spec.get("acquireTime") or self._now())}
        else:
            renewed["spec"] = {**spec, **self._spec(transitions + 1, self._now())}
        return renewed

    async def _release(self) -> None:
        if self._holder() != self._identity:
            return
        released = copy_object(self._seen)
        released["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": self._now()}
        try:
            async with asyncio.timeout(2):
                await self._client.update(resources.LEASES, released)
        except (ApiError, TimeoutError) as error:
            log.info("the Lease %s/%s stays until it expires: %s", self._namespace, self._name, error)
