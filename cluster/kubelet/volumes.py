"""
The volumes of a pod on this host: made before its containers, kept current, taken away after them.

Directories as upstream's: <root>/pods/<uid>/volumes/kubernetes.io~<kind>/<name>.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.api import resources
from cluster.kubelet.api_objects import ApiObjects, Reference
from cluster.kubelet.atomic_writer import write_files
from cluster.kubelet.environment import MissingReference, PodFacts, expand
from cluster.kubelet.mounts import mount_tmpfs, mounts_below, unmount
from cluster.kubelet.pods import uid_of
from cluster.kubelet.resources import parse_amount
from cluster.kubelet.runtime import Mount
from cluster.kubelet.sub_paths import OutsideVolume, bind_sub_path
from cluster.kubelet.volume_files import FileSources, shows_files, volume_files
from cluster.machinery.objects import Object

log = logging.getLogger(__name__)

_KINDS = {
    "emptyDir": "empty-dir",
    "configMap": "configmap",
    "secret": "secret",
    "downwardAPI": "downward-api",
    "projected": "projected",
}


class VolumeFault(Exception):
    """A volume cannot be made: FailedMount. Remedy: what the message says; it is tried again."""


@dataclass(frozen=True, slots=True)
class Volume:
    path: Path
    read_only: bool = False


class Volumes:
    def __init__(self, pods_dir: Path, objects: ApiObjects | None) -> None:
        """Without `objects` (no apiserver) only emptyDir, hostPath and downwardAPI work."""
        self._pods_dir, self._objects = pods_dir, objects

    def pod_dir(self, uid: str) -> Path:
        return self._pods_dir / uid

    async def set_up(
        self, pod: Object, facts: PodFacts, snapshot: Mapping[Reference, Object | None]
    ) -> dict[str, Volume]:
        """
        Make or refresh all volumes of the pod; safe to call again.

        Raises VolumeFault with all that is wrong; ApiError when a token or claim cannot be read.
        """
        made: dict[str, Volume] = {}
        faults: list[str] = []
        for volume in pod["spec"].get("volumes") or ():
            try:
                made[volume["name"]] = await self._one(pod, volume, facts, snapshot)
            except (MissingReference, VolumeFault, OSError, ValueError) as error:
                faults.append(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}')
        if faults:
            raise VolumeFault("; ".join(faults))
        return made

    async def refresh(self, pod: Object, facts: PodFacts, snapshot: Mapping[Reference, Object | None]) -> None:
        """Bring the files of a running pod up to date. A source that went away leaves the old files."""
        for volume in pod["spec"].get("volumes") or ():
            if shows_files(volume):
                try:
                    await self._one(pod, volume, facts, snapshot)
                except MissingReference as error:
                    log.info("volume %s of pod %s keeps its files: %s", volume["name"], uid_of(pod), error)

    async def _one(
        self, pod: Object, volume: Object, facts: PodFacts, snapshot: Mapping[Reference, Object | None]
    ) -> Volume:
        group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
        if source := volume.get("hostPath"):
            await asyncio.to_thread(check_host_path, source["path"], source.get("type") or "")
            return Volume(Path(source["path"]))
        if claim := volume.get("persistentVolumeClaim"):
            return await self._claim(pod, claim)
        kind = next((k for k in _KINDS if volume.get(k) is not None), None)
        if kind is None:
            raise VolumeFault(f"volume source {', '.join(k for k in volume if k != 'name')} is not supported here")
        path = self.pod_dir(uid_of(pod)) / "volumes" / f"kubernetes.io~{_KINDS[kind]}" / volume["name"]
        if kind == "emptyDir":
            await asyncio.to_thread(make_empty_dir, path, volume["emptyDir"], group)
            return Volume(path)
        tokens = await self._tokens(pod, volume)
        namespace = pod["metadata"]["namespace"]
        sources = FileSources(
            config_maps=lambda name: snapshot.get(Reference(resources.CONFIG_MAPS, namespace, name)),
            secrets=lambda name: snapshot.get(Reference(resources.SECRETS, namespace, name)),
            token=lambda projection: tokens[projection["path"]],
            facts=facts,
        )
        files = volume_files(pod, volume, sources)
        secret = kind == "secret" or bool(tokens)
        await asyncio.to_thread(_write_volume, path, files, group, secret)
        return Volume(path, read_only=True)

    async def _tokens(self, pod: Object, volume: Object) -> dict[str, str]:
        tokens = {}
        for part in (volume.get("projected") or {}).get("sources") or ():
            if projection := part.get("serviceAccountToken"):
                if self._objects is None:
                    raise VolumeFault("no apiserver gives this node tokens")
                tokens[projection["path"]] = await self._objects.token(pod, projection)
        return tokens

    async def _claim(self, pod: Object, source: Object) -> Volume:
        name, namespace = source["claimName"], pod["metadata"]["namespace"]
        if self._objects is None:
            raise VolumeFault("no apiserver tells this node of claims")
        claim = await self._objects.get(Reference(resources.named("persistentvolumeclaims"), namespace, name))
        if claim is None:
            raise VolumeFault(f'persistentvolumeclaim "{name}" not found')
        bound = claim["spec"].get("volumeName")
        if not bound or (claim.get("status") or {}).get("phase") != "Bound":
            raise VolumeFault(f'PersistentVolumeClaim "{name}" is not bound')
        volume = await self._objects.get(Reference(resources.named("persistentvolumes"), "", bound))
        if volume is None:
            raise VolumeFault(f'persistentvolume "{bound}" not found')
        spec = volume["spec"]
        if host := spec.get("hostPath"):
            await asyncio.to_thread(check_host_path, host["path"], host.get("type") or "")
            return Volume(Path(host["path"]), bool(source.get("readOnly")))
        if local := spec.get("local"):
            if not await asyncio.to_thread(Path(local["path"]).exists):
                raise VolumeFault(f'path "{local["path"]}" does not exist')
            return Volume(Path(local["path"]), bool(source.get("readOnly")))
        raise VolumeFault(f"PersistentVolume {bound} is neither hostPath nor local: this node has no driver for it")

    def tear_down(self, uid: str) -> None:
        """Unmount and delete the pod's directory. Blocking. Raises OSError or VolumeFault: try again later."""
        root = self.pod_dir(uid)
        for mount_point in mounts_below(root):
            unmount(Path(mount_point))
        left = mounts_below(root)
        if left:  # to delete through a mount would delete what is not ours
            raise VolumeFault(f"still mounted: {', '.join(left)}")
        if root.exists():
            shutil.rmtree(root)


