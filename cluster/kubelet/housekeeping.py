"""
Keeps the host's disk from filling: rotates container logs, drops old images when the disk is nearly full.
"""

import asyncio
import logging
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from cluster.kubelet.node_facts import existing
from cluster.kubelet.runtime import Container, ContainerRuntime, ContainerState, Image, RuntimeFault
from cluster.kubelet.settings import KubeletSettings

log = logging.getLogger(__name__)


async def rotate_logs(runtime: ContainerRuntime, containers: Iterable[Container], settings: KubeletSettings) -> None:
    """A log over the limit is set aside as NAME.log.TIME and the runtime opens a new one."""
    for run in containers:
        path = Path(run.log_path)
        if run.state is not ContainerState.RUNNING or not _is_over(path, settings.log_max_size):
            continue
        aside = path.with_name(f"{path.name}.{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}")
        await asyncio.to_thread(path.rename, aside)
        try:
            await runtime.reopen_log(run.id)
        except RuntimeFault as fault:
            await asyncio.to_thread(aside.rename, path)
            log.warning("log of container %s is not rotated: %s", run.id, fault)
            continue
        for old in old_logs(path)[: -(settings.log_max_files - 1) or None]:
            old.unlink(missing_ok=True)


def _is_over(path: Path, limit: int) -> bool:
    try:
        return path.stat().st_size > limit
    except OSError:
        return False


def old_logs(path: Path) -> list[Path]:
    """What rotation set aside, oldest first. Blocking."""
    return sorted(path.parent.glob(f"{path.name}.*"))


def images_to_remove(
    images: Iterable[Image], used: set[str], last_used: dict[str, float], to_free: int, keep: str
) -> list[Image]:
    """The longest unused images that together free that many bytes; never one in use, pinned or kept by name. Pure."""
    candidates = [i for i in images if i.id not in used and not i.pinned and keep not in i.tags]
    candidates.sort(key=lambda image: (last_used.get(image.id, 0.0), -image.size))
    chosen, freed = [], 0
    for image in candidates:
        if freed >= to_free:
            break
        chosen.append(image)
        freed += image.size
    return chosen


class ImageCollector:
    """Remembers when images were last used, and frees disk above the high mark down to the low one."""

    def __init__(self, runtime: ContainerRuntime, settings: KubeletSettings) -> None:
        self._runtime, self._settings = runtime, settings
        self._last_used: dict[str, float] = {}

    async def collect(self, used: set[str]) -> list[str]:
        """Returns the ids removed. Raises RuntimeFault."""
        now = time.time()
        images = await self._runtime.list_images()
        for image in images:
            if image.id in used or image.id not in self._last_used:
                self._last_used[image.id] = now
        filesystem = await self._runtime.image_filesystem()
        if filesystem is None:
            return []
        disk = shutil.disk_usage(existing(filesystem.mountpoint))
        if disk.used * 100 < self._settings.image_gc_high_percent * disk.total:
            return []
        to_free = disk.used - disk.total * self._settings.image_gc_low_percent // 100
        removed = []
        for image in images_to_remove(images, used, self._last_used, to_free, self._settings.infra_image):
            await self._runtime.remove_image(image.id)
            log.info("removed image %s, %d bytes, to free disk", image.tags or image.id, image.size)
            removed.append(image.id)
        return removed
