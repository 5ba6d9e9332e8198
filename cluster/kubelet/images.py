"""
Images of containers: present, pulled, or refused, by the pull policy; with back-off after failures.

Texts and reasons are upstream's (pkg/kubelet/images), people and tools look for them.
"""

import asyncio
import base64
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping

from cluster.kubelet.backoff import BackOff
from cluster.kubelet.runtime import ContainerRuntime, Image, RegistryCredentials, RuntimeFault
from cluster.machinery.objects import Object

Recorder = Callable[[str, str, str], None]
"""(type, reason, message): an Event about the container."""


class ImageFault(Exception):
    """The image is not there. `reason` is what the container's status shows; `again_in` seconds to the next try."""

    def __init__(self, reason: str, message: str, again_in: float | None = None) -> None:
        super().__init__(message)
        self.reason, self.message, self.again_in = reason, message, again_in


def pull_policy(container: Object) -> str:
    """As given, else Always for :latest or no tag and IfNotPresent otherwise (static pods are not defaulted)."""
    given = container.get("imagePullPolicy")
    if given:
        return str(given)
    last = str(container.get("image", "")).rpartition("/")[2]
    return "IfNotPresent" if "@" in last or (":" in last and not last.endswith(":latest")) else "Always"


_PATH = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_DOMAIN = (
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[0-9a-fA-F:]+\])"
)
_REFERENCE = re.compile(
    rf"(?:{_DOMAIN}(?::[0-9]+)?/)?{_PATH}(?:/{_PATH})*"
    r"(?::[\w][\w.-]{0,127})?(?:@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?"
)


def name_fault(reference: str) -> str:
    """What is wrong with an image's name; empty for a good one. Source: the grammar of distribution/reference."""
    if _REFERENCE.fullmatch(reference):
        return ""
    first, slash, rest = reference.partition("/")
    path = rest if slash and registry_of(reference) == first else reference
    name = re.split(r":(?=[^/]*$)|@", path)[0]
    if name != name.lower():
        shown = name if slash else f"library/{name}"
        return f"invalid reference format: repository name ({shown}) must be lowercase"
    return "invalid reference format"


def registry_of(image: str) -> str:
    first, slash, _ = image.partition("/")
    return first if slash and (re.search(r"[.:]", first) or first == "localhost") else "docker.io"


def credentials_for(image: str, secrets: Iterable[Object | None]) -> list[RegistryCredentials]:
    """Logins that pull secrets hold for the image's registry."""
    host, found = registry_of(image), []
    for secret in secrets:
        for server, entry in _auths(secret or {}).items():
            named = re.sub(r"^https?://", "", server).split("/")[0]
            if named == host or (host == "docker.io" and named == "index.docker.io"):
                user, password = entry.get("username", ""), entry.get("password", "")
                if entry.get("auth"):
                    user, _, password = base64.b64decode(entry["auth"]).decode(errors="replace").partition(":")
                found.append(RegistryCredentials(user, password, server))
    return found


def _auths(secret: Object) -> Mapping[str, Mapping[str, str]]:
    data = secret.get("data") or {}
    try:
        if ".dockerconfigjson" in data:
            return dict(json.loads(base64.b64decode(data[".dockerconfigjson"])).get("auths") or {})
        if ".dockercfg" in data:
            return dict(json.loads(base64.b64decode(data[".dockercfg"])))
    except (ValueError, TypeError, AttributeError) as error:
        name = (secret.get("metadata") or {}).get("name")
        raise ImageFault("ErrImagePull", f"pull secret {name} is not a docker configuration") from error
    return {}


class ImagePuller:
    """Makes sure of images for all pods of the node; pulls one image once at a time."""

    def __init__(self, runtime: ContainerRuntime, clock: Callable[[], float] = time.time) -> None:
        self._runtime, self._clock = runtime, clock
        self._backoff = BackOff()
        self._locks: dict[str, asyncio.Lock] = {}
        self._failed: dict[str, float] = {}

    async def ensure(self, container: Object, key: str, secrets: Iterable[Object | None], record: Recorder) -> Image:
        """
        The image of a container, pulled if its policy says so.

        Args:
            key: names pod and image, for the back-off.

        Raises:
            ImageFault: with the reason the container waits.
        """
        reference, policy = str(container.get("image") or ""), pull_policy(container)
        if wrong := name_fault(reference):
            message = (
                f'Failed to apply default image tag "{reference}": couldn\'t parse image name "{reference}": {wrong}'
            )
            record("Warning", "InspectFailed", message)
            raise ImageFault("InvalidImageName", message)
        try:
            present = await self._runtime.image_status(reference)
        except RuntimeFault as fault:
            if fault.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
                raise
            message = f'Failed to apply default image tag "{reference}": {fault.message}'
            record("Warning", "InspectFailed", message)
            raise ImageFault("InvalidImageName", message) from fault
        if present is not None and policy != "Always":
            record("Normal", "Pulled", f'Container image "{reference}" already present on machine')
            return present
        if policy == "Never":
            message = f'Container image "{reference}" is not present with pull policy of Never'
            record("Warning", "ErrImageNeverPull", message)
            raise ImageFault("ErrImageNeverPull", message)
        return await self._pull(reference, f"{key}_{reference}", list(secrets), record)

    async def _pull(self, reference: str, key: str, secrets: list[Object | None], record: Recorder) -> Image:
        now = self._clock()
        until = self._backoff.wait_until(key, self._failed.get(key, 0.0))
        if until is not None and until > now:
            message = f'Back-off pulling image "{reference}"'
            record("Normal", "BackOff", message)
            raise ImageFault("ImagePullBackOff", message, until - now)
        record("Normal", "Pulling", f'Pulling image "{reference}"')
        try:
            async with self._locks.setdefault(reference, asyncio.Lock()):
                image = await self._pull_with_any(reference, secrets)
        except RuntimeFault as fault:
            self._failed[key] = self._clock()
            delay = self._backoff.grow(key, self._clock())
            record("Warning", "Failed", f'Failed to pull image "{reference}": {fault.message}')
            record("Warning", "Failed", "Error: ErrImagePull")
            raise ImageFault("ErrImagePull", fault.message, delay) from fault
        self._backoff.forget(key)
        seconds = self._clock() - now
        size = f"Image size: {image.size} bytes."
        record("Normal", "Pulled", f'Successfully pulled image "{reference}" in {seconds:.3f}s. {size}')
        return image

    async def _pull_with_any(self, reference: str, secrets: list[Object | None]) -> Image:
        logins: list[RegistryCredentials | None] = [*credentials_for(reference, secrets), None]
        fault: RuntimeFault | None = None
        for login in logins:
            try:
                image_id = await self._runtime.pull_image(reference, login)
            except RuntimeFault as error:
                fault = fault or error
                continue
            image = await self._runtime.image_status(image_id)
            if image is not None:
                return image
            fault = RuntimeFault(f"image {image_id} vanished after its pull", "NOT_FOUND")
        raise fault or RuntimeFault(f"no way to pull {reference}")
