"""
What users do in a round, and what the federation's API may hold afterwards.

A write whose answer was lost may have happened or not: then both states are possible. What was acknowledged is not to
be lost.
"""

import asyncio
import base64
import contextlib
from collections import Counter

from cluster.api.resources import CONFIG_MAPS, DEPLOYMENTS, SECRETS, SERVICES, Resource
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError
from federation.api.kinds import VERSION
from federation.api.resources import PROPAGATION_POLICIES
from tests.federations.chaos.schedule import KINDS, NAMESPACE, Step

RESOURCES = {"ConfigMap": CONFIG_MAPS, "Secret": SECRETS, "Deployment": DEPLOYMENTS, "Service": SERVICES}
GROUP_LABEL = "chaos/group"
WRITE_SECONDS = 8.0
_DEFINITE = (400, 403, 404, 409, 422)

State = tuple[int, int, str] | None
"""Value, replicas and group of an object; None: there is none."""


def resource_of(name: str) -> Resource:
    return RESOURCES[KINDS[name]]


def template(name: str, value: int, replicas: int, group: str) -> Object:
    kind = KINDS[name]
    labels = {"chaos/name": name, **({GROUP_LABEL: group} if group else {})}
    metadata = {"name": name, "namespace": NAMESPACE, "labels": labels}
    obj: Object = {"apiVersion": "apps/v1" if kind == "Deployment" else "v1", "kind": kind, "metadata": metadata}
    if kind == "ConfigMap":
        obj["data"] = {"value": str(value)}
    elif kind == "Secret":
        obj["data"] = {"value": base64.b64encode(str(value).encode()).decode()}
    elif kind == "Service":
        metadata["annotations"] = {"chaos/value": str(value)}
        obj["spec"] = {"selector": {"app": name}, "ports": [{"port": 80}]}
    else:
        pod = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": f"i:{value}"}]}}
        obj["spec"] = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": pod}
    return obj


def value_of(obj: Object) -> int:
    """What `template` was given."""
    if obj["kind"] == "ConfigMap":
        return int(obj["data"]["value"])
    if obj["kind"] == "Secret":
        return int(base64.b64decode(obj["data"]["value"]))
    if obj["kind"] == "Service":
        return int(obj["metadata"]["annotations"]["chaos/value"])
    return int(obj["spec"]["template"]["spec"]["containers"][0]["image"].partition(":")[2])


def state_of(obj: Object | None) -> State:
    if obj is None:
        return None
    replicas = obj["spec"]["replicas"] if obj["kind"] == "Deployment" else 0
    return value_of(obj), replicas, obj["metadata"]["labels"].get(GROUP_LABEL, "")


class User:
    """One at a time, so that the order of writes is that of the schedule."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self.possible: dict[str, set[State]] = {name: {None} for name in KINDS}
        self.policies: dict[str, set[tuple[str, ...] | None]] = {}
        """Members by group; None: no policy."""
        self.done: Counter[str] = Counter()
        self.touched: set[str] = set()
        """Policy groups and objects that were changed in this round."""

    async def do(self, step: Step) -> None:
        self.touched.add(step.target)
        if step.what == "policy":
            await self._policy(step.target, tuple(step.details["members"]), kept=step.details["kept"])
            return
        name, resource = step.target, resource_of(step.target)
        details = step.details
        replicas = details["replicas"] if KINDS[name] == "Deployment" else 0
        wanted: State = (details["value"], replicas, details["group"])
        obj = template(name, details["value"], details["replicas"], details["group"])
        if step.what in ("delete", "recreate"):
            await self._write(name, None, self._api.delete(resource, name, namespace=NAMESPACE))
        if step.what in ("create", "recreate"):
            await self._write(name, wanted, self._api.create(resource, obj))
        if step.what == "update":
            await self._write(name, wanted, self._update(resource, name, obj))

    async def _update(self, resource: Resource, name: str, obj: Object) -> Object:
        """In one request, so that nothing of others is written over; labels that are left out go."""
        metadata = obj["metadata"]
        labels = {GROUP_LABEL: None, **metadata["labels"]}
        content = {key: part for key, part in obj.items() if key not in ("apiVersion", "kind", "metadata")}
        patch = {**content, "metadata": {"labels": labels, "annotations": metadata.get("annotations") or {}}}
        return await self._api.patch(resource, name, patch, namespace=NAMESPACE, patch_type="strategic")

    async def _write(self, name: str, wanted: State, doing: "asyncio.Future[Object] | object") -> None:
        outcome = await self._outcome(doing)
        if outcome == "done":
            self.possible[name] = {wanted}
        elif outcome == "unknown":
            self.possible[name].add(wanted)

    async def _outcome(self, doing: object) -> str:
        """done, refused or unknown."""
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await doing  # type: ignore[misc]  # a coroutine of the client's
        except TimeoutError:
            outcome = "unknown"
        except ApiError as fault:
            outcome = "refused" if fault.http_code in _DEFINITE else "unknown"
        else:
            outcome = "done"
        self.done[outcome] += 1
        return outcome

    async def _policy(self, group: str, members: tuple[str, ...], *, kept: bool) -> None:
        known = self.policies.setdefault(group, {None})
        if not kept:
            doing: object = self._api.delete(PROPAGATION_POLICIES, f"group-{group}", namespace=NAMESPACE)
            wanted: tuple[str, ...] | None = None
        else:
            doing, wanted = self._put_policy(group, members), members
        outcome = await self._outcome(doing)
        if outcome == "done":
            known.clear()
        if outcome != "refused":
            known.add(wanted)

    async def _put_policy(self, group: str, members: tuple[str, ...]) -> Object:
        label = {"labelSelector": {"matchLabels": {GROUP_LABEL: group}}}
        selectors = [
            {"apiVersion": "apps/v1" if kind == "Deployment" else "v1", "kind": kind, **label} for kind in RESOURCES
        ]
        policy: Object = {
            "apiVersion": VERSION,
            "kind": "PropagationPolicy",
            "metadata": {"name": f"group-{group}", "namespace": NAMESPACE},
            "spec": {
                "resourceSelectors": selectors,
                "placement": {"clusterAffinity": {"clusterNames": list(members)}},
            },
        }
        return await self._api.patch(
            PROPAGATION_POLICIES, f"group-{group}", policy,
            namespace=NAMESPACE, patch_type="apply", field_manager="user", force=True,
        )  # fmt: skip

    async def faults(self) -> list[str]:
        """What of the acknowledged is not there, or is there although it cannot be; and what is there from now on."""
        wrong = []
        for name, states in self.possible.items():
            found: Object | None = None
            with contextlib.suppress(ApiError):
                found = await self._api.get(resource_of(name), name, namespace=NAMESPACE)
            state = state_of(found)
            if state not in states:
                wrong.append(f"the federation's API has {name} as {state}, which is none of {states}")
            self.possible[name] = {state}
        return wrong
