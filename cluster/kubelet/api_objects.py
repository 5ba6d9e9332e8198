"""
ConfigMaps, Secrets, claims and tokens that pods on this node name, read from the apiserver and kept a while.

The Node authorizer lets a kubelet read only what its pods name, one by one; so there is no informer over them.
"""

import asyncio
import time
from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from cluster.api import resources
from cluster.api.resources import Resource
from cluster.client.rest import ApiClient
from cluster.kubelet.pods import all_containers
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import NotFound

FRESH_SECONDS = 5.0
"""Pods that start together share one read."""
TOKEN_SECONDS = 3600


class Reference(NamedTuple):
    resource: Resource
    namespace: str
    name: str


def references(pod: Object) -> set[Reference]:
    """Every ConfigMap and Secret that environment and volumes of the pod name."""
    namespace = pod["metadata"]["namespace"]
    found = {
        Reference(resources.CONFIG_MAPS if "onfigMap" in field else resources.SECRETS, namespace, name)
        for field, name in _named(pod)
        if name
    }
    for secret in pod["spec"].get("imagePullSecrets") or ():
        if secret.get("name"):
            found.add(Reference(resources.SECRETS, namespace, secret["name"]))
    return found


def _named(pod: Object) -> Iterator[tuple[str, str]]:
    for container in all_containers(pod):
        for source in container.spec.get("envFrom") or ():
            for field in ("configMapRef", "secretRef"):
                if source.get(field):
                    yield field, source[field].get("name", "")
        for entry in container.spec.get("env") or ():
            for field in ("configMapKeyRef", "secretKeyRef"):
                if reference := (entry.get("valueFrom") or {}).get(field):
                    yield field, reference.get("name", "")
    for volume in pod["spec"].get("volumes") or ():
        if source := volume.get("configMap"):
            yield "configMap", source.get("name", "")
        if source := volume.get("secret"):
            yield "secret", source.get("secretName", "")
        for part in (volume.get("projected") or {}).get("sources") or ():
            for field in ("configMap", "secret"):
                if part.get(field):
                    yield field, part[field].get("name", "")


class ApiObjects:
    """Reads for pods; shared by all of them."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._kept: dict[Reference, tuple[float, Object | None]] = {}
        self._reading: dict[Reference, asyncio.Task[Object | None]] = {}
        self._tokens: dict[tuple[str, str, str, int], tuple[float, str]] = {}

    async def get(self, reference: Reference) -> Object | None:
        """None when it does not exist. Raises ApiError."""
        kept = self._kept.get(reference)
        if kept is not None and time.monotonic() - kept[0] < FRESH_SECONDS:
            return kept[1]
        reading = self._reading.get(reference)
        if reading is None:
            reading = self._reading[reference] = asyncio.create_task(self._read(reference))
            reading.add_done_callback(lambda _: self._reading.pop(reference, None))
        return await asyncio.shield(reading)

    async def _read(self, reference: Reference) -> Object | None:
        try:
            found: Object | None = await self._client.get(
                reference.resource, reference.name, namespace=reference.namespace
            )
        except NotFound:
            found = None
        self._kept[reference] = (time.monotonic(), found)
        return found

    async def snapshot(self, pod: Object) -> dict[Reference, Object | None]:
        """Everything the pod names. Raises ApiError."""
        wanted = list(references(pod))
        return dict(zip(wanted, await asyncio.gather(*(self.get(r) for r in wanted)), strict=True))

    async def token(self, pod: Object, projection: Object) -> str:
        """A bound token for a serviceAccountToken projection, made anew at 80 % of its life. Raises ApiError."""
        metadata, account = pod["metadata"], pod["spec"].get("serviceAccountName") or "default"
        seconds = int(projection.get("expirationSeconds") or TOKEN_SECONDS)
        audience = projection.get("audience") or ""
        key = (metadata["uid"], account, audience, seconds)
        kept = self._tokens.get(key)
        if kept is not None and time.time() < kept[0]:
            return kept[1]
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": [audience] if audience else [],
                "expirationSeconds": seconds,
                "boundObjectRef": {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                },
            },
        }
        answer = await self._client.create(
            resources.SERVICE_ACCOUNTS, request, namespace=metadata["namespace"], name=account, subresource="token"
        )
        status = answer["status"]
        life = datetime.fromisoformat(status["expirationTimestamp"]).timestamp() - time.time()
        self._tokens[key] = (time.time() + min(0.8 * life, 24 * 3600.0), status["token"])
        return str(status["token"])

    def forget(self, uid: str) -> None:
        """Drop a pod's tokens and what nobody has asked for lately."""
        self._tokens = {key: kept for key, kept in self._tokens.items() if key[0] != uid}
        old = time.monotonic() - 60
        self._kept = {key: kept for key, kept in self._kept.items() if kept[0] > old}
