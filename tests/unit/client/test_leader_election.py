"""A Lease when the store has no space for its renewal."""

import asyncio
from typing import Any

import pytest

from cluster.client.leader_election import ElectionSettings, LeaderElector, LeadershipLost
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ServiceUnavailable


class FullStore:
    """Serves one Lease; takes writes until it is full."""

    def __init__(self) -> None:
        self.lease: Object = {"metadata": {"name": "x"}, "spec": {}}
        self.full = False

    async def get(self, *_: Any, **__: Any) -> Object:
        return self.lease

    async def update(self, _: Any, lease: Object) -> Object:
        if self.full:
            raise ServiceUnavailable("database space exceeded", code=507, reason="InternalError")
        self.lease = lease
        return lease


@pytest.mark.parametrize("keeps", [True, False])
async def test_who_holds_it_keeps_it_only_where_that_is_wanted(keeps: bool) -> None:
    store = FullStore()
    settings = ElectionSettings(lease_duration=0.3, renew_deadline=0.2, retry_period=0.05, keeps_when_full=keeps)
    elector = LeaderElector(store, namespace="n", name="x", identity="me", settings=settings)  # type: ignore[arg-type]

    async def lead() -> None:
        store.full = True
        await asyncio.sleep(0.6)
        store.full = False

    if keeps:
        await elector.run(lead)
    else:
        with pytest.raises(LeadershipLost):
            await elector.run(lead)


async def test_nobody_takes_another_s_while_it_is_full() -> None:
    store = FullStore()
    store.lease["spec"] = {"holderIdentity": "other", "leaseDurationSeconds": 1}
    store.full = True
    settings = ElectionSettings(lease_duration=0.3, renew_deadline=0.2, retry_period=0.05, keeps_when_full=True)
    elector = LeaderElector(store, namespace="n", name="x", identity="me", settings=settings)  # type: ignore[arg-type]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.5):
            await elector.run(asyncio.Event().wait)  # type: ignore[arg-type]
