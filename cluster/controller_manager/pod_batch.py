"""
Create and delete many Pods without flooding the apiserver when it refuses: 1, 2, 4, 8 … at once.

Used by the controllers that own Pods. Source: pkg/controller/replicaset, slowStartBatch.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from cluster.api import resources
from cluster.client.controller import is_being_emptied
from cluster.client.events import EventRecorder
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object, key_of
from cluster.machinery.status_errors import ApiError, Conflict, NotFound

BURST = 500
"""Pods per pass; same as kube-controller-manager."""


class PodWriter:
    """Creates and deletes Pods on behalf of an owner and tells about it by Events."""

    def __init__(self, client: ApiClient, events: EventRecorder) -> None:
        self._client, self._events = client, events

    async def create(self, owner: Object, pod: Object) -> Object:
        """Raises ApiError, after an Event, unless the namespace is being emptied anyway."""
        try:
            created = await self._client.create(resources.PODS, pod)
        except ApiError as error:
            if not is_being_emptied(error):
                self._events.record(owner, "Warning", "FailedCreate", f"Error creating: {error}")
            raise
        self._events.record(owner, "Normal", "SuccessfulCreate", f"Created pod: {created['metadata']['name']}")
        return created

    async def delete(self, owner: Object, pod: Object) -> bool:
        """False when somebody else was faster. Raises other ApiErrors, after an Event."""
        namespace, name = key_of(pod)
        options = {"preconditions": {"uid": pod["metadata"]["uid"]}}
        try:
            await self._client.delete(resources.PODS, name, namespace=namespace, options=options)
        except (NotFound, Conflict):
            return False
        except ApiError as error:
            self._events.record(owner, "Warning", "FailedDelete", f"Error deleting: {error}")
            raise
        self._events.record(owner, "Normal", "SuccessfulDelete", f"Deleted pod: {name}")
        return True


async def slow_start(count: int, write: Callable[[int], Awaitable[object]]) -> tuple[int, ApiError | None]:
    """
    Call `write` with 0 … count-1, twice as many at once each time all went well.

    Returns how many succeeded and the first error; after an error nothing more is started.
    """
    done, size = 0, 1
    begun = 0
    while begun < count:
        batch = range(begun, min(begun + size, count))
        begun = batch.stop
        results = await asyncio.gather(*(write(number) for number in batch), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, ApiError):
                raise result
        failures = [result for result in results if isinstance(result, ApiError)]
        done += len(results) - len(failures)
        if failures:
            return done, failures[0]
        size *= 2
    return done, None


async def delete_all(writer: PodWriter, owner: Object, pods: Sequence[Object]) -> ApiError | None:
    """Delete them at once; returns the first error."""
    results = await asyncio.gather(*(writer.delete(owner, pod) for pod in pods), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, ApiError):
            raise result
    return next((result for result in results if isinstance(result, ApiError)), None)