def _write_volume(path: Path, files: Mapping[str, Any], group: int | None, in_memory: bool) -> None:
    if in_memory and not os.path.ismount(path):
        path.mkdir(parents=True, exist_ok=True)
        mount_tmpfs(path)
    write_files(path, files, group)


def make_empty_dir(path: Path, source: Object, group: int | None) -> None:
    path.mkdir(parents=True, exist_ok=True)
    if source.get("medium") == "Memory" and not os.path.ismount(path):
        limit = source.get("sizeLimit")
        mount_tmpfs(path, int(parse_amount(limit)) if limit else 0)
    path.chmod(0o777 if group is None else 0o2777)
    if group is not None:
        os.chown(path, -1, group)


def check_host_path(path: str, kind: str) -> None:
    """The hostPath types. Raises VolumeFault in upstream's words."""
    target = Path(path)
    match kind:
        case "DirectoryOrCreate":
            target.mkdir(mode=0o755, parents=True, exist_ok=True)
        case "FileOrCreate":
            if not target.exists():
                target.touch(mode=0o644)
        case _:
            pass
    tests = {
        "Directory": (stat.S_ISDIR, "directory"), "DirectoryOrCreate": (stat.S_ISDIR, "directory"),
        "File": (stat.S_ISREG, "file"), "FileOrCreate": (stat.S_ISREG, "file"),
        "Socket": (stat.S_ISSOCK, "socket file"), "CharDevice": (stat.S_ISCHR, "character device"),
        "BlockDevice": (stat.S_ISBLK, "block device"),
    }  # fmt: skip
    if kind in tests:
        check, what = tests[kind]
        with contextlib.suppress(FileNotFoundError):
            if check(target.stat().st_mode):
                return
        raise VolumeFault(f"hostPath type check failed: {path} is not a {what}")


def container_mounts(
    container: Object, volumes: Mapping[str, Volume], env: Mapping[str, str], group: int | None, pod_dir: Path
) -> tuple[Mount, ...]:
    """The container's volumeMounts; binds each subPath below `pod_dir`. Blocking. Raises VolumeFault, OSError."""
    mounts = []
    for index, wanted in enumerate(container.get("volumeMounts") or ()):
        volume = volumes.get(wanted["name"])
        if volume is None:
            raise VolumeFault(f'cannot find volume "{wanted["name"]}" to mount into container "{container["name"]}"')
        host = volume.path
        sub_path = wanted.get("subPath") or ""
        if wanted.get("subPathExpr"):
            sub_path = expand(wanted["subPathExpr"], env)
        if sub_path:
            target = pod_dir / "volume-subpaths" / wanted["name"] / container["name"] / str(index)
            try:
                host = bind_sub_path(volume.path, sub_path, target, group)
            except OutsideVolume as fault:
                raise VolumeFault(str(fault)) from fault
        elif not host.exists():
            # A plain hostPath that is not there becomes a directory, as upstream's runtimes make it.
            host.mkdir(parents=True, exist_ok=True)
        mounts.append(
            Mount(
                container_path=wanted["mountPath"]
                if wanted["mountPath"].startswith("/")
                else f"/{wanted['mountPath']}",
                host_path=str(host),
                read_only=bool(wanted.get("readOnly")) or volume.read_only,
                propagation=wanted.get("mountPropagation") or "None",
            )
        )
    return tuple(mounts)
